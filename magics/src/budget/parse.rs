//! Text to [`Budget`].

use super::{Bound, Budget, Clause, FIELDS, Field, Operator, QUANTITIES, Quantity};
use crate::magic::nearest;
use crate::record::Memory;
use crate::units;

const EXAMPLE: &str = "ram.peak < 2GiB and heap.kept == 0";

/// Why a text is not a budget.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{expression}`: at character {}, {problem}\nexample: {EXAMPLE}",
    position + 1
)]
pub struct BudgetError {
    /// The whole text.
    pub expression: String,
    /// Where the trouble starts, in characters from 0.
    pub position: usize,
    /// What was expected there and what was found.
    pub problem: String,
}

/// A piece of the text and where it starts, in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    position: usize,
    text: String,
}

pub(super) fn parse(text: &str) -> Result<Budget, BudgetError> {
    let mut parser = Parser {
        expression: text.trim().into(),
        tokens: tokens(text.trim()),
        next: 0,
    };
    let mut clauses = vec![parser.clause()?];
    while let Some(token) = parser.take() {
        if token.text != "and" {
            return Err(parser.error(&token, "expected `and` or the end"));
        }
        clauses.push(parser.clause()?);
    }
    Ok(Budget {
        text: parser.expression,
        clauses,
    })
}

/// Splits into runs of operator signs and runs of everything else that is not white space.
fn tokens(text: &str) -> Vec<Token> {
    #[derive(PartialEq)]
    enum Kind {
        Space,
        Operator,
        Word,
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut last = Kind::Space;
    for (position, c) in text.chars().enumerate() {
        let kind = match c {
            c if c.is_whitespace() => Kind::Space,
            '<' | '>' | '=' | '!' => Kind::Operator,
            _ => Kind::Word,
        };
        match tokens.last_mut() {
            _ if kind == Kind::Space => {}
            Some(token) if kind == last => token.text.push(c),
            _ => tokens.push(Token {
                position,
                text: c.into(),
            }),
        }
        last = kind;
    }
    tokens
}

struct Parser {
    expression: String,
    tokens: Vec<Token>,
    next: usize,
}

impl Parser {
    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    fn expect(&mut self, what: &str) -> Result<Token, BudgetError> {
        self.take().ok_or_else(|| BudgetError {
            expression: self.expression.clone(),
            position: self.expression.chars().count(),
            problem: format!("expected {what}, found the end"),
        })
    }

    fn error(&self, token: &Token, problem: &str) -> BudgetError {
        BudgetError {
            expression: self.expression.clone(),
            position: token.position,
            problem: format!("{problem}, found `{}`", token.text),
        }
    }

    fn clause(&mut self) -> Result<Clause, BudgetError> {
        let left = self.expect("a quantity such as `ram.peak`")?;
        let (quantity, field) = self.quantity(&left)?;
        let sign = self.expect("one of < <= > >= == !=")?;
        let operator = self.operator(&sign)?;
        let amount = self.expect("an amount such as `2GiB` or `80%`")?;
        let mut right = amount.text.clone();
        let unit = self.tokens.get(self.next);
        if let Some(unit) = unit.filter(|unit| looks_like_unit(&unit.text)) {
            right.push_str(&unit.text);
            self.next += 1;
        }
        let bound = bound(field, &right).map_err(|problem| BudgetError {
            expression: self.expression.clone(),
            position: amount.position,
            problem,
        })?;
        Ok(Clause {
            quantity,
            field,
            operator,
            bound,
            text: format!("{} {} {right}", left.text, sign.text),
        })
    }

    fn quantity(&self, token: &Token) -> Result<(&'static Quantity, Field), BudgetError> {
        let found = token.text.rsplit_once('.').and_then(|(quantity, field)| {
            Some((
                QUANTITIES.iter().find(|known| known.name == quantity)?,
                FIELDS.iter().find(|(name, _, _)| *name == field)?.1,
            ))
        });
        match found {
            Some((quantity, field))
                if field.is_of_heap_only() && quantity.memory != Memory::Heap =>
            {
                let problem = format!("only the heap has `{0}`: write `heap.{0}`", field.name());
                Err(self.error(token, &problem))
            }
            Some(found) => Ok(found),
            None => {
                let names: Vec<String> = super::quantities().map(|(name, _)| name).collect();
                let hint = match nearest(&token.text, names.iter().map(String::as_str)) {
                    Some(name) => format!(" (did you mean `{name}`?)"),
                    None => " such as `ram.peak`, `heap.kept`, `vram.after`".into(),
                };
                Err(self.error(token, &format!("expected a quantity{hint}")))
            }
        }
    }

    fn operator(&self, token: &Token) -> Result<Operator, BudgetError> {
        Ok(match token.text.as_str() {
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            "==" => Operator::Equal,
            "!=" => Operator::NotEqual,
            _ => return Err(self.error(token, "expected one of < <= > >= == !=")),
        })
    }
}

/// Whether a word that stands apart after a number belongs to it, as in `2 GiB` and `80 %`.
fn looks_like_unit(word: &str) -> bool {
    word.chars().count() == 1 || word.ends_with(['b', 'B'])
}

/// Reads the right side of a comparison with `field`, or says what is wrong with it.
fn bound(field: Field, text: &str) -> Result<Bound, String> {
    if field == Field::Allocations {
        return match text.replace('_', "").parse::<u64>() {
            Ok(count) => Ok(Bound::Count(count.into())),
            Err(_) => Err(format!(
                "expected a whole number, because `allocations` is a count, found `{text}`"
            )),
        };
    }
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.parse::<f64>() {
            Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(Bound::Percent(percent)),
            _ => Err(format!(
                "expected a percentage such as `80%`, found `{text}`"
            )),
        };
    }
    let (sign, amount) = match text.strip_prefix('-') {
        Some(amount) if field == Field::Kept => (-1, amount),
        Some(_) => return Err(format!("only `kept` can be below zero, found `{text}`")),
        None => (1, text),
    };
    units::parse_bytes(amount)
        .map(|bytes| Bound::Bytes(sign * i128::from(bytes)))
        .map_err(|error| error.to_string())
}
