//! Budgets: what a cell may use, as an expression such as `ram.peak < 2GiB and heap.kept == 0`.
//!
//! A value that is not known never meets a budget: the verdict is then [`Verdict::Unknown`].
//!
//! ```
//! use memtrack::budget::Budget;
//! let budget = Budget::parse("ram.peak < 2GiB and vram.peak <= 80%").unwrap();
//! assert_eq!(budget.to_string(), "ram.peak < 2GiB and vram.peak <= 80%");
//! assert!(Budget::parse("ram.peek < 2GiB").unwrap_err().to_string().contains("ram.peak"));
//! ```

use std::fmt;

use crate::record::{Memory, Record, Row, Scope};
use crate::units;

mod parse;

pub use parse::BudgetError;

/// What a cell may use: comparisons that must all hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    text: String,
    clauses: Vec<Clause>,
}

/// Whether a record keeps within a budget, and why, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every comparison holds; one line each.
    Pass(String),
    /// At least one comparison does not hold.
    Fail(String),
    /// None is known to be broken, but at least one value is not known.
    Unknown(String),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
struct Clause {
    quantity: &'static Quantity,
    field: Field,
    operator: Operator,
    bound: Bound,
    text: String,
}

/// A memory that a budget can name.
#[derive(Debug, PartialEq)]
struct Quantity {
    name: &'static str,
    memory: Memory,
    scope: Scope,
    about: &'static str,
}

const QUANTITIES: [Quantity; 11] = {
    use Memory::{Heap, Ram, Vram};
    use Scope::{Children, Device, PoolReserved, PoolUsed, Process, System};
    const fn quantity(
        name: &'static str,
        memory: Memory,
        scope: Scope,
        about: &'static str,
    ) -> Quantity {
        Quantity {
            name,
            memory,
            scope,
            about,
        }
    }
    [
        quantity(
            "ram",
            Ram,
            Process,
            "resident memory of the process that runs the cells",
        ),
        quantity("ram.process", Ram, Process, "the same as `ram`"),
        quantity(
            "heap",
            Heap,
            Process,
            "bytes that the program holds from malloc",
        ),
        quantity(
            "children",
            Ram,
            Children,
            "resident memory of the processes that the cell started",
        ),
        quantity("ram.children", Ram, Children, "the same as `children`"),
        quantity(
            "system",
            Ram,
            System,
            "used memory of the container or machine",
        ),
        quantity("ram.system", Ram, System, "the same as `system`"),
        quantity(
            "vram",
            Vram,
            Process,
            "GPU memory of the process that runs the cells",
        ),
        quantity("vram.device", Vram, Device, "used memory of the whole GPU"),
        quantity(
            "vram.pool_used",
            Vram,
            PoolUsed,
            "bytes in use in CUDA's memory pool",
        ),
        quantity(
            "vram.pool_reserved",
            Vram,
            PoolReserved,
            "bytes that CUDA's memory pool holds",
        ),
    ]
};

/// A number of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Before,
    Peak,
    After,
    Kept,
    Temporary,
    Allocated,
    Allocations,
    Retained,
}

const FIELDS: [(&str, Field, &str); 8] = [
    ("before", Field::Before, "just before the code ran"),
    ("peak", Field::Peak, "highest value while it ran"),
    ("after", Field::After, "just after it ended"),
    ("kept", Field::Kept, "after minus before"),
    (
        "temporary",
        Field::Temporary,
        "peak minus the larger of before and after",
    ),
    (
        "allocated",
        Field::Allocated,
        "bytes handed out, freed ones included",
    ),
    (
        "allocations",
        Field::Allocations,
        "number of calls that allocated",
    ),
    (
        "retained",
        Field::Retained,
        "freed bytes that the allocator keeps",
    ),
];

impl Field {
    fn is_of_heap_only(self) -> bool {
        matches!(
            self,
            Field::Allocated | Field::Allocations | Field::Retained
        )
    }

    fn name(self) -> &'static str {
        FIELDS[self as usize].0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// The right side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Bytes(i128),
    /// Of the row's limit.
    Percent(f64),
    Count(i128),
}

/// Everything that can stand on the left of a comparison, such as `ram.peak`, with what it means.
pub fn quantities() -> impl Iterator<Item = (String, String)> {
    QUANTITIES.iter().flat_map(|quantity| {
        FIELDS
            .iter()
            .filter(|(_, field, _)| quantity.memory == Memory::Heap || !field.is_of_heap_only())
            .map(|(name, _, about)| {
                (
                    format!("{}.{name}", quantity.name),
                    format!("{}, {about}", quantity.about),
                )
            })
    })
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Budget {
    /// Reads comparisons joined by `and`. The left side is a memory and a field of it (see
    /// [`quantities`]), the operator one of `<`, `<=`, `>`, `>=`, `==`, `!=`, the right side an
    /// amount, a percentage of the row's limit, or for `allocations` a count.
    ///
    /// # Errors
    /// Where the text is none of this; the error says at which position and what was expected.
    pub fn parse(text: &str) -> Result<Budget, BudgetError> {
        parse::parse(text)
    }

    /// Whether `record` keeps within the budget. Where it names VRAM, each GPU must.
    pub fn check(&self, record: &Record) -> Verdict {
        let verdicts: Vec<Verdict> = self
            .clauses
            .iter()
            .flat_map(|clause| clause.check(record))
            .collect();
        let messages = |wanted: fn(&Verdict) -> Option<&String>, between: &str| -> Option<String> {
            let found: Vec<&str> = verdicts
                .iter()
                .filter_map(wanted)
                .map(String::as_str)
                .collect();
            (!found.is_empty()).then(|| found.join(between))
        };
        let failed = messages(
            |verdict| match verdict {
                Verdict::Fail(message) => Some(message),
                Verdict::Pass(_) | Verdict::Unknown(_) => None,
            },
            "; ",
        );
        let unknown = messages(
            |verdict| match verdict {
                Verdict::Unknown(message) => Some(message),
                Verdict::Pass(_) | Verdict::Fail(_) => None,
            },
            "; ",
        );
        let passed = messages(
            |verdict| match verdict {
                Verdict::Pass(message) => Some(message),
                Verdict::Fail(_) | Verdict::Unknown(_) => None,
            },
            "\n",
        );
        match (failed, unknown) {
            (Some(failed), Some(unknown)) => Verdict::Fail(format!("{failed}; {unknown}")),
            (Some(failed), None) => Verdict::Fail(failed),
            (None, Some(unknown)) => Verdict::Unknown(unknown),
            (None, None) => Verdict::Pass(passed.unwrap_or_default()),
        }
    }
}

impl Clause {
    /// One verdict for each row that the clause names.
    fn check(&self, record: &Record) -> Vec<Verdict> {
        let verdicts: Vec<Verdict> = record
            .rows_of(self.quantity.memory, self.quantity.scope)
            .map(|row| match self.check_row(record, row) {
                Ok((true, message)) => Verdict::Pass(message),
                Ok((false, message)) => Verdict::Fail(message),
                Err(reason) => Verdict::Unknown(format!("`{}` is not known: {reason}", self.text)),
            })
            .collect();
        if verdicts.is_empty() {
            return vec![Verdict::Unknown(format!(
                "`{}` is not known: this cell's record has no row for {}",
                self.text, self.quantity.about
            ))];
        }
        verdicts
    }

    /// Whether the row keeps the clause, with the numbers in words, or why that is not known.
    fn check_row(&self, record: &Record, row: &Row) -> Result<(bool, String), String> {
        let value = self.value(record, row)?;
        let (holds, bound) = match self.bound {
            Bound::Bytes(bound) => (self.operator.holds(&value, &bound), bound),
            Bound::Count(bound) => (self.operator.holds(&value, &bound), bound),
            Bound::Percent(percent) => {
                let limit = row.limit.filter(|limit| *limit > 0).ok_or_else(|| {
                    format!("{} has no known limit to take a percentage of", row.label())
                })?;
                let bound = limit as f64 * percent / 100.0;
                (self.operator.holds(&(value as f64), &bound), bound as i128)
            }
        };
        let missable = matches!(self.field, Field::Peak | Field::Temporary) && !row.exact;
        let upper = matches!(self.operator, Operator::Less | Operator::LessOrEqual);
        if holds && missable && upper && row.after.is_none() {
            return Err(format!(
                "{} of {} is {} at least, but the cell ended before its highest value could be read",
                self.field.name(),
                row.label(),
                self.show(value, bound)
            ));
        }
        let method = match (&row.peak_method, missable) {
            (Some(method), true) => format!(" ({method})"),
            _ => String::new(),
        };
        let says = if holds { "holds" } else { "is broken" };
        Ok((
            holds,
            format!(
                "`{}` {says}: {} {} is {}{}{method}",
                self.text,
                row.label(),
                self.field.name(),
                self.show(value, bound),
                self.show_percent(value, row),
            ),
        ))
    }

    fn value(&self, record: &Record, row: &Row) -> Result<i128, String> {
        let is_difference = matches!(self.field, Field::Kept | Field::Temporary);
        if is_difference && record.cell.restarted {
            return Err(
                "the process that runs the cells was restarted, so no difference was taken".into(),
            );
        }
        let value = match self.field {
            Field::Before => row.before.map(i128::from),
            Field::Peak => row.peak.map(i128::from),
            Field::After => row.after.map(i128::from),
            Field::Kept => row.kept().map(i128::from),
            Field::Temporary => row.temporary().map(i128::from),
            Field::Allocated => row.allocated.map(i128::from),
            Field::Allocations => row.allocations.map(i128::from),
            Field::Retained => row.retained.map(i128::from),
        };
        value.ok_or_else(|| match &row.unavailable {
            Some(reason) => reason.clone(),
            None => format!("{} of {} was not measured", self.field.name(), row.label()),
        })
    }

    /// The value in words, to the byte where units would make it look the same as the bound.
    fn show(&self, value: i128, bound: i128) -> String {
        if self.field == Field::Allocations {
            return units::format_count(value as u64);
        }
        let format = |bytes: i128| {
            let sign = if bytes < 0 { "-" } else { "" };
            format!("{sign}{}", units::format_bytes(bytes.unsigned_abs() as u64))
        };
        match format(value) {
            text if value != bound && text == format(bound) => format!("{text} ({value} bytes)"),
            text => text,
        }
    }

    fn show_percent(&self, value: i128, row: &Row) -> String {
        let percent = u64::try_from(value)
            .ok()
            .and_then(|value| units::percent(value, row.limit?));
        match (self.bound, percent) {
            (Bound::Percent(_), Some(percent)) => {
                format!(", {} of its limit", units::format_percent(percent))
            }
            _ => String::new(),
        }
    }
}

impl Operator {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::Greater => left > right,
            Operator::GreaterOrEqual => left >= right,
            Operator::Equal => left == right,
            Operator::NotEqual => left != right,
        }
    }
}

#[cfg(test)]
mod tests;
