//! A cell's text, split into its magic lines and its Rust.
//!
//! Magic lines stand at the head of a cell, before any Rust; blank lines and `//` comments may
//! stand between them. They are overwritten with spaces and never removed, so that line numbers,
//! columns and cursor positions in what is left mean what they meant in the cell.
//!
//! ```
//! let cell = memtrack::cell::split("%memtrack --label load\nlet v = vec![0u8; 64];\n");
//! assert_eq!(cell.magics[0].text, "%memtrack --label load");
//! assert_eq!(cell.rust.trim(), "let v = vec![0u8; 64];");
//! ```

use sha2::{Digest, Sha256};

use crate::magic;

/// A cell, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The magic lines at its head, in order.
    pub magics: Vec<MagicLine>,
    /// Magic lines below the first line of code, which a cell must not have: it should not be run.
    pub misplaced: Vec<MagicLine>,
    /// The cell with one space in place of each character (Unicode scalar value) of its magic
    /// lines. Lines, their ends (`\n` or `\r\n`) and all offsets counted in characters are those of
    /// the source; offsets in bytes only where the magic lines are ASCII.
    pub rust: String,
}

/// One magic line of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MagicLine {
    /// The line from its `%` on, without its end; spaces after the last word are kept.
    pub text: String,
    /// Number of the line in the cell, from 0.
    pub line: usize,
    /// Where its `%` stands in the cell, in bytes.
    pub byte_offset: usize,
    /// Where its `%` stands in the cell, in characters (Unicode scalar values).
    pub char_offset: usize,
}

impl Cell {
    /// Whether anything is left to run when the magics are taken away: anything but blank lines
    /// and `//` comments. Commands such as `:dep` and `!ls` count as code.
    pub fn has_code(&self) -> bool {
        self.rust.lines().any(|line| !is_blank_or_comment(line))
    }

    /// The magic line in which a cursor stands, with the cursor's place in the line's text. The
    /// cursor is counted in characters from the start of the cell, the place from the `%`.
    pub fn magic_at(&self, cursor_chars: usize) -> Option<(&MagicLine, usize)> {
        self.magics.iter().find_map(|magic| {
            let place = cursor_chars.checked_sub(magic.char_offset)?;
            (place <= magic.text.chars().count()).then_some((magic, place))
        })
    }
}

/// Takes the magic lines out of `source`.
pub fn split(source: &str) -> Cell {
    let mut cell = Cell {
        magics: Vec::new(),
        misplaced: Vec::new(),
        rust: String::with_capacity(source.len()),
    };
    let mut lexer = Lexer::Code;
    let mut in_head = true;
    let (mut byte_offset, mut char_offset) = (0, 0);
    for (number, whole) in source.split_inclusive('\n').enumerate() {
        let line = without_end(whole);
        let indent = line.len() - line.trim_start().len();
        let magic = || MagicLine {
            text: line[indent..].into(),
            line: number,
            byte_offset: byte_offset + indent,
            char_offset: char_offset + line[..indent].chars().count(),
        };
        if in_head && is_magic(&line[indent..]) {
            cell.magics.push(magic());
            cell.rust.extend(line.chars().map(|_| ' '));
            cell.rust.push_str(&whole[line.len()..]);
        } else {
            in_head &= is_blank_or_comment(line);
            if lexer == Lexer::Code && !in_head && begins_with_known_magic(line) {
                cell.misplaced.push(magic());
            }
            lexer = lexer.after(whole);
            cell.rust.push_str(whole);
        }
        byte_offset += whole.len();
        char_offset += whole.chars().count();
    }
    cell
}

/// A hash of the cell's code, to find the same cell in another notebook: the first 16 hexadecimal
/// digits of the SHA-256 of its Rust without magic lines, with `\n` as line ends, and without
/// white space at its start and end.
pub fn code_hash(cell: &Cell) -> String {
    let is_magic = |number: usize| cell.magics.iter().any(|magic| magic.line == number);
    let code: Vec<&str> = cell
        .rust
        .lines()
        .enumerate()
        .filter(|(number, _)| !is_magic(*number))
        .map(|(_, line)| line)
        .collect();
    let digest = Sha256::digest(code.join("\n").trim());
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The line without its `\n` or `\r\n`.
fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Whether a line, its indentation left out, is a magic's. No Rust begins with `%`, so a `%` alone
/// is a magic that is still being typed.
fn is_magic(line: &str) -> bool {
    line.strip_prefix('%').is_some_and(|rest| {
        rest.chars()
            .next()
            .is_none_or(|next| next == '%' || next.is_alphabetic())
    })
}

fn is_blank_or_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with("//")
}

/// Below the first line of code a `%` may be Rust's remainder operator, so only the whole name of a
/// magic at the very start of a line is taken for one.
fn begins_with_known_magic(line: &str) -> bool {
    line.starts_with('%')
        && line
            .split_whitespace()
            .next()
            .is_some_and(|word| magic::names().any(|name| name == word))
}

/// Where in Rust's grammar a line starts, as far as it matters for telling a magic from the text
/// of a string or comment that spans lines. Unbalanced code gives a wrong answer at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lexer {
    Code,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

impl Lexer {
    /// The state after `line`.
    fn after(mut self, line: &str) -> Lexer {
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let (state, length) = match self {
                Lexer::Code if rest.starts_with("//") => return self,
                Lexer::Code => Self::code(rest),
                Lexer::BlockComment { depth } if rest.starts_with("/*") => {
                    (Lexer::BlockComment { depth: depth + 1 }, 2)
                }
                Lexer::BlockComment { depth: 1 } if rest.starts_with("*/") => (Lexer::Code, 2),
                Lexer::BlockComment { depth } if rest.starts_with("*/") => {
                    (Lexer::BlockComment { depth: depth - 1 }, 2)
                }
                Lexer::Text if first == '\\' => (self, 1 + char_length(&rest[1..])),
                Lexer::Text if first == '"' => (Lexer::Code, 1),
                Lexer::RawText { hashes }
                    if first == '"' && leading_hashes(&rest[1..]) >= hashes =>
                {
                    (Lexer::Code, 1 + hashes)
                }
                _ => (self, first.len_utf8()),
            };
            self = state;
            rest = &rest[length..];
        }
        self
    }

    /// The state after the first token of `rest`, which starts in code, and the token's length.
    fn code(rest: &str) -> (Lexer, usize) {
        let identifier: usize = rest
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .map(char::len_utf8)
            .sum();
        let after = &rest[identifier..];
        if matches!(&rest[..identifier], "r" | "br" | "cr") {
            let hashes = leading_hashes(after);
            if after[hashes..].starts_with('"') {
                return (Lexer::RawText { hashes }, identifier + hashes + 1);
            }
        }
        if identifier > 0 {
            return (Lexer::Code, identifier);
        }
        if rest.starts_with("/*") {
            return (Lexer::BlockComment { depth: 1 }, 2);
        }
        if rest.starts_with('"') {
            return (Lexer::Text, 1);
        }
        if let Some(character) = rest.strip_prefix('\'') {
            return (Lexer::Code, 1 + character_literal_rest(character));
        }
        (Lexer::Code, char_length(rest))
    }
}

/// The length of `x'` or `\x'` after a quote; 0 where the quote begins a lifetime.
fn character_literal_rest(after_quote: &str) -> usize {
    let escape = usize::from(after_quote.starts_with('\\'));
    let length = escape + char_length(&after_quote[escape..]);
    if after_quote[length..].starts_with('\'') {
        length + 1
    } else {
        0
    }
}

fn char_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

fn leading_hashes(text: &str) -> usize {
    text.bytes().take_while(|byte| *byte == b'#').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(magics: &[MagicLine]) -> Vec<(usize, &str)> {
        magics
            .iter()
            .map(|magic| (magic.line, magic.text.as_str()))
            .collect()
    }

    #[test]
    fn magics_stand_at_the_head() {
        let cell = split("\n// a remark\n  %memtrack --wide\n%%memtrack\n\nlet x = 1;\n");
        assert_eq!(
            lines(&cell.magics),
            [(2, "%memtrack --wide"), (3, "%%memtrack")]
        );
        assert_eq!(cell.magics[0].byte_offset, 15);
        assert_eq!(
            cell.rust,
            format!("\n// a remark\n{:18}\n{:10}\n\nlet x = 1;\n", "", "")
        );
        assert!(cell.has_code());
        assert!(cell.misplaced.is_empty());
    }

    #[test]
    fn each_character_becomes_one_space_and_line_ends_stay() {
        let cell = split("%memtrack --label \"größe 🦀\"\r\nx");
        assert_eq!(cell.rust, format!("{:27}\r\nx", ""));
        assert_eq!(cell.magics[0].text, "%memtrack --label \"größe 🦀\"");
    }

    #[test]
    fn a_cell_without_rust_has_no_code() {
        assert!(!split("%memtrack\n// nothing yet\n").has_code());
        assert!(!split("").has_code());
        assert!(split("%memtrack\n:dep rand").has_code());
        assert!(split("!ls").has_code());
    }

    #[test]
    fn a_magic_after_code_is_misplaced() {
        let cell = split("let x = 5;\n%memtrack --wide\n%lsmagic");
        assert_eq!(
            lines(&cell.misplaced),
            [(1, "%memtrack --wide"), (2, "%lsmagic")]
        );
        assert!(cell.magics.is_empty());
        assert_eq!(
            lines(&split(":dep rand\n%memtrack").misplaced),
            [(1, "%memtrack")]
        );
    }

    #[test]
    fn a_percent_sign_in_rust_is_no_magic() {
        let no_magic = [
            "let a = 7\n% memtrack;",
            "let a = 7\n%memtrack2;",
            "let a = 7\n  %memtrack\n;",
            "let s = \"\n%memtrack\n\";",
            "let s = r#\"a\"\n%memtrack\n\"#;",
            "let s = '\"'; let t = \"\\\"\n%memtrack\n\";",
            "/* /* */\n%memtrack\n*/",
        ];
        for source in no_magic {
            let cell = split(source);
            assert_eq!(cell.misplaced, [], "{source}");
            assert_eq!(cell.rust, source);
        }
    }

    #[test]
    fn the_end_of_a_string_or_comment_is_seen() {
        let misplaced = [
            "let s = \"a\nb\";\n%memtrack",
            "let s = r#\"\"#;\n%memtrack",
            "let c = '\\''; let l: &'static str = \"\";\n%memtrack",
            "/* a\n*/ let b = br\"\\\"; // \"\n%memtrack",
        ];
        for source in misplaced {
            assert_eq!(split(source).misplaced.len(), 1, "{source}");
        }
    }

    #[test]
    fn the_hash_is_of_the_code_alone() {
        let hash = |source| code_hash(&split(source));
        assert_eq!(hash("let x = 1;").len(), 16);
        assert_eq!(
            hash("let x = 1;"),
            hash("%memtrack --label a\n\nlet x = 1;\n \n")
        );
        assert_eq!(hash("let x = 1;\nx"), hash("%memtrack\r\nlet x = 1;\r\nx"));
        assert_ne!(hash("let x = 1;"), hash("let x = 2;"));
    }

    #[test]
    fn a_cursor_is_found_in_its_magic() {
        let cell = split("// é\n %memtrack on\nlet x = 1;");
        assert_eq!(cell.magic_at(6).map(|(_, place)| place), Some(0));
        assert_eq!(cell.magic_at(18).map(|(_, place)| place), Some(12));
        assert_eq!(cell.magic_at(3), None);
        assert_eq!(cell.magic_at(20), None);
    }
}
