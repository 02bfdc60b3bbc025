//! What holds for every cell that is split, and every line that is read as a magic.

use memtrack::{cell, magic};
use proptest::prelude::*;

/// Texts that look like cells: magics, comments, strings, code, odd line ends and characters.
fn source() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("%memtrack --label größe".to_string()),
        Just("  %%memtrack".to_string()),
        Just("%lsmagic".to_string()),
        Just("// %memtrack".to_string()),
        Just("let s = \"".to_string()),
        Just("r#\"".to_string()),
        Just("/* 'a' 'b \\".to_string()),
        Just("let x = 7 % 2;".to_string()),
        Just(String::new()),
        any::<String>(),
        "%\\PC{0,20}",
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n")];
    prop::collection::vec((line, end), 0..8).prop_map(|lines| {
        lines
            .iter()
            .flat_map(|(line, end)| [line.as_str(), end])
            .collect()
    })
}

proptest! {
    // A case that once failed becomes a test of its own, not a line in a file.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines_and_offsets_stay(source in source()) {
        let cell = cell::split(&source);
        prop_assert_eq!(cell.rust.chars().count(), source.chars().count());
        prop_assert_eq!(cell.rust.lines().count(), source.lines().count());
        for ((number, rust), original) in cell.rust.lines().enumerate().zip(source.lines()) {
            let magic = cell.magics.iter().find(|magic| magic.line == number);
            match magic {
                Some(magic) => {
                    prop_assert!(rust.chars().all(|c| c == ' '));
                    prop_assert_eq!(rust.chars().count(), original.chars().count());
                    prop_assert_eq!(original.trim_start(), &magic.text);
                }
                None => prop_assert_eq!(rust, original),
            }
        }
        prop_assert_eq!(cell::code_hash(&cell).len(), 16);
    }

    #[test]
    fn magics_are_where_they_say(source in source()) {
        let cell = cell::split(&source);
        for magic in cell.magics.iter().chain(&cell.misplaced) {
            prop_assert!(source[magic.byte_offset..].starts_with(&magic.text));
            prop_assert_eq!(source[..magic.byte_offset].chars().count(), magic.char_offset);
            prop_assert_eq!(source[..magic.byte_offset].matches('\n').count(), magic.line);
        }
    }

    #[test]
    fn what_is_split_once_has_no_magics_left(source in source()) {
        let rust = cell::split(&source).rust;
        let again = cell::split(&rust);
        prop_assert!(again.magics.is_empty());
        prop_assert_eq!(again.rust, rust);
    }

    #[test]
    fn any_line_is_read_completed_and_inspected(line in "%{1,2}(memtrack)? ?\\PC{0,30}", cursor in 0..60usize) {
        for has_code in [false, true] {
            if let Err(error) = magic::parse(&line, has_code) {
                prop_assert!(error.to_string().contains("\nusage: "));
            }
        }
        let length = line.chars().count();
        let completion = magic::complete(&line, cursor);
        prop_assert_eq!(completion.is_some(), cursor <= length);
        if let Some(completion) = completion {
            prop_assert!(completion.start_chars <= completion.end_chars);
        }
        magic::inspect(&line, cursor);
    }
}
