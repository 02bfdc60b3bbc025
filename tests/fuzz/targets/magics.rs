//! Cells as a user types them: what is magic and what is Rust, and what each magic line asks for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memtrack::{cell, magic};

fuzz_target!(|input: (u8, &str)| {
    let (place, source) = input;
    let split = cell::split(source);
    // Nothing moves: evcxr finds the user's code by its line and column.
    assert_eq!(split.rust.chars().count(), source.chars().count());
    assert_eq!(split.rust.lines().count(), source.lines().count());
    let again = cell::split(&split.rust);
    assert!(again.magics.is_empty() && again.rust == split.rust);
    for line in split.magics.iter().chain(&split.misplaced) {
        for has_code in [true, false] {
            if let Err(error) = magic::parse(&line.text, has_code) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
    let _ = cell::code_hash(&split);
    // Tab and Shift-Tab, anywhere in the cell and behind it.
    let cursor = source.chars().count() * usize::from(place) / 250;
    let Some((line, cursor)) = split.magic_at(cursor) else {
        return;
    };
    if let Some(found) = magic::complete(&line.text, cursor) {
        assert!(found.start_chars <= found.end_chars);
        assert!(found.end_chars <= line.text.chars().count());
    }
    let _ = magic::inspect(&line.text, cursor);
});
