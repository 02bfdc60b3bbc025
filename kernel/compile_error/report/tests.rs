use proptest::prelude::*;

use super::*;

fn label(role: Role, span: [usize; 4], text: &str) -> Label {
    let [start_line, start_column, end_line, end_column] = span;
    Label {
        span: Some(Span {
            start_line,
            start_column,
            end_line,
            end_column,
        }),
        text: text.to_owned(),
        role,
    }
}

fn child(level: &str, message: &str, replacement: Option<&str>) -> Child {
    Child {
        level: level.to_owned(),
        message: message.to_owned(),
        replacement: replacement.map(str::to_owned),
    }
}

fn error(message: &str, labels: Vec<Label>) -> Diagnostic {
    Diagnostic {
        level: "error".to_owned(),
        message: message.to_owned(),
        labels,
        ..Diagnostic::default()
    }
}

fn without_colors(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| piece.split_once('m').expect("an escape sequence").1);
    first + &rest.collect::<String>()
}

/// What the user sees, after a line end so that expectations can be written below one another.
fn seen(diagnostic: &Diagnostic, source: &str) -> String {
    format!(
        "\n{}",
        without_colors(&render(diagnostic, source, "In [3]"))
    )
}

#[test]
fn labels_are_under_their_code_also_behind_wide_characters_and_tabs() {
    let diagnostic = Diagnostic {
        code: Some("E0308".to_owned()),
        ..error(
            "mismatched types",
            vec![
                label(
                    Role::Primary,
                    [2, 19, 2, 22],
                    "expected `i32`, found `&str`",
                ),
                label(Role::Secondary, [2, 13, 2, 16], "expected due to this"),
            ],
        )
    };
    let source = "let a = 1;\n\tlet größe: i32 = \"🦀\";";
    assert_eq!(
        seen(&diagnostic, source),
        "
[E0308] Error: mismatched types
   ╭─[ In [3]:2:19 ]
   │
 2 │     let größe: i32 = \"🦀\";
   │                ─┬─   ─┬──
   │                 ╰────────── expected due to this
   │                       │
   │                       ╰──── expected `i32`, found `&str`
───╯"
    );
}

#[test]
fn a_span_of_several_lines_shows_both_its_ends() {
    let diagnostic = error(
        "wrong",
        vec![label(Role::Primary, [2, 8, 4, 2], "this block")],
    );
    assert_eq!(
        seen(&diagnostic, "a();\nfn f() {\n    b();\n}\n"),
        "
Error: wrong
   ╭─[ In [3]:2:8 ]
   │
 2 │ ╭─▶ fn f() {
   ┆ ┆
 4 │ ├─▶ }
   │ │
   │ ╰──────── this block
───╯"
    );
}

#[test]
fn an_empty_span_behind_the_line_is_shown_there() {
    let advice = label(Role::Advice, [1, 10, 1, 10], "help: add `;` here: `;`");
    let diagnostic = Diagnostic {
        children: vec![child("help", "add `;` here", Some(";"))],
        ..error(
            "expected `;`",
            vec![label(Role::Primary, [2, 1, 2, 4], ""), advice],
        )
    };
    assert_eq!(
        seen(&diagnostic, "let x = 5\nlet y = 6;"),
        "
Error: expected `;`
   ╭─[ In [3]:2:1 ]
   │
 1 │ let x = 5
   │          ┬
   │          ╰── help: add `;` here: `;`
 2 │ let y = 6;
   │ ─┬─
   │  ╰─── here
───╯"
    );
}

#[test]
fn notes_helps_and_the_hint_follow() {
    let diagnostic = Diagnostic {
        children: vec![
            child("note", "expected `u8`\n   found `i8`", None),
            child("help", "try", Some("x.into()")),
            child("help", "wrap it", Some("{\n    x\n}\n")),
        ],
        hint: Some("from the notebook".to_owned()),
        ..error("wrong", vec![label(Role::Primary, [1, 1, 1, 2], "it")])
    };
    let text = seen(&diagnostic, "x");
    let end = text.split_once("╰── it\n").expect("the label").1;
    assert_eq!(
        end,
        "   │
   │ Help 1: try: `x.into()`
   │
   │ Help 2: wrap it:
   │         {
   │             x
   │         }
   │
   │ Help 3: from the notebook
   │
   │ Note: expected `u8`
   │          found `i8`
───╯"
    );
}

#[test]
fn without_a_place_in_the_cell_the_compilers_own_text_is_shown() {
    let elsewhere = Label {
        span: None,
        ..label(Role::Primary, [1, 1, 1, 2], "in generated code")
    };
    let mut diagnostic = Diagnostic {
        code: Some("E0277".to_owned()),
        rendered: "error[E0277]: wrong\n --> src/lib.rs:9:1\n\n".to_owned(),
        hint: Some("do it so".to_owned()),
        ..error("wrong", vec![elsewhere])
    };
    assert_eq!(
        render(&diagnostic, "x", "In [3]"),
        "\x1b[31merror[E0277]: wrong\x1b[0m\n --> src/lib.rs:9:1\nhelp: do it so\x1b[0m"
    );
    diagnostic.rendered.clear();
    diagnostic.children = vec![child("note", "why", None)];
    assert_eq!(
        seen(&diagnostic, "x"),
        "\nerror[E0277]: wrong\nnote: why\n\nhelp: do it so"
    );
}

#[test]
fn colours_change_only_where_needed() {
    let diagnostic = error("wrong", vec![label(Role::Primary, [1, 5, 1, 8], "it")]);
    let text = render(&diagnostic, "let abc = 1;", "In [3]");
    assert!(
        text.contains("\x1b[0mlet \x1b[31mabc \x1b[0m= 1;\n"),
        "{text:?}"
    );
    assert!(
        text.starts_with("\x1b[31mError:\x1b[0m wrong\n"),
        "{text:?}"
    );
    assert!(text.ends_with("───╯\x1b[0m"), "{text:?}");
}

#[test]
fn code_cannot_forge_what_is_shown() {
    let source = "let a = \"\x1b[2J\u{202e}\u{2028}\";\r\nb";
    let diagnostic = error(
        "no \x1b[2J",
        vec![label(Role::Primary, [2, 1, 2, 2], "\x1b[2J")],
    );
    let text = render(&diagnostic, source, "In [3]");
    assert!(!text.contains("\x1b[2J"), "{text:?}");
    assert!(text.contains("In [3]:2:1"), "{text:?}");
    let diagnostic = error("no", vec![label(Role::Primary, [1, 5, 1, 6], "a")]);
    let text = seen(&diagnostic, source);
    assert!(
        text.contains("let a = \"\u{fffd}[2J\u{fffd}\u{fffd}\";\n"),
        "{text:?}"
    );
}

proptest! {
    #[test]
    fn any_span_in_any_code_can_be_shown(
        source in "(\\PC|[\\t\\r\\n\u{1b}\u{2028}é🦀]){0,60}",
        spans in prop::collection::vec((0..4_usize, prop::array::uniform4(0..70_usize)), 0..5),
        far in prop::option::of(Just(usize::MAX)),
    ) {
        let labels = spans.into_iter().enumerate().map(|(index, (role, mut span))| {
            span[index % 4] = far.unwrap_or(span[index % 4]);
            let role = [Role::Primary, Role::Secondary, Role::Advice, Role::Primary][role];
            label(role, span, if index % 2 == 0 { "text" } else { "" })
        });
        let text = render(&error("wrong", labels.collect()), &source, "In [1]");
        prop_assert!(text.ends_with(RESET) && !text.ends_with("\n\x1b[0m"));
        prop_assert!(without_colors(&text).lines().all(|line| line == line.trim_end()));
    }
}
