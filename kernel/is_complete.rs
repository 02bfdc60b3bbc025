//! What can be said about a cell's code without compiling it: whether more lines should follow,
//! whether it ends in a value, whether it brings its own allocator.
//!
//! The code is parsed by rust-analyzer's parser as the body of a function, which is also how evcxr
//! takes a cell apart, so both agree on where a statement ends.

use ra_ap_parser::LexedStr;
use ra_ap_syntax::{AstNode, Edition, Parse, SourceFile, SyntaxKind, T, ast};

/// The answer to Jupyter's `is_complete_request`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Ready to be executed.
    Complete,
    /// More lines are needed.
    Incomplete {
        /// White space with which the next line should begin.
        indent: String,
    },
    /// No further lines can make it right.
    Invalid,
    /// It cannot be told: the code is nested more deeply than the parser can bear.
    Unknown,
}

/// The parser recurses, and so does the thread in which its crate frees syntax trees. Measured: at
/// this bound either needs at most a quarter of a stack of 2 MiB, without optimization two thirds.
const DEEPEST_NESTING: usize = 300;

const PRELUDE: &str = "fn f(){";

/// Tells whether `code` can be executed, or needs more lines, or is beyond help.
///
/// Magic lines, evcxr's commands and shell lines at the head are complete by themselves.
pub fn check(code: &str) -> Completeness {
    let text = as_function(code);
    let tokens = Tokens::of(&text);
    let open = match tokens.innermost_bracket() {
        Brackets::Balanced => None,
        Brackets::Open(offset) => Some(offset),
        Brackets::Mismatched => return Completeness::Invalid,
    };
    // White space would become part of the string.
    if tokens.ends_in_open_text {
        return incomplete("", false);
    }
    if let Some(offset) = open {
        return incomplete(indent_of_line(&text, offset), true);
    }
    let Some(last) = tokens.codes.last() else {
        return match tokens.ends_in_documentation {
            true => incomplete("", false),
            false => Completeness::Complete,
        };
    };
    if tokens.are_too_nested() {
        return Completeness::Unknown;
    }
    let errors = parse(&text).errors();
    // What is wrong after the last token is that something is missing there.
    let is_before_end = |offset| usize::from(offset) < last.offset + last.text.len();
    if errors
        .iter()
        .any(|error| is_before_end(error.range().start()))
    {
        return Completeness::Invalid;
    }
    if errors.is_empty() && !tokens.ends_in_documentation {
        return Completeness::Complete;
    }
    let goes_on = last.kind == T![as]
        || last.kind.is_punct() && last.kind != T![;] && opening(last.kind).is_none();
    incomplete(indent_of_line(&text, last.offset), goes_on)
}

/// Whether the cell has a value: its last statement is an expression without a semicolon. A macro
/// call counts, as only the compiler knows what it expands to.
pub fn ends_with_expression(code: &str) -> bool {
    let text = as_function(code);
    let tokens = Tokens::of(&text);
    if tokens.are_too_nested() {
        return tokens.codes.last().is_some_and(|last| last.kind != T![;]);
    }
    let tree = parse(&text).syntax_node();
    tree.children()
        .find_map(ast::Fn::cast)
        .and_then(|function| function.body()?.stmt_list()?.tail_expr())
        .is_some()
}

/// Whether brackets are nested so deeply that rust-analyzer's parser, which evcxr asks about each
/// cell, would overflow its stack and end the kernel. It did so at 3000 levels and not at 2000.
pub fn is_too_deep(code: &str) -> bool {
    const DEEPEST: usize = 1000;
    // Spares nearly all cells the work.
    if code.bytes().filter(|byte| b"([{".contains(byte)).count() <= DEEPEST {
        return false;
    }
    let mut depth = 0_usize;
    Tokens::of(&as_function(code)).codes.iter().any(|token| {
        match token.kind {
            T!['('] | T!['['] | T!['{'] => depth += 1,
            T![')'] | T![']'] | T!['}'] => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > DEEPEST
    })
}

/// Whether an attribute `#[global_allocator]` stands anywhere in the code, also inside a macro
/// call or a `cfg_attr`.
pub fn defines_global_allocator(code: &str) -> bool {
    // Spares nearly all cells the work.
    if !code.contains("global_allocator") {
        return false;
    }
    let text = as_function(code);
    let mut depth_in_attribute = 0_usize;
    let mut before = T![;];
    for token in Tokens::of(&text).codes {
        match token.kind {
            T!['['] if depth_in_attribute > 0 || before == T![#] => depth_in_attribute += 1,
            T![']'] => depth_in_attribute = depth_in_attribute.saturating_sub(1),
            _ if depth_in_attribute > 0 && token.text == "global_allocator" => return true,
            _ => {}
        }
        before = token.kind;
    }
    false
}

fn incomplete(indent: &str, goes_deeper: bool) -> Completeness {
    let step = match goes_deeper {
        true if indent.contains('\t') => "\t",
        true => "    ",
        false => "",
    };
    Completeness::Incomplete {
        indent: format!("{indent}{step}"),
    }
}

/// The white space with which the line at `offset` begins.
fn indent_of_line(text: &str, offset: usize) -> &str {
    let start = text[..offset]
        .rfind('\n')
        .map_or(PRELUDE.len(), |newline| newline + 1);
    let line = &text[start..offset];
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

/// The code as the body of a function. The lines before its Rust are blanked: magics (`%`),
/// commands of evcxr (`:`) and shell lines (`!`).
fn as_function(code: &str) -> String {
    let mut text = String::with_capacity(PRELUDE.len() + code.len() + 2);
    text.push_str(PRELUDE);
    let mut in_head = true;
    for line in code.split_inclusive('\n') {
        let start = line.trim_start();
        let is_remark = start.is_empty() || start.starts_with("//");
        let is_command = start.starts_with(['%', ':', '!']);
        in_head &= is_remark || is_command;
        text.push_str(if in_head && is_command { "\n" } else { line });
    }
    text.push_str("\n}");
    text
}

fn parse(text: &str) -> Parse<SourceFile> {
    SourceFile::parse(text, Edition::Edition2024)
}

struct Token<'a> {
    kind: SyntaxKind,
    text: &'a str,
    offset: usize,
}

/// The tokens of the code, without those that were put around it.
struct Tokens<'a> {
    /// All but white space and comments.
    codes: Vec<Token<'a>>,
    /// A string or block comment is not closed.
    ends_in_open_text: bool,
    /// The last token is a documentation comment, after which rustc wants an item.
    ends_in_documentation: bool,
}

enum Brackets {
    Balanced,
    /// The offset of the innermost bracket that is not closed.
    Open(usize),
    /// One is closed that was not opened, or by a bracket of another kind.
    Mismatched,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Tokens<'a> {
        let lexed = LexedStr::new(Edition::Edition2024, text);
        let end = text.len() - "\n}".len();
        let mut tokens = Tokens {
            codes: Vec::new(),
            ends_in_open_text: false,
            ends_in_documentation: false,
        };
        for index in 0..lexed.len() {
            let (kind, range) = (lexed.kind(index), lexed.text_range(index));
            if range.start < PRELUDE.len() || range.start >= end || kind == SyntaxKind::WHITESPACE {
                continue;
            }
            // It has swallowed what was put behind the code.
            tokens.ends_in_open_text |= range.end > end;
            let text = &text[range.clone()];
            tokens.ends_in_documentation =
                kind == SyntaxKind::COMMENT && documents_the_next_item(text);
            if kind != SyntaxKind::COMMENT {
                tokens.codes.push(Token {
                    kind,
                    text,
                    offset: range.start,
                });
            }
        }
        tokens
    }

    fn innermost_bracket(&self) -> Brackets {
        let mut open: Vec<&Token> = Vec::new();
        for token in &self.codes {
            if matches!(token.kind, T!['('] | T!['['] | T!['{']) {
                open.push(token);
            } else if let Some(kind) = opening(token.kind)
                && open.pop().is_none_or(|bracket| bracket.kind != kind)
            {
                return Brackets::Mismatched;
            }
        }
        match open.last() {
            None => Brackets::Balanced,
            Some(token) => Brackets::Open(token.offset),
        }
    }

    /// Whether the syntax tree may be deeper than [`DEEPEST_NESTING`], told from the tokens.
    ///
    /// Every token can open a level (`-` in `---1`, `=` in `a = b = c`), so those count that stand
    /// before this one in its statement or list item, and in all that it is nested in.
    fn are_too_nested(&self) -> bool {
        /// Counts inside one pair of brackets.
        #[derive(Default, Clone, Copy)]
        struct Level {
            /// Tokens since the last `;` or `,`.
            tokens: usize,
            /// Of these and those before, since the last `;`: what can hold commas without being a
            /// bracket, as in `A<B, C<D, E>>` and `|a, b| |c, d| a`.
            comma_holders: usize,
        }
        let mut level = Level::default();
        let mut outer: Vec<Level> = Vec::new();
        let mut depth = 0;
        for (index, token) in self.codes.iter().enumerate() {
            match token.kind {
                T!['('] | T!['['] | T!['{'] => {
                    depth += level.tokens + 1;
                    outer.push(std::mem::take(&mut level));
                }
                T![')'] | T![']'] | T!['}'] => {
                    level = outer.pop().unwrap_or_default();
                    depth = depth.saturating_sub(level.tokens + 1);
                    level.tokens += 1;
                    let next = self.codes.get(index + 1).map(|next| next.kind);
                    let statement_goes_on =
                        next.is_some_and(|it| it == T![else] || it.is_punct() && it != T![#]);
                    if token.kind == T!['}'] && !statement_goes_on {
                        level = Level::default();
                    }
                }
                T![;] => level = Level::default(),
                T![,] => level.tokens = level.comma_holders,
                kind => {
                    level.tokens += 1;
                    level.comma_holders += usize::from(matches!(kind, T![<] | T![|] | T![for]));
                }
            }
            if depth + level.tokens > DEEPEST_NESTING {
                return true;
            }
        }
        false
    }
}

/// `/// like this` or `/** like this */`.
fn documents_the_next_item(comment: &str) -> bool {
    let of_line = comment.starts_with("///") && !comment.starts_with("////");
    let of_block = comment.starts_with("/**") && !comment.starts_with("/***") && comment != "/**/";
    of_line || of_block
}

/// The kind of bracket that this kind closes.
fn opening(closing: SyntaxKind) -> Option<SyntaxKind> {
    match closing {
        T![')'] => Some(T!['(']),
        T![']'] => Some(T!['[']),
        T!['}'] => Some(T!['{']),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
