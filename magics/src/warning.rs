//! What the user should know at once: that a cell came close to a limit, and who held most.
//!
//! Only what is known is said. Of a process's peak it is not known whether it fell together with
//! that of the whole, so it is told as *up to*; what is left for others when all that this session
//! may have held is taken away is told as *at least*.

use crate::record::{Memory, Overhead, Record, Row, Scope};
use crate::units::{format_bytes, percent};

/// From this part of a limit on, in percent, a peak is called close to it.
pub const CLOSE_PERCENT: f64 = 90.0;

/// How many holders of memory a warning names.
const HOLDERS: usize = 2;

/// Somebody who holds memory.
struct Holder {
    bytes: u64,
    text: String,
}

/// One line for each limit that the cell's peak came close to: the container's or machine's, and
/// each GPU's. None for a cell that did not run.
///
/// `container`: the system's limit is a container's. It is said, because the remedy differs.
pub fn close_to_limit(record: &Record, container: bool) -> Vec<String> {
    if record.duration_s.run.is_none() {
        return Vec::new();
    }
    let ram = record.rows_of(Memory::Ram, Scope::System);
    let ram = ram.filter_map(|row| {
        let whose = if container { "container" } else { "machine" };
        let holders = holders_of_ram(record, row.peak?, container);
        line(row, &format!("the {whose}'s"), holders)
    });
    let devices = record.rows_of(Memory::Vram, Scope::Device);
    let devices =
        devices.filter_map(|row| line(row, "its", holders_of_vram(record, row, row.peak?)));
    ram.chain(devices).collect()
}

/// Whether the peak is close to the limit.
fn is_close(row: &Row) -> bool {
    row.percent_of_limit()
        .is_some_and(|percent| percent >= CLOSE_PERCENT)
}

fn line(row: &Row, whose: &str, mut holders: Vec<Holder>) -> Option<String> {
    if !is_close(row) {
        return None;
    }
    let (peak, limit) = (row.peak?, row.limit?);
    holders.retain(|holder| holder.bytes > 0);
    // The sort is stable: of equals the first.
    holders.sort_by_key(|holder| std::cmp::Reverse(holder.bytes));
    holders.truncate(HOLDERS);
    let texts: Vec<String> = holders.into_iter().map(|holder| holder.text).collect();
    let holders = match texts.is_empty() {
        true => String::new(),
        false => format!(": {}", texts.join(", ")),
    };
    Some(format!(
        "{} reached {:.0} % of {whose} {}{holders}",
        row.label(),
        // Never rounded up to a limit that was not reached.
        percent(peak, limit)?.floor(),
        format_bytes(limit),
    ))
}

fn peak_of(record: &Record, memory: Memory, scope: Scope) -> Option<u64> {
    record.rows_of(memory, scope).find_map(|row| row.peak)
}

fn holders_of_ram(record: &Record, peak: u64, container: bool) -> Vec<Holder> {
    let process = peak_of(record, Memory::Ram, Scope::Process);
    let children = peak_of(record, Memory::Ram, Scope::Children);
    let Overhead { kernel_rss, .. } = record.overhead;
    let mut holders = Vec::new();
    holders.extend(process.map(|bytes| Holder {
        bytes,
        text: format!("this process up to {}{}", format_bytes(bytes), heap(record)),
    }));
    holders.extend(children.map(|bytes| Holder {
        bytes,
        text: format!("processes that it started up to {}", format_bytes(bytes)),
    }));
    holders.extend(kernel_rss.map(|bytes| Holder {
        bytes,
        text: format!("the kernel itself {}", format_bytes(bytes)),
    }));
    // Without the largest part known, what is left is nobody's in particular.
    if let (Some(process), Some(kernel)) = (process, kernel_rss) {
        let ours = process
            .saturating_add(kernel)
            .saturating_add(children.unwrap_or(0));
        let bytes = peak.saturating_sub(ours);
        let place = if container { " in the container" } else { "" };
        holders.push(Holder {
            bytes,
            text: format!("all else{place} at least {}", format_bytes(bytes)),
        });
    }
    holders
}

/// What of the process was heap, in use and freed but kept.
fn heap(record: &Record) -> String {
    let Some(row) = record.rows_of(Memory::Heap, Scope::Process).next() else {
        return String::new();
    };
    let retained = row.retained.filter(|bytes| *bytes >= 1 << 20);
    match (row.peak, retained) {
        (None, _) => String::new(),
        (Some(peak), None) => format!(" (heap up to {})", format_bytes(peak)),
        (Some(peak), Some(kept)) => format!(
            " (heap up to {}, {} more kept by the allocator in the end)",
            format_bytes(peak),
            format_bytes(kept)
        ),
    }
}

fn holders_of_vram(record: &Record, device: &Row, peak: u64) -> Vec<Holder> {
    let of = |scope| {
        let mut rows = record.rows_of(Memory::Vram, scope);
        rows.find(|row| row.device == device.device)
    };
    let pool = of(Scope::PoolReserved).and_then(|row| row.peak);
    let process = of(Scope::Process).and_then(|row| row.peak);
    let mut holders = Vec::new();
    match (process, pool) {
        (Some(process), pool) => {
            let pool = pool.map(|pool| format!(" (CUDA's pool {})", format_bytes(pool)));
            holders.push(Holder {
                bytes: process,
                text: format!(
                    "this process up to {}{}",
                    format_bytes(process),
                    pool.unwrap_or_default()
                ),
            });
            let bytes = peak.saturating_sub(process);
            holders.push(Holder {
                bytes,
                text: format!("other processes at least {}", format_bytes(bytes)),
            });
        }
        (None, Some(pool)) => {
            holders.push(Holder {
                bytes: pool,
                text: format!("CUDA's pool of this process up to {}", format_bytes(pool)),
            });
            let bytes = peak.saturating_sub(pool);
            holders.push(Holder {
                bytes,
                text: format!(
                    "all else, other processes and CUDA's context among it, at least {}",
                    format_bytes(bytes)
                ),
            });
        }
        (None, None) => {}
    }
    holders
}

#[cfg(test)]
mod tests;
