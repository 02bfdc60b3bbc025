//! Leaves out of a source file what says nothing about types.

use std::cmp::Reverse;

use ra_ap_syntax::ast::{self, HasAttrs, HasModuleItem};
use ra_ap_syntax::{
    AstNode, Edition, NodeOrToken, SourceFile, SyntaxElement, SyntaxKind, TextRange,
};

/// What stands for a body. Of a type that fits every function.
const BODY: &str = "{loop{}}";

/// How long a short body is, in bytes.
const SHORT: usize = 200;

/// Attributes that rust-analyzer has no use for, or only for documentation.
const IDLE: [&str; 20] = [
    "allow",
    "cold",
    "deny",
    "deprecated",
    "diagnostic::on_unimplemented",
    "inline",
    "must_use",
    "rustc_allow_const_fn_unstable",
    "rustc_as_ptr",
    "rustc_confusables",
    "rustc_const_stable",
    "rustc_const_unstable",
    "rustc_diagnostic_item",
    "rustc_inherit_overflow_checks",
    "rustc_never_returns_null_ptr",
    "rustc_no_implicit_autorefs",
    "rustc_on_unimplemented",
    "stable",
    "track_caller",
    "warn",
];

/// Types that std's own come from: in place of the crate hashbrown, which is none of std's. They are
/// only held in private fields, but without them rust-analyzer cannot say that a map has a size.
const HASH_MAP: (&str, &str) = (
    "use hashbrown::hash_map as base;",
    "mod base { use crate::alloc::Global; use crate::marker::PhantomData as P;
pub struct HashMap<K, V, S, A = Global>(P<(K, V, S, A)>);
pub struct Iter<'a, K, V>(P<(&'a K, &'a V)>);
pub struct IterMut<'a, K, V>(P<(&'a K, &'a mut V)>);
pub struct IntoIter<K, V, A = Global>(P<(K, V, A)>);
pub struct Drain<'a, K, V, A = Global>(P<(&'a K, V, A)>);
pub struct ExtractIf<'a, K, V, F, A = Global>(P<(&'a K, V, F, A)>);
pub struct RustcOccupiedEntry<'a, K, V, A = Global>(P<(&'a mut (K, V), A)>);
pub struct RustcVacantEntry<'a, K, V, A = Global>(P<(&'a mut (K, V), A)>);
pub struct RustcEntry<'a, K, V, A = Global>(P<(&'a mut (K, V), A)>);
}
",
);
const HASH_SET: (&str, &str) = (
    "use hashbrown::hash_set as base;",
    "mod base { use crate::alloc::Global; use crate::marker::PhantomData as P;
pub struct HashSet<T, S, A = Global>(P<(T, S, A)>);
pub struct Iter<'a, T>(P<&'a T>);
pub struct IntoIter<T, A = Global>(P<(T, A)>);
pub struct Drain<'a, T, A = Global>(P<(&'a T, A)>);
pub struct ExtractIf<'a, T, F, A = Global>(P<(&'a T, F, A)>);
pub struct Entry<'a, T, S, A = Global>(P<(&'a mut T, S, A)>);
pub struct OccupiedEntry<'a, T, S, A = Global>(P<(&'a mut T, S, A)>);
pub struct VacantEntry<'a, T, S, A = Global>(P<(&'a mut T, S, A)>);
}
",
);

/// A source file without bodies, documentation, tests and the attributes of [`IDLE`].
pub fn shorten(text: &str) -> String {
    let file = SourceFile::parse(text, Edition::Edition2024);
    let mut cuts: Vec<(TextRange, &str)> = Vec::new();
    for element in file.syntax_node().descendants_with_tokens() {
        match element {
            NodeOrToken::Token(token) if token.kind() == SyntaxKind::COMMENT => {
                cuts.push((token.text_range(), " "));
            }
            NodeOrToken::Token(_) => {}
            NodeOrToken::Node(node) => {
                if let Some(function) = ast::Fn::cast(node.clone()) {
                    cuts.extend(body_of(&function).map(|range| (range, BODY)));
                } else if let Some(attribute) = ast::Attr::cast(node.clone()) {
                    let text = attribute.syntax().text().to_string();
                    if let Some(inside) = text.strip_prefix("#[")
                        && is_idle(inside)
                    {
                        cuts.push((attribute.syntax().text_range(), ""));
                    }
                } else if let Some(tree) = ast::TokenTree::cast(node) {
                    cut_in_macro(&tree, &mut cuts);
                }
            }
        }
    }
    let is_test = |item: &ast::Item| {
        let mut attributes = item.attrs();
        attributes.any(|attribute| attribute.syntax().text() == "#[cfg(test)]")
    };
    let tests = file.tree().items().filter(is_test);
    cuts.extend(tests.map(|item| (item.syntax().text_range(), "")));
    let mut shortened = apply(text, cuts);
    for (from, to) in [HASH_MAP, HASH_SET] {
        shortened = shortened.replace(from, to);
    }
    shortened
}

/// The body of a function, if it says nothing about types. What `impl Trait` stands for follows from
/// it, and the length of arrays from short ones that are constant, such as that of `size_of`.
fn body_of(function: &ast::Fn) -> Option<TextRange> {
    let hides = function.ret_type().is_some_and(|ty| {
        let mut nodes = ty.syntax().descendants();
        nodes.any(|node| node.kind() == SyntaxKind::IMPL_TRAIT_TYPE)
    });
    let body = function.body()?.syntax().text_range();
    let counts = function.const_token().is_some() && usize::from(body.len()) <= SHORT;
    (!hides && !counts).then_some(body)
}

/// A macro's rules are tokens, not items: functions and attributes are found by their shape.
fn cut_in_macro(tree: &ast::TokenTree, cuts: &mut Vec<(TextRange, &'static str)>) {
    let elements: Vec<SyntaxElement> = tree
        .syntax()
        .children_with_tokens()
        .filter(|it| !matches!(it.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT))
        .collect();
    let opens = |element: &SyntaxElement, bracket| {
        let node = element.as_node();
        node.and_then(|node| node.first_token())
            .is_some_and(|token| token.kind() == bracket)
    };
    for (at, element) in elements.iter().enumerate() {
        let rest = &elements[at + 1..];
        let names = rest
            .first()
            .is_some_and(|it| matches!(it.kind(), SyntaxKind::IDENT | SyntaxKind::DOLLAR));
        if element.kind() == SyntaxKind::FN_KW && names {
            let mut hides = false;
            let end = rest.iter().position(|it| {
                hides |= it.kind() == SyntaxKind::IMPL_KW;
                it.kind() == SyntaxKind::SEMICOLON || opens(it, SyntaxKind::L_CURLY)
            });
            let has_parameters =
                |end: usize| rest[..end].iter().any(|it| opens(it, SyntaxKind::L_PAREN));
            if let Some(end) = end
                && !hides
                && has_parameters(end)
                && rest[end].kind() != SyntaxKind::SEMICOLON
            {
                cuts.push((rest[end].text_range(), BODY));
            }
        } else if element.kind() == SyntaxKind::POUND
            && let Some(node) = rest.first().filter(|it| opens(it, SyntaxKind::L_BRACK))
            && is_idle(node.to_string().trim_start_matches('['))
            && is_of_item(&elements, at)
        {
            let range = TextRange::new(element.text_range().start(), node.text_range().end());
            cuts.push((range, ""));
        }
    }
}

/// Whether the attribute that begins at `at` stands before an item, and not for what a macro takes as
/// an argument.
fn is_of_item(elements: &[SyntaxElement], at: usize) -> bool {
    let is_attribute = |at: usize| {
        elements[at].kind() == SyntaxKind::POUND
            && elements
                .get(at + 1)
                .is_some_and(|it| it.as_node().is_some())
    };
    let mut first = at;
    while first >= 2 && is_attribute(first - 2) {
        first -= 2;
    }
    let begins = match first.checked_sub(1).map(|before| &elements[before]) {
        None => true,
        Some(before) => {
            let ends = before.as_node().and_then(|node| node.last_token());
            before.kind() == SyntaxKind::SEMICOLON
                || matches!(before.kind(), SyntaxKind::L_CURLY)
                || ends.is_some_and(|token| token.kind() == SyntaxKind::R_CURLY)
        }
    };
    let mut last = at;
    while last < elements.len() && is_attribute(last) {
        last += 2;
    }
    let is_item = elements.get(last).is_some_and(|it| {
        matches!(
            it.kind(),
            SyntaxKind::PUB_KW
                | SyntaxKind::CONST_KW
                | SyntaxKind::UNSAFE_KW
                | SyntaxKind::FN_KW
                | SyntaxKind::IMPL_KW
                | SyntaxKind::STRUCT_KW
                | SyntaxKind::TYPE_KW
        )
    });
    begins && is_item
}

/// Whether an attribute, from behind its bracket on, can go.
fn is_idle(attribute: &str) -> bool {
    let end = attribute.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let name = attribute[..end.unwrap_or(attribute.len())].trim();
    IDLE.contains(&name) || name == "doc" && !attribute.contains("hidden")
}

fn apply(text: &str, mut cuts: Vec<(TextRange, &str)>) -> String {
    cuts.sort_by_key(|(range, _)| (range.start(), Reverse(range.end())));
    let mut out = String::new();
    let mut at = 0;
    for (range, instead) in cuts {
        let (start, end) = (usize::from(range.start()), usize::from(range.end()));
        // Within what is cut already.
        if start >= at {
            out += &text[at..start];
            out += instead;
            at = end;
        }
    }
    out += &text[at..];
    let lines = out.lines().filter(|line| !line.trim().is_empty());
    lines.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With white space made one space, for short expectations.
    fn shortened(text: &str) -> String {
        let out = shorten(text);
        let parsed = SourceFile::parse(&out, Edition::Edition2024);
        assert_eq!(parsed.errors(), [], "{out}");
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn bodies_documentation_and_tests_go_and_types_stay() {
        let text = "//! Documentation.\n/// More.\n#[inline]\n#[stable(feature = \"a\")]\n\
                    #[lang = \"x\"]\npub fn f<T: Copy>(t: T) -> Vec<T> where T: Sized { vec![t] }\n\
                    pub const N: usize = 3; // why\n#[cfg(test)]\nmod tests { fn t() {} }\n\
                    trait A { fn a(&self) { }\n fn b(); }\n#[cfg(unix)] #[doc(hidden)] struct S;";
        assert_eq!(
            shortened(text),
            "#[lang = \"x\"] pub fn f<T: Copy>(t: T) -> Vec<T> where T: Sized {loop{}} pub const N: \
             usize = 3; trait A { fn a(&self) {loop{}} fn b(); } #[cfg(unix)] #[doc(hidden)] struct S;"
        );
    }

    #[test]
    fn bodies_that_tell_a_type_stay() {
        let text = "fn f() -> impl Iterator<Item = u8> { [1].into_iter() }";
        assert_eq!(shortened(text), text);
    }

    #[test]
    fn macros_keep_their_rules() {
        let text = "macro_rules! m { ($T:ty, $name:ident) => { #[doc = \"d\"] #[must_use] \
                    pub const fn $name(self, f: fn(u8)) -> $T { match self { _ => 1 } } \
                    fn g(); type X = fn($T) -> u8; const C: $T = { 1 }; }; }";
        assert_eq!(
            shortened(text),
            "macro_rules! m { ($T:ty, $name:ident) => { pub const fn $name(self, f: fn(u8)) -> $T \
             {loop{}} fn g(); type X = fn($T) -> u8; const C: $T = { 1 }; }; }"
        );
    }

    #[test]
    fn attributes_that_macros_take_stay() {
        for text in [
            "maybe_doc! { $T @ #[stable(feature = \"a\")] impl A for ($T,) { } }",
            "impl_fmt! { #[stable(feature = \"a\")] Debug #[stable(feature = \"b\")] Display }",
        ] {
            assert_eq!(shortened(text), text);
        }
    }

    #[test]
    fn maps_need_no_other_crate() {
        let out =
            shortened("use hashbrown::hash_map as base; struct M(base::Iter<'static, u8, u8>);");
        assert!(
            out.contains("mod base {") && !out.contains("hashbrown"),
            "{out}"
        );
    }
}
