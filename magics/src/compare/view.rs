//! A comparison as a table.

use super::quantity::{Key, Unit};
use super::{ComparedCell, Comparison, Line, Side, facts, letter, quantity};
use crate::archive::Recording;
use crate::record::{Memory, Record, Scope};
use crate::table::{ABSENT, Column, Entry, Grid, Table, clean, ending, title};
use crate::units;

/// How many cells a sentence names.
const NAMED: usize = 8;

/// What a difference is held against.
const RULE: &str = "* more than noise: 512 KiB for process RAM and children, 64 KiB for the heap, 4 MiB \
                    for a GPU (0 B for what its pool has in use)";

const SPREAD: &str = "where several runs of one environment lie further apart than that, their spread \
                      is the noise; run times are marked only where both sides have several runs";

const MEANING: &str = "rise: peak minus before · kept: after minus before · what earlier cells hold is \
                       in neither";

impl Comparison<'_> {
    /// The recordings side by side, for a reader.
    pub fn table(&self) -> Table {
        let facts = facts::compare(self.recordings);
        let differing: Vec<&ComparedCell> =
            self.cells.iter().filter(|cell| cell.differs()).collect();
        let mut table = Table {
            title: self.headline(&differing),
            alerts: facts.alerts,
            grids: vec![overview(self.recordings)],
            ..Table::default()
        };
        table.grids.extend(facts.grid);
        for cell in &self.cells {
            table.alerts.extend(cell.endings());
            table.footer.extend(cell.changed_code());
        }
        let mut reasons = Reasons::default();
        if !self.cells.is_empty() {
            table.grids.push(self.grid(&mut reasons));
        }
        table.footnotes = reasons.footnotes();
        table.footer.splice(0..0, facts.notes);
        table.footer.extend(self.without_partner());
        if !self.cells.is_empty() {
            table
                .footer
                .extend([RULE, SPREAD, MEANING].map(String::from));
        }
        table
    }

    fn headline(&self, differing: &[&ComparedCell]) -> String {
        let compared = match self.cells.len() {
            0 => return "no cell of A has a counterpart: no label and no code is the same".into(),
            1 => "1 cell compared".into(),
            count => format!("{} cells compared", units::format_count(count as u64)),
        };
        match differing.len() {
            0 => format!("{compared}, no difference is more than noise"),
            count => {
                let names = differing.iter().filter_map(|cell| cell.name());
                let names: Vec<String> = names.take(NAMED).collect();
                let more = if count > NAMED { ", …" } else { "" };
                let verb = if count == 1 { "differs" } else { "differ" };
                format!(
                    "{compared}, {count} {verb} by more than noise: {}{more}",
                    names.join(", ")
                )
            }
        }
    }

    fn grid(&self, reasons: &mut Reasons) -> Grid {
        let many = self.recordings.len() > 2;
        let mut columns = vec![Column::words("cell"), Column::words("what")];
        if many {
            columns.extend([
                Column::words("in"),
                Column::number("A"),
                Column::number("there"),
                Column::number("difference"),
                Column::number("ratio"),
            ]);
        } else {
            columns.extend(["A", "B", "B − A", "B / A"].map(Column::number));
        }
        let mut rows = Vec::new();
        for cell in &self.cells {
            let mut name = cell.name();
            for lines in cell.by_quantity() {
                // Of many files only those that differ have a line of their own.
                let (differing, rest): (Vec<&Line>, Vec<&Line>) = lines
                    .into_iter()
                    .partition(|line| !many || line.differs() || line.difference().is_none());
                let own = differing.iter().map(std::slice::from_ref);
                let rest = (!rest.is_empty()).then_some(rest.as_slice());
                for (place, lines) in own.chain(rest).enumerate() {
                    let first = lines[0];
                    let mut row = vec![Entry::new(name.take().unwrap_or_default())];
                    // What is the same on the lines below is not repeated.
                    if place == 0 {
                        row.push(Entry::new(first.key.name()));
                    } else {
                        row.push(Entry::default());
                    }
                    row.extend(many.then(|| Entry::new(letters(lines))));
                    let base = reasons.entry(&first.key, &first.base_side, 0);
                    row.push(if place == 0 { base } else { Entry::default() });
                    row.extend(match lines {
                        [line] => [
                            reasons.entry(&line.key, &line.other_side, line.other),
                            difference(line),
                            ratio(line),
                        ],
                        lines => [range(lines), within_noise(lines), Entry::default()],
                    });
                    rows.push(row);
                }
            }
        }
        Grid { columns, rows }
    }

    /// The cells that have no counterpart.
    fn without_partner(&self) -> Vec<String> {
        let lonely = self.lonely.iter().enumerate();
        lonely
            .filter(|(_, records)| !records.is_empty())
            .map(|(index, records)| {
                let names: Vec<String> = records.iter().take(NAMED).map(|it| title(it)).collect();
                let more = match records.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                let place = match index {
                    0 => "only in A".into(),
                    _ => format!("in {}, not in A", letter(index)),
                };
                format!("{place}: {}{more}", names.join(", "))
            })
            .collect()
    }
}

/// Two cells of one session side by side, for a reader.
pub fn two_cells(base: &Record, other: &Record) -> Table {
    let mut grid = Grid {
        columns: vec![
            Column::words(""),
            Column::number("A"),
            Column::number("B"),
            Column::number("B − A"),
            Column::number("B / A"),
        ],
        rows: Vec::new(),
    };
    let mut reasons = Reasons::default();
    for key in quantity::keys_with_peaks(base, other) {
        let side = |record| key.value(record).map_or_else(Side::Unknown, Side::Value);
        let line = Line {
            base_side: side(base),
            other_side: side(other),
            noise: key.floor(),
            key: key.clone(),
            other: 1,
        };
        grid.rows.push(vec![
            Entry::new(key.name()),
            reasons.entry(&key, &line.base_side, 0),
            reasons.entry(&key, &line.other_side, 1),
            difference(&line),
            ratio(&line),
        ]);
    }
    let ended = |name: &str, record| {
        let ending = ending(record)?;
        Some(format!("{name} {ending}"))
    };
    Table {
        title: format!("A {} · B {}", title(base), title(other)),
        alerts: [ended("A", base), ended("B", other)]
            .into_iter()
            .flatten()
            .collect(),
        grids: vec![grid],
        footnotes: reasons.footnotes(),
        footer: vec![RULE.into()],
    }
}

/// One line a recording.
fn overview(recordings: &[Recording]) -> Grid {
    let highest = |recording: &Recording, memory| {
        let rows = recording.records.iter().flat_map(|record| {
            let rows: Box<dyn Iterator<Item = _>> = match memory {
                Memory::Vram => Box::new(record.vram_of_process()),
                _ => Box::new(record.rows_of(memory, Scope::Process)),
            };
            rows
        });
        rows.filter_map(|row| row.peak).max()
    };
    let bytes = |value: Option<u64>| Entry::or_absent(value.map(units::format_bytes));
    let has_vram = recordings
        .iter()
        .any(|recording| highest(recording, Memory::Vram).is_some());
    let mut columns = vec![
        Column::words(""),
        Column::words("run"),
        Column::number("cells"),
        Column::number("RAM before"),
        Column::number("RAM peak"),
        Column::number("heap peak"),
    ];
    columns.extend(has_vram.then_some(Column::number("VRAM peak")));
    columns.push(Column::number("run time"));
    let rows = recordings.iter().enumerate().map(|(index, recording)| {
        let first = recording.records.first();
        let before = first.and_then(|it| it.rows_of(Memory::Ram, Scope::Process).next()?.before);
        let times = recording.records.iter().filter_map(|it| it.duration_s.run);
        let mut row = vec![
            Entry::strong(letter(index)),
            Entry::new(clean(&recording.name)),
            Entry::new(units::format_count(recording.records.len() as u64)),
            bytes(before),
            bytes(highest(recording, Memory::Ram)),
            bytes(highest(recording, Memory::Heap)),
        ];
        row.extend(has_vram.then(|| bytes(highest(recording, Memory::Vram))));
        row.push(Entry::new(units::format_seconds(times.sum())));
        row
    });
    Grid {
        rows: rows.collect(),
        columns,
    }
}

impl ComparedCell<'_> {
    /// The number and label that the cell has in the baseline.
    fn name(&self) -> Option<String> {
        Some(title(self.base()?.last()))
    }

    /// The lines by quantity, each with one line for each other recording.
    fn by_quantity(&self) -> Vec<Vec<&Line>> {
        let mut keys: Vec<&Key> = Vec::new();
        for line in &self.lines {
            if !keys.contains(&&line.key) {
                keys.push(&line.key);
            }
        }
        let of = |key: &Key| self.lines.iter().filter(|line| line.key == *key).collect();
        keys.into_iter().map(of).collect()
    }

    /// Each side on which the cell did not end well.
    fn endings(&self) -> Vec<String> {
        let groups = self.groups.iter().enumerate();
        groups
            .filter_map(|(index, group)| {
                let ending = ending(group.as_ref()?.last())?;
                Some(format!("{} in {}: {ending}", self.name()?, letter(index)))
            })
            .collect()
    }

    /// A remark where the label is the same and the code is not.
    fn changed_code(&self) -> Option<String> {
        let base = self.base()?;
        let others = self.groups.iter().enumerate().skip(1);
        let changed: Vec<String> = others
            .filter_map(|(index, group)| {
                let (code, of_base) = (group.as_ref()?.code()?, base.code()?);
                (code != of_base).then(|| letter(index))
            })
            .collect();
        (!changed.is_empty()).then(|| {
            format!(
                "{} has other code in {} than in A: its differences may come from that",
                self.name().unwrap_or_default(),
                changed.join(", ")
            )
        })
    }
}

/// The recordings of these lines.
fn letters(lines: &[&Line]) -> String {
    match lines.len() {
        ..=NAMED => {
            let letters: Vec<String> = lines.iter().map(|line| letter(line.other)).collect();
            letters.join(", ")
        }
        count => format!("{} files", units::format_count(count as u64)),
    }
}

/// The values of several recordings of which none differs from the baseline by more than noise.
fn range(lines: &[&Line]) -> Entry {
    let values = || lines.iter().filter_map(|line| line.other_side.value());
    let show = |value: f64| lines[0].key.show(value);
    let (lowest, highest) = (
        show(values().fold(f64::MAX, f64::min)),
        show(values().fold(f64::MIN, f64::max)),
    );
    Entry::new(if lowest == highest {
        lowest
    } else {
        format!("{lowest} to {highest}")
    })
}

fn within_noise(lines: &[&Line]) -> Entry {
    const NOTHING: &str = "≈0";
    let is_nothing = |line: &&Line| {
        let difference = line.difference();
        difference.is_some_and(|it| line.key.show_difference(it) == NOTHING)
    };
    Entry::faint(match lines[0].key.unit() {
        // Of times the noise is not known, or they lie within it.
        Unit::Seconds => "",
        Unit::Bytes if lines.iter().all(is_nothing) => NOTHING,
        Unit::Bytes => "in the noise",
    })
}

/// The difference, marked where it is more than noise.
fn difference(line: &Line) -> Entry {
    let Some(difference) = line.difference() else {
        return Entry::faint(ABSENT);
    };
    let text = line.key.show_difference(difference);
    if line.differs() {
        Entry::strong(format!("*{text}"))
    } else {
        Entry::faint(text)
    }
}

/// The ratio, where the difference says something.
fn ratio(line: &Line) -> Entry {
    let says_something = line.differs() || line.key.unit() == Unit::Seconds;
    match line.ratio().filter(|_| says_something) {
        Some(ratio) if ratio < 9.95 => Entry::new(format!("{ratio:.2} ×")),
        Some(ratio) if ratio < 9_999.5 => Entry::new(format!("{ratio:.0} ×")),
        Some(_) => Entry::new(">9999 ×"),
        None => Entry::default(),
    }
}

/// Why values are absent: each reason once, with a mark that stands in the grid.
#[derive(Default)]
struct Reasons {
    known: Vec<(String, Vec<String>)>,
}

impl Reasons {
    /// The value of a side, or a mark that leads to the reason why there is none.
    fn entry(&mut self, key: &Key, side: &Side, recording: usize) -> Entry {
        let reason = match side {
            Side::Value(value) => return Entry::new(key.show(*value)),
            Side::Unknown(reason) => reason,
        };
        let place = match self.known.iter().position(|(known, _)| known == reason) {
            Some(place) => place,
            None => {
                self.known.push((reason.clone(), Vec::new()));
                self.known.len() - 1
            }
        };
        let about = format!("{} {}", letter(recording), key.row());
        let abouts = &mut self.known[place].1;
        if !abouts.contains(&about) {
            abouts.push(about);
        }
        Entry {
            hint: Some(reason.clone()),
            ..Entry::faint(format!("{ABSENT} [{}]", place + 1))
        }
    }

    fn footnotes(self) -> Vec<String> {
        let known = self.known.into_iter().enumerate();
        known
            .map(|(place, (reason, about))| {
                let more = if about.len() > NAMED { ", …" } else { "" };
                let about = about[..about.len().min(NAMED)].join(", ");
                format!("[{}] {about}{more}: {reason}", place + 1)
            })
            .collect()
    }
}
