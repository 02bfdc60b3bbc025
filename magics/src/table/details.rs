//! What stands below a record's rows: memory by kind of page, and remarks of less weight.

use super::{Column, Entry, Grid};
use crate::record::{CudaContext, Device, Memory, Record, Row, Scope, Split};
use crate::units;

type Kind = (&'static str, fn(&Split) -> Option<u64>);

const KINDS: [Kind; 4] = [
    ("anon", |split| split.anon),
    ("file", |split| split.file),
    ("shmem", |split| split.shmem),
    ("swap", |split| split.swap),
];

/// Resident memory by kind of page: before, after and the difference.
pub(super) fn split_grid(record: &Record, row: &Row) -> Grid {
    let mut columns = vec![Column::words("process RAM by kind")];
    columns.extend(KINDS.map(|(name, _)| Column::number(name)));
    let line = |name: &str, value: &dyn Fn(&Kind) -> Option<String>| {
        let mut line = vec![Entry::new(name)];
        line.extend(KINDS.iter().map(|kind| Entry::or_absent(value(kind))));
        line
    };
    let of = |split: &Option<Split>, kind: &Kind| split.as_ref().and_then(kind.1);
    let rows = vec![
        line("before", &|kind| {
            of(&row.split_before, kind).map(units::format_bytes)
        }),
        line("after", &|kind| {
            of(&row.split_after, kind).map(units::format_bytes)
        }),
        line("kept", &|kind| {
            let change = split_change(record, row, kind)?;
            Some(units::format_difference(
                change,
                units::noise_floor(row.memory, row.scope),
            ))
        }),
    ];
    Grid { columns, rows }
}

/// After minus before of one kind of page.
fn split_change(record: &Record, row: &Row, kind: &Kind) -> Option<i64> {
    let mut of_kind = Row::empty(row.memory, row.scope);
    of_kind.before = kind.1(row.split_before.as_ref()?);
    of_kind.after = kind.1(row.split_after.as_ref()?);
    record.kept(&of_kind)
}

/// On a machine with several GPUs, those of which this process holds nothing and whose use did not
/// change: their rows would hide the others. Their numbers stay in the record.
pub(crate) fn quiet_gpus(record: &Record) -> Vec<&Device> {
    let mut devices: Vec<&Device> = Vec::new();
    for device in record.rows.iter().filter_map(|row| row.device.as_ref()) {
        if !devices.contains(&device) {
            devices.push(device);
        }
    }
    if devices.len() < 2 {
        return Vec::new();
    }
    devices.retain(|device| {
        let mut rows = record
            .rows
            .iter()
            .filter(|row| row.device.as_ref() == Some(device));
        rows.all(|row| {
            let floor = units::noise_floor(row.memory, row.scope);
            match row.scope {
                Scope::Device => {
                    row.kept().is_some_and(|kept| kept.unsigned_abs() < floor)
                        && row.temporary().is_some_and(|bytes| bytes < floor)
                }
                // Where the driver is loaded, the process's peak is not known.
                _ => (row.before, row.peak.unwrap_or(0), row.after) == (Some(0), 0, Some(0)),
            }
        })
    });
    devices
}

/// The row whose peak is the number to look at: of what the cell itself held in RAM or on a GPU, the
/// one that rose most above its value before; process RAM where none rose. The heap does not lead: its
/// bytes may be untouched, and those that are touched are in process RAM.
pub(super) fn lead(record: &Record) -> Option<&Row> {
    let risen = record
        .rows_of(Memory::Ram, Scope::Process)
        .chain(record.rows_of(Memory::Ram, Scope::Children))
        .chain(record.vram_of_process())
        .filter_map(|row| Some((row.peak?.saturating_sub(row.before?), row)))
        .filter(|(rise, row)| *rise >= units::noise_floor(row.memory, row.scope).max(1))
        // The first of equals, so that rows of one size do not take turns.
        .reduce(|most, next| if next.0 > most.0 { next } else { most });
    match risen {
        Some((_, row)) => Some(row),
        None => record
            .rows_of(Memory::Ram, Scope::Process)
            .find(|row| row.peak.is_some()),
    }
}

pub(super) fn footer(record: &Record, wide: bool) -> Vec<String> {
    let mut footer = Vec::new();
    footer.extend(record.cuda_context.as_ref().map(context_line));
    for row in &record.rows {
        footer.extend(match (row.memory, row.scope) {
            (Memory::Ram, Scope::Process) if !wide => split_line(record, row),
            (Memory::Ram, Scope::System) => percent_line(row),
            (Memory::Heap, _) => heap_line(row),
            _ => None,
        });
    }
    let overhead = &record.overhead;
    let seconds = |name: &str, value: Option<f64>| {
        value.map(|value| format!("{name} {}", units::format_seconds(value)))
    };
    let rss = |name: &str, value: Option<u64>| {
        value.map(|value| format!("{name} {}", units::format_bytes(value)))
    };
    let times: Vec<String> = [
        seconds("run", record.duration_s.run),
        seconds("compile", record.duration_s.compile),
        seconds("tracking", Some(overhead.tracking_s)),
    ]
    .into_iter()
    .flatten()
    .collect();
    footer.push(times.join(" · "));
    let beside: Vec<String> = [
        rss("compiler peak", overhead.compiler_peak_rss),
        rss("kernel", overhead.kernel_rss),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !beside.is_empty() {
        footer.push(format!("beside your code: {}", beside.join(" · ")));
    }
    footer
}

/// What the CUDA context cost that the cell made.
fn context_line(context: &CudaContext) -> String {
    let part = |name: &str, value: Option<u64>| match value {
        Some(bytes) => format!("{name} {}", units::format_bytes(bytes)),
        None => format!("{name} not known"),
    };
    let vram = part("VRAM", context.vram);
    let vram = match &context.vram_source {
        Some(source) => format!("{vram} ({source}, pool left out)"),
        None => vram,
    };
    format!(
        "this cell made the CUDA context of GPU {}: {vram} · {} · {}, over the whole cell",
        context.device,
        part("RAM anon", context.ram_anon),
        part("RAM file", context.ram_file),
    )
}

/// Which kinds of page changed by more than noise.
fn split_line(record: &Record, row: &Row) -> Option<String> {
    let floor = units::noise_floor(row.memory, row.scope);
    let changes: Vec<String> = KINDS
        .iter()
        .filter_map(|kind| {
            let change = split_change(record, row, kind)?;
            (change.unsigned_abs() >= floor)
                .then(|| format!("{} {}", kind.0, units::format_signed(change)))
        })
        .collect();
    (!changes.is_empty()).then(|| format!("{} changed: {}", row.label(), changes.join(" · ")))
}

/// Before, peak and after as percentages of the limit.
fn percent_line(row: &Row) -> Option<String> {
    let limit = row.limit?;
    let percent = |name: &str, value: Option<u64>| {
        let percent = units::percent(value?, limit)?;
        Some(format!("{name} {}", units::format_percent(percent)))
    };
    let values: Vec<String> = [
        percent("before", row.before),
        percent("peak", row.peak),
        percent("after", row.after),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!values.is_empty()).then(|| {
        let limit = units::format_bytes(limit);
        format!("{} of {limit}: {}", row.label(), values.join(" · "))
    })
}

fn heap_line(row: &Row) -> Option<String> {
    let bytes = |value: Option<u64>, what: &str| {
        value.map(|value| format!("{} {what}", units::format_bytes(value)))
    };
    let parts: Vec<String> = [
        row.allocations.map(|count| match count {
            1 => "1 allocation".into(),
            count => format!("{} allocations", units::format_count(count)),
        }),
        bytes(row.allocated, "allocated"),
        bytes(row.retained, "freed but retained by the allocator"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| format!("{}: {}", row.label(), parts.join(" · ")))
}
