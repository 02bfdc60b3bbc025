//! Bytes, seconds and counts as a reader sees them, and bytes as a reader writes them.

use crate::record::{Memory, Scope};

/// The binary units, smallest first.
const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Why a text is not an amount of memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text does not begin with a number.
    #[error("`{0}` is not an amount of memory: write a number and a unit, such as 512MiB or 2GiB")]
    NoNumber(String),
    /// The unit is missing its last letters, and so could be decimal or binary.
    #[error("`{unit}` is ambiguous: write {unit}iB (a power of 1024) or {unit}B (a power of 1000)")]
    AmbiguousUnit {
        /// The letter as written, such as `G`.
        unit: String,
    },
    /// There is no such unit.
    #[error("`{0}` is not a unit of memory: use B, KiB, MiB, GiB, TiB, or kB, MB, GB, TB")]
    UnknownUnit(String),
    /// The amount does not fit in 64 bits, or is a fraction of a byte.
    #[error("`{0}` cannot be a number of bytes")]
    OutOfRange(String),
}

/// Stands for a difference that is smaller than the noise.
pub(crate) const NOISE: &str = "≈0";

/// `bytes` in binary units with three or four significant digits, such as `1.02 GiB` or `512 B`.
pub fn format_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = 0;
    // 1023.5 would be printed as 1024, which is one of the next unit.
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A difference in binary units with its sign, such as `+1.00 GiB` or `-3.00 MiB`; zero has none.
pub fn format_signed(bytes: i64) -> String {
    let sign = match bytes {
        ..0 => "-",
        0 => "",
        1.. => "+",
    };
    format!("{sign}{}", format_bytes(bytes.unsigned_abs()))
}

/// A signed difference, or `≈0` where it is smaller than `floor` bytes and so says nothing.
pub fn format_difference(bytes: i64, floor: u64) -> String {
    if floor > 0 && bytes.unsigned_abs() < floor {
        NOISE.into()
    } else {
        format_signed(bytes)
    }
}

/// An amount, or `≈0` where it is smaller than `floor` bytes and so says nothing.
pub fn format_amount(bytes: u64, floor: u64) -> String {
    if floor > 0 && bytes < floor {
        NOISE.into()
    } else {
        format_bytes(bytes)
    }
}

/// The smallest difference of two readings, in bytes, that can be the cell's own.
///
/// - heap, and what a CUDA pool has in use: 0, these are counted and not read.
/// - RAM of the process and of its children: 256 KiB. Before 6.2 Linux collects a thread's pages
///   in batches of up to 64 (256 KiB with 4 KiB pages) before it adds them to the process's count
///   (`TASK_RSS_EVENTS_THRESH` in its `mm/memory.c`), so two readings of an idle process may
///   differ by that much.
/// - system RAM: 4 MiB. The container's or the machine's other processes move it by some pages at
///   any time, and a control group is charged in batches for each core (`MEMCG_CHARGE_BATCH`,
///   64 pages): 16 cores make 4 MiB.
/// - everything else of a GPU: 2 MiB, the size of the blocks in which the driver hands out memory.
pub fn noise_floor(memory: Memory, scope: Scope) -> u64 {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match (memory, scope) {
        (Memory::Heap, _) | (Memory::Vram, Scope::PoolUsed) => 0,
        (Memory::Ram, Scope::System) => 4 * MIB,
        (Memory::Ram, _) => 256 * KIB,
        (Memory::Vram, _) => 2 * MIB,
    }
}

/// `part` as a percentage of `whole`; `None` where `whole` is zero.
pub fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64 * 100.0)
}

/// A percentage such as `6.5 %`; a part too small to show is `<0.1 %`, not zero.
pub fn format_percent(percent: f64) -> String {
    match percent {
        percent if percent > 0.0 && percent < 0.05 => "<0.1 %".into(),
        percent if percent < 1000.0 => format!("{percent:.1} %"),
        _ => ">999 %".into(),
    }
}

/// A duration such as `0.4 ms`, `310 ms`, `12.3 s` or `2.1 min`.
pub fn format_seconds(seconds: f64) -> String {
    match seconds {
        seconds if !seconds.is_finite() || seconds < 0.0 => "—".into(),
        seconds if seconds < 0.000_05 => "<0.1 ms".into(),
        seconds if seconds < 0.009_95 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 0.999_5 => format!("{:.0} ms", seconds * 1e3),
        seconds if seconds < 9.995 => format!("{seconds:.2} s"),
        seconds if seconds < 59.95 => format!("{seconds:.1} s"),
        seconds if seconds < 3597.0 => format!("{:.1} min", seconds / 60.0),
        seconds if seconds < 9999.9 * 3600.0 => format!("{:.1} h", seconds / 3600.0),
        _ => ">9999 h".into(),
    }
}

/// A count with its thousands apart, such as `1,234,567`.
pub fn format_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Reads an amount such as `2GiB`, `512 MB`, `1.5 MiB` or plain bytes (`1_000_000`).
///
/// Letters may be of either case; `KiB` is 1024 bytes and `kB` 1000.
///
/// # Errors
/// Where the text is not a number with a known unit, or does not fit in 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    if number.is_empty() {
        return Err(UnitError::NoNumber(text.into()));
    }
    let number = number.replace('_', "");
    let factor = unit_factor(unit.trim())?;
    let out_of_range = || UnitError::OutOfRange(text.into());
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(out_of_range);
    }
    if number.chars().all(|c| c.is_ascii_digit()) {
        return Err(out_of_range());
    }
    let fraction: f64 = number
        .parse()
        .map_err(|_| UnitError::NoNumber(text.into()))?;
    let bytes = fraction * factor as f64;
    // A fraction of a KiB or more is rounded to a byte; half a byte is a slip of the pen.
    if factor == 1 && bytes.fract() != 0.0 || bytes >= u64::MAX as f64 {
        return Err(out_of_range());
    }
    Ok(bytes.round() as u64)
}

fn unit_factor(unit: &str) -> Result<u64, UnitError> {
    let lower = unit.to_ascii_lowercase();
    if lower.is_empty() || lower == "b" {
        return Ok(1);
    }
    let mut letters = lower.chars();
    let power = letters
        .next()
        .and_then(|letter| "kmgtpe".find(letter))
        .ok_or_else(|| UnitError::UnknownUnit(unit.into()))? as u32
        + 1;
    match letters.as_str() {
        "ib" => Ok(1024u64.pow(power)),
        "b" => Ok(1000u64.pow(power)),
        "" | "i" => Err(UnitError::AmbiguousUnit {
            unit: unit[..1].to_uppercase(),
        }),
        _ => Err(UnitError::UnknownUnit(unit.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_or_four_significant_digits() {
        let cases: [(u64, &str); 12] = [
            (0, "0 B"),
            (512, "512 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024 - 1, "10.0 KiB"),
            (100 * 1024 - 1, "100 KiB"),
            (132 << 10, "132 KiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            ((1 << 20) - 1024, "1023 KiB"),
            ((1 << 30) + (20 << 20), "1.02 GiB"),
            (15 << 30, "15.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(format_bytes(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn differences_have_a_sign_and_a_floor() {
        assert_eq!(format_signed(1 << 30), "+1.00 GiB");
        assert_eq!(format_signed(-(3 << 20)), "-3.00 MiB");
        assert_eq!(format_signed(0), "0 B");
        assert_eq!(format_signed(i64::MIN), "-8.00 EiB");
        assert_eq!(format_difference(-1023, 1024), "≈0");
        assert_eq!(format_difference(-1024, 1024), "-1.00 KiB");
        assert_eq!(format_difference(0, 0), "0 B");
        assert_eq!(format_difference(8, 0), "+8 B");
        assert_eq!(format_amount(1023, 1024), "≈0");
    }

    #[test]
    fn amounts_are_read_in_both_kinds_of_units() {
        let cases = [
            ("0", 0),
            ("1_000", 1000),
            ("12B", 12),
            ("2GiB", 2 << 30),
            (" 512 MB ", 512_000_000),
            ("512 mib", 512 << 20),
            ("1.5 MiB", 3 << 19),
            (".5KiB", 512),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn amounts_that_cannot_be_read_say_why() {
        let cases = [
            ("", "not an amount"),
            ("GiB", "not an amount"),
            ("1.2.3 GiB", "not an amount"),
            ("2G", "write GiB (a power of 1024) or GB"),
            ("1e6", "not a unit"),
            ("5 parsecs", "not a unit"),
            ("1é", "not a unit"),
            ("0.5", "cannot be a number of bytes"),
            ("16EiB", "cannot be a number of bytes"),
            ("99999999999999999999", "cannot be a number of bytes"),
            ("-1", "not an amount"),
        ];
        for (text, reason) in cases {
            let error = parse_bytes(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn seconds_counts_and_percentages_are_short() {
        let seconds = [
            (0.0, "<0.1 ms"),
            (0.000_4, "0.4 ms"),
            (0.31, "310 ms"),
            (1.0, "1.00 s"),
            (59.96, "1.0 min"),
            (125.0, "2.1 min"),
            (3_599.0, "1.0 h"),
            (7_260.0, "2.0 h"),
            (f64::MAX, ">9999 h"),
            (f64::NAN, "—"),
        ];
        for (value, text) in seconds {
            assert_eq!(format_seconds(value), text);
        }
        assert_eq!(format_count(1_234_567), "1,234,567");
        assert_eq!(format_count(12), "12");
        assert_eq!(percent(1, 0), None);
        assert_eq!(format_percent(percent(1, 1_000_000).unwrap()), "<0.1 %");
        assert_eq!(format_percent(percent(1, 8).unwrap()), "12.5 %");
    }
}
