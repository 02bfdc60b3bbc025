use proptest::prelude::*;

use super::*;

fn incomplete(indent: &str) -> Completeness {
    Completeness::Incomplete {
        indent: indent.to_owned(),
    }
}

const DEEP: [&str; 14] = [
    "(", "-", "|", "[", "{", "&", "a=", "if a{", "a.", "!(", "f(|x|", "A::<B,", "|a,b|", "a+",
];

/// With a stack as small as that of an async runtime's thread.
fn in_small_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(work);
    thread.expect("a thread").join().expect("no panic")
}

#[track_caller]
fn all(expected: &Completeness, codes: &[&str]) {
    for code in codes {
        assert_eq!(check(code), *expected, "{code:?}");
    }
}

#[test]
fn whole_cells_are_complete() {
    all(
        &Completeness::Complete,
        &[
            "",
            "\n\n",
            "// a remark",
            "1 + 1",
            "let x = 5;",
            "fn f() -> i32 {\n    5\n}",
            "if a {\n} else {\n}",
            "v.iter()\n    .map(|x| x + 1)\n    .sum::<i32>()",
            "println!(\"a ) b\")",
            "#[derive(Debug)]\nstruct Point(f64, f64);",
            "#![allow(unused)]\nlet a = 'a'; // {",
            "let text = r#\"a \" b\"#; /* ( /* [ */ */",
            "fn f<'a>(x: &'a str) -> &'a str { x }",
            "let größe = \"🦀\";",
            "'outer: loop { break 'outer; }",
            "//// no documentation",
            "/**/",
        ],
    );
}

#[test]
fn magics_commands_and_shell_lines_are_complete_by_themselves() {
    all(
        &Completeness::Complete,
        &[
            "%memtrack",
            "%memtrack --label \"(\"",
            "  %%memtrack",
            ":dep rand = { version = \"0.9\" ",
            "!echo '(",
            ":vars\n// now\n%memtrack\n\nlet x = 1;\n",
        ],
    );
    all(&incomplete("    "), &["%memtrack\nlet x ="]);
    // A percent sign below the first line of code is an operator.
    all(&Completeness::Complete, &["7\n% 2"]);
    all(&Completeness::Invalid, &["%memtrack\nlet x = 1; )"]);
}

#[test]
fn an_open_bracket_sets_the_next_line_in() {
    all(
        &incomplete("    "),
        &["fn f() {", "foo(1,", "vec![1 // ]", "loop {\n    a();"],
    );
    all(
        &incomplete("        "),
        &["fn f() {\n    if a {", "f({\n    g(1,\n        2"],
    );
    all(&incomplete("\t\t"), &["fn f() {\n\tloop {\n"]);
    all(&incomplete("    "), &["%memtrack\nfn f() {"]);
}

#[test]
fn an_open_string_or_comment_wants_more_and_no_indent() {
    all(
        &incomplete(""),
        &[
            "let s = \"abc",
            "    let s = \"abc\\",
            "let s = r#\"abc\"",
            "let s = br\"abc",
            "/* a",
            "f(); /* /* */",
            "f(\"",
        ],
    );
}

#[test]
fn what_lacks_its_end_is_incomplete() {
    all(
        &incomplete("    "),
        &[
            "1 +",
            "let x =",
            "v.iter().",
            "a ||",
            "1 + // and",
            "foo::<",
            "x as",
            "x = 1 -\n\n",
            "foo!",
        ],
    );
    all(
        &incomplete(""),
        &[
            "let x = 5",
            "let",
            "fn f()",
            "fn f() -> i32",
            "#[derive(Debug)]",
            "/// What it is.",
            "if x",
            "match x",
            "struct S",
            "impl S",
            "use std::fmt",
            "pub",
            "let Some(x) = y else",
            "f(); /// about g",
        ],
    );
    all(&incomplete("  "), &["f();\n  let x = 5"]);
}

#[test]
fn what_no_further_line_can_mend_is_invalid() {
    all(
        &Completeness::Invalid,
        &[
            ")",
            "fn f() { } }",
            "foo(1]",
            "foo(1 2)",
            "let x = 5 let y = 6;",
            "let x = ;",
            "else {}",
            "fn fn",
            "let x = @",
            "\"\\q\"",
            // A character literal cannot go on in the next line.
            "let c = '",
            "f() /* a */ )",
        ],
    );
}

#[test]
fn a_value_at_the_end_is_seen() {
    for code in [
        "1",
        "let x = 1;\nx",
        "println!(\"x\")",
        "vec![1]",
        "if a { 1 } else { 2 } // c",
    ] {
        assert!(ends_with_expression(code), "{code}");
    }
    for code in [
        "",
        "1;",
        "let x = 1;",
        "fn f() {}",
        "x\n;",
        ":vars",
        "// 1",
        "struct S;",
    ] {
        assert!(!ends_with_expression(code), "{code}");
    }
    assert!(ends_with_expression(
        ":dep rand\n%memtrack\nrand::random::<u8>()"
    ));
}

#[test]
fn a_global_allocator_is_seen() {
    for code in [
        "#[global_allocator]\nstatic A: System = System;",
        "mod m { # [ global_allocator ] static A: System = System; }",
        "#[cfg_attr(all(), global_allocator)] static A: System = System;",
        "setup! { #[cfg(any(a[0], b))] #[global_allocator] static A: S = S; }",
    ] {
        assert!(defines_global_allocator(code), "{code}");
    }
    for code in [
        "let global_allocator = [global_allocator];",
        "// #[global_allocator]",
        "\"#[global_allocator]\"",
        "!grep '#[global_allocator]' *",
        "#[inline] fn global_allocator() {}",
    ] {
        assert!(!defines_global_allocator(code), "{code}");
    }
}

#[test]
fn deep_nesting_does_not_overflow_a_stack() {
    for piece in DEEP {
        // The deepest that is parsed, and more than is parsed.
        for count in [60, 100, 149, 299, 10_000] {
            let code = format!("x={}", piece.repeat(count));
            let answer = in_small_thread(move || (check(&code), ends_with_expression(&code)));
            assert_ne!(answer.0, Completeness::Complete, "{count} times {piece}");
        }
    }
    let sum = |terms| check(&format!("{}1", "1 + ".repeat(terms)));
    assert_eq!(sum(100), Completeness::Complete);
    assert_eq!(sum(10_000), Completeness::Unknown);
}

#[test]
fn long_code_is_not_taken_for_deep_code() {
    for (piece, count) in [
        ("fn f(a: u8) -> u8 { a + 1 }\n", 500),
        ("#[derive(Debug)] struct S { a: Vec<u8>, b: u8 }\n", 500),
        (
            "let a = [1, 2, 3].iter().map(|x| x + 1).sum::<u8>();\n",
            500,
        ),
    ] {
        assert_eq!(
            check(&piece.repeat(count)),
            Completeness::Complete,
            "{piece}"
        );
    }
    let list = format!("let a = [{}];", "(1 + 1, f(2)), ".repeat(5000));
    assert_eq!(check(&list), Completeness::Complete);
}

#[test]
fn every_prefix_of_right_code_can_still_become_right() {
    let code = "#[derive(Debug)]\nstruct P<T> { a: Vec<T>, b: &'static str }\nfn main() {\n    \
                let p = P { a: vec![1, 2], b: \"x{}\" };\n    if let [x, ..] = p.a[..] && x > 0 \
                {\n        println!(\"{x:?} {}\", r#\"\"\"#);\n    }\n}\nmain();";
    for (end, _) in code.char_indices() {
        // A word or an operator cut in two is no line's end.
        let at_word_end = code[..end].ends_with(char::is_whitespace);
        if at_word_end {
            assert_ne!(
                check(&code[..end]),
                Completeness::Invalid,
                "{}",
                &code[..end]
            );
        }
    }
}

#[test]
fn only_hopelessly_deep_code_is_refused() {
    assert!(is_too_deep(&"(".repeat(1500)));
    assert!(!is_too_deep(&"()".repeat(1500)));
    assert!(!is_too_deep(&format!("\"{}\"", "(".repeat(1500))));
    assert!(!is_too_deep("let x = ((1));"));
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(code in "\\PC{0,80}|[\\x00-\\x7f]{0,80}") {
        check(&code);
        ends_with_expression(&code);
        defines_global_allocator(&format!("{code} global_allocator"));
    }

    #[test]
    fn any_row_of_tokens_gets_an_answer(
        code in prop::collection::vec(
            prop::sample::select(vec![
                "fn ", "let ", "(", ")", "{", "}", "[", "]", "#", "!", "'", "\"", "r#\"", "b'", "/*",
                "*/", "//", "///", "\n", "%", ":", ";", "=", "|", "&", "<", ">", "x", "1", ".", ",",
                "match ", "if ", "struct ", "impl ", "global_allocator", "macro_rules!", "\\", "é",
            ]),
            0..40,
        )
    ) {
        let code = code.concat();
        check(&code);
        ends_with_expression(&code);
        defines_global_allocator(&code);
    }

    #[test]
    fn a_closing_bracket_mends_an_open_one(code in "[a-z]{1,8}(\\([0-9]{0,3}){1,6}") {
        let is_open = matches!(check(&code), Completeness::Incomplete { .. });
        prop_assert!(is_open);
        let closed = format!("{code}{}", ")".repeat(code.matches('(').count()));
        prop_assert_ne!(check(&format!("{closed})")), Completeness::Complete);
    }
}
