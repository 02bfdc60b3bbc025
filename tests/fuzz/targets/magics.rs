//! Cells as a user types them: what is magic and what is Rust, and what each magic line asks for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memtrack::{cell, magic};

fuzz_target!(|source: &str| {
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
    let cursor = source.chars().count() / 2;
    let _ = split.magic_at(cursor);
    let _ = cell::code_hash(&split);
});
