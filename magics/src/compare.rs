//! Recorded runs side by side: cells that belong together, what differs, and whether that is more
//! than noise.
//!
//! The first recording is the baseline. What is compared is each cell's own: how far a memory rose
//! above what was there before the cell, and what the cell left behind. A peak as such would show
//! each difference again in all later cells.

use std::collections::HashSet;

use crate::archive::Recording;
use crate::record::Record;

mod data;
mod facts;
mod matching;
mod quantity;
mod view;

pub use data::{csv, json_lines};
use matching::Group;
use quantity::{Key, Unit};
pub use view::two_cells;

/// Recorded runs, compared with the first of them.
pub struct Comparison<'a> {
    recordings: &'a [Recording],
    cells: Vec<ComparedCell<'a>>,
    /// For each recording what has no counterpart: of the baseline in no other, else in the baseline.
    lonely: Vec<Vec<&'a Record>>,
}

/// A cell of the baseline and its counterparts.
struct ComparedCell<'a> {
    /// Its runs, by recording.
    groups: Vec<Option<Group<'a>>>,
    lines: Vec<Line>,
}

/// One quantity of a cell, in the baseline and in another recording.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    key: Key,
    /// Which recording is compared with the baseline.
    other: usize,
    base_side: Side,
    other_side: Side,
    /// How large a difference can be that says nothing, in bytes or seconds; `None` where that is
    /// not known.
    noise: Option<f64>,
}

/// A value, or why there is none.
#[derive(Debug, Clone, PartialEq)]
enum Side {
    Value(f64),
    Unknown(String),
}

impl Side {
    fn value(&self) -> Option<f64> {
        match self {
            Side::Value(value) => Some(*value),
            Side::Unknown(_) => None,
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Side::Value(_) => None,
            Side::Unknown(reason) => Some(reason),
        }
    }
}

impl Line {
    /// The other value minus the baseline's. None where either is unknown.
    fn difference(&self) -> Option<f64> {
        Some(self.other_side.value()? - self.base_side.value()?)
    }

    /// Whether the difference is more than noise.
    fn differs(&self) -> bool {
        match (self.difference(), self.noise) {
            (Some(difference), Some(noise)) => difference.abs() > noise,
            _ => false,
        }
    }

    /// The other value by the baseline's, where both are large enough for it to say something.
    fn ratio(&self) -> Option<f64> {
        let (base, other) = (self.base_side.value()?, self.other_side.value()?);
        let floor = self.key.floor().unwrap_or(0.0);
        (base > floor && other > floor).then(|| other / base)
    }
}

impl<'a> Comparison<'a> {
    /// Compares `recordings` with the first of them.
    pub fn new(recordings: &'a [Recording]) -> Comparison<'a> {
        let groups: Vec<Vec<Group>> = recordings.iter().map(matching::groups).collect();
        let Some((base, others)) = groups.split_first() else {
            return Comparison {
                recordings,
                cells: Vec::new(),
                lonely: Vec::new(),
            };
        };
        let partners: Vec<Vec<Option<usize>>> = others
            .iter()
            .map(|other| matching::partners(base, other))
            .collect();
        let mut cells = Vec::new();
        let mut lonely = vec![Vec::new(); recordings.len()];
        for (index, group) in base.iter().enumerate() {
            let partner = |(other, partners): (&Vec<Group<'a>>, &Vec<Option<usize>>)| {
                partners[index].map(|place| other[place].clone())
            };
            let found: Vec<Option<Group>> = others.iter().zip(&partners).map(partner).collect();
            if found.iter().all(Option::is_none) {
                lonely[0].push(group.last());
            } else {
                let groups = std::iter::once(Some(group.clone())).chain(found).collect();
                cells.push(ComparedCell::new(groups));
            }
        }
        for (index, (other, partners)) in others.iter().zip(&partners).enumerate() {
            let met: HashSet<usize> = partners.iter().flatten().copied().collect();
            let unmet = (0..other.len()).filter(|place| !met.contains(place));
            lonely[index + 1].extend(unmet.map(|place| other[place].last()));
        }
        Comparison {
            recordings,
            cells,
            lonely,
        }
    }
}

impl<'a> ComparedCell<'a> {
    fn new(groups: Vec<Option<Group<'a>>>) -> ComparedCell<'a> {
        let mut cell = ComparedCell {
            groups,
            lines: Vec::new(),
        };
        let Some(base) = cell.base().cloned() else {
            return cell;
        };
        for (other, group) in cell.groups.iter().enumerate().skip(1) {
            let Some(group) = group else { continue };
            for key in quantity::keys(base.last(), group.last()) {
                let side = |record| match key.value(record) {
                    Ok(value) => Side::Value(value),
                    Err(reason) => Side::Unknown(reason),
                };
                let noise = cell.noise(&key, &base, other, group);
                cell.lines.push(Line {
                    base_side: side(base.last()),
                    other_side: side(group.last()),
                    key,
                    other,
                    noise,
                });
            }
        }
        cell
    }

    fn base(&self) -> Option<&Group<'a>> {
        self.groups.first()?.as_ref()
    }

    fn differs(&self) -> bool {
        self.lines.iter().any(Line::differs)
    }

    /// What a difference between the baseline and the recording `other` must exceed: the floor of the
    /// readings, and how far apart several runs in one environment lie. For times there is no
    /// floor, so it is known only where there are several runs on both sides.
    fn noise(&self, key: &Key, base: &Group, other: usize, group: &Group) -> Option<f64> {
        let same = base.environment() == group.environment();
        let spread = |index: usize, of: &Group| {
            // Between runs of one environment the difference itself must not count as noise.
            let groups = self.groups.iter().enumerate().filter(|(place, found)| {
                let is_of = |found: &Group| found.environment() == of.environment();
                *place == index || !same && found.as_ref().is_some_and(is_of)
            });
            let runs = groups.filter_map(|(_, found)| found.as_ref());
            let values: Vec<f64> = runs
                .flat_map(|group| &group.runs)
                .filter_map(|record| key.value(record).ok())
                .collect();
            let highest = values.iter().copied().fold(f64::MIN, f64::max);
            let lowest = values.iter().copied().fold(f64::MAX, f64::min);
            (values.len() > 1).then_some(highest - lowest)
        };
        let spreads = (spread(0, base), spread(other, group));
        match (key.unit(), spreads) {
            (Unit::Bytes, (base, other)) => Some(
                key.floor()
                    .unwrap_or(0.0)
                    .max(base.unwrap_or(0.0))
                    .max(other.unwrap_or(0.0)),
            ),
            (Unit::Seconds, (Some(base), Some(other))) => Some(base.max(other)),
            (Unit::Seconds, _) => None,
        }
    }
}

/// The name of a recording in tables: A for the baseline, then B and so on.
fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => format!("#{}", index + 1),
    }
}
