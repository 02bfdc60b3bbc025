//! The machines on which recordings were made, side by side: only what differs.

use std::collections::{BTreeMap, HashMap};

use super::letter;
use crate::archive::Recording;
use crate::environment::Environment;
use crate::table::{ABSENT, Column, Entry, Grid, clean};

/// The longest value of a fact that is shown, in characters.
const VALUE_LIMIT: usize = 200;

/// What is told of the machines.
#[derive(Default)]
pub(super) struct Facts {
    /// The facts that differ; none where all are equal or unknown.
    pub grid: Option<Grid>,
    /// What the reader must not miss.
    pub alerts: Vec<String>,
    /// Remarks.
    pub notes: Vec<String>,
}

pub(super) fn compare(recordings: &[Recording]) -> Facts {
    let mut facts = Facts::default();
    let all: Vec<Vec<Environment>> = recordings.iter().map(Recording::environments).collect();
    // Of a file with several machines in it the first is compared, and that is said.
    for (index, environments) in all.iter().enumerate().filter(|(_, found)| found.len() > 1) {
        facts.notes.push(format!(
            "the cells of {} ran in {} environments; the facts are those of the first",
            letter(index),
            environments.len()
        ));
    }
    // In the order of the files.
    let mut by_id: Vec<(&str, Vec<String>)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (index, environments) in all.iter().enumerate() {
        for environment in environments {
            let place = *places.entry(&environment.id).or_insert(by_id.len());
            if place == by_id.len() {
                by_id.push((&environment.id, Vec::new()));
            }
            by_id[place].1.push(letter(index));
        }
    }
    match by_id.len() {
        0 => return facts,
        1 => {
            let id = by_id[0].0;
            facts
                .notes
                .push(format!("all ran in the same environment, {}", clean(id)));
            return facts;
        }
        count => {
            const SHOWN: usize = 8;
            let names: Vec<String> = by_id
                .iter()
                .take(SHOWN)
                .map(|(id, letters)| format!("{} in {}", letters.join(", "), clean(id)))
                .collect();
            facts.alerts.push(format!(
                "{count} different environments: {}",
                names.join(" · ") + if count > SHOWN { " · …" } else { "" }
            ));
        }
    }
    let mut tables: Vec<Option<BTreeMap<String, String>>> = Vec::new();
    for (index, environments) in all.iter().enumerate() {
        let known = environments.first().filter(|it| !it.facts.is_null());
        if known.is_none() && !environments.is_empty() {
            facts.notes.push(format!(
                "the facts of {} are not known: they are in the first record of a session, which \
                 is not in the file",
                letter(index)
            ));
        }
        tables.push(known.map(|environment| environment.lines().into_iter().collect()));
    }
    side_by_side(&tables, &mut facts);
    facts
}

fn side_by_side(tables: &[Option<BTreeMap<String, String>>], facts: &mut Facts) {
    let known: Vec<(usize, &BTreeMap<String, String>)> = tables
        .iter()
        .enumerate()
        .filter_map(|(index, table)| Some((index, table.as_ref()?)))
        .collect();
    let mut names: Vec<&String> = known.iter().flat_map(|(_, table)| table.keys()).collect();
    names.sort();
    names.dedup();
    if known.len() < 2 {
        return;
    }
    let mut grid = Grid {
        columns: vec![
            Column::words("what differs"),
            Column::words("in"),
            Column::words("is"),
        ],
        rows: Vec::new(),
    };
    let mut equal = 0;
    for name in names {
        // Values in the order in which they first occur, each with who has it.
        let mut values: Vec<(Option<&String>, Vec<String>)> = Vec::new();
        for (index, table) in &known {
            let value = table.get(name);
            match values.iter_mut().find(|(known, _)| *known == value) {
                Some((_, letters)) => letters.push(letter(*index)),
                None => values.push((value, vec![letter(*index)])),
            }
        }
        if values.len() == 1 {
            equal += 1;
            continue;
        }
        for (place, (value, letters)) in values.into_iter().enumerate() {
            let name = if place == 0 {
                clean(name)
            } else {
                String::new()
            };
            let value = value.map(|value| shortened(&clean(value)));
            grid.rows.push(vec![
                Entry::new(name),
                Entry::new(letters.join(", ")),
                value.map_or_else(|| Entry::faint(ABSENT), Entry::new),
            ]);
        }
    }
    facts.notes.push(match equal {
        0 => "no other fact of the environments is equal".into(),
        1 => "the rest (1 fact of the environments) is equal".into(),
        equal => format!("the rest ({equal} facts of the environments) is equal"),
    });
    facts.grid = (!grid.rows.is_empty()).then_some(grid);
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(VALUE_LIMIT) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
