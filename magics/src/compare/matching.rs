//! Which cells of two recordings belong together.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::archive::Recording;
use crate::record::Record;

/// The runs of one cell in one recording, oldest first: several where a session ran it again.
#[derive(Debug, Clone)]
pub(super) struct Group<'a> {
    pub runs: Vec<&'a Record>,
}

impl<'a> Group<'a> {
    /// The run that stands for the cell: the latest, as in a notebook.
    pub fn last(&self) -> &'a Record {
        self.runs[self.runs.len() - 1]
    }

    pub fn label(&self) -> Option<&'a str> {
        self.last().cell.label.as_deref()
    }

    pub fn environment(&self) -> &'a str {
        &self.last().environment.id
    }

    /// The hash of its code; None where it is not known.
    pub fn code(&self) -> Option<&'a str> {
        Some(self.last().cell.code_hash.as_str()).filter(|code| !code.is_empty())
    }
}

/// The cells of a recording. Records with the same label and the same code are runs of one cell.
/// Without a label they may be two cells that happen to say the same, so each stands for itself.
pub(super) fn groups(recording: &Recording) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    for record in &recording.records {
        let code = record.cell.code_hash.as_str();
        let place = match &record.cell.label {
            Some(label) if !code.is_empty() => *known.entry((label, code)).or_insert(groups.len()),
            _ => groups.len(),
        };
        match groups.get_mut(place) {
            Some(group) => group.runs.push(record),
            None => groups.push(Group { runs: vec![record] }),
        }
    }
    groups
}

/// For each cell of `base` its counterpart in `other`: by label, then by code, the first of several
/// with the first, the second with the second. Two different labels are two different cells.
pub(super) fn partners(base: &[Group], other: &[Group]) -> Vec<Option<usize>> {
    let mut by_label = Places::default();
    for (place, cell) in other.iter().enumerate() {
        by_label.put(cell.label(), place);
    }
    let mut partners: Vec<Option<usize>> = base
        .iter()
        .map(|cell| by_label.take(cell.label()))
        .collect();
    let taken: HashSet<usize> = partners.iter().flatten().copied().collect();
    let (mut labelled, mut unlabelled) = (Places::default(), Places::default());
    for (place, cell) in other.iter().enumerate() {
        let places = match cell.label() {
            Some(_) => &mut labelled,
            None => &mut unlabelled,
        };
        if !taken.contains(&place) {
            places.put(cell.code(), place);
        }
    }
    for (cell, partner) in base.iter().zip(&mut partners) {
        *partner = partner
            .or_else(|| unlabelled.take(cell.code()))
            .or_else(|| match cell.label() {
                Some(_) => None,
                None => labelled.take(cell.code()),
            });
    }
    partners
}

/// Where the cells with a name stand that no cell of the baseline has got yet.
#[derive(Default)]
struct Places<'a>(HashMap<&'a str, VecDeque<usize>>);

impl<'a> Places<'a> {
    fn put(&mut self, name: Option<&'a str>, place: usize) {
        if let Some(name) = name {
            self.0.entry(name).or_default().push_back(place);
        }
    }

    fn take(&mut self, name: Option<&str>) -> Option<usize> {
        self.0.get_mut(name?)?.pop_front()
    }
}
