//! Notebooks and exports from strangers: read, reported and compared in every format.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memtrack::archive;
use memtrack::compare::Comparison;
use memtrack::export::{self, Format};
use memtrack::report::SortKey;

const FORMATS: [Format; 5] = [
    Format::Text,
    Format::Html,
    Format::Markdown,
    Format::Csv,
    Format::JsonLines,
];

fuzz_target!(|bytes: &[u8]| {
    // A notebook is one JSON object, an export many in lines.
    for ending in ["ipynb", "jsonl"] {
        let file = tempfile::Builder::new()
            .suffix(&format!(".{ending}"))
            .tempfile_in("/dev/shm")
            .expect("a file");
        std::fs::write(file.path(), bytes).expect("written");
        let Ok(recordings) = archive::read(file.path()) else {
            continue;
        };
        let comparison = Comparison::new(&recordings);
        for format in FORMATS {
            let mut texts = vec![
                export::report(&recordings, SortKey::default(), &[], format),
                export::comparison(&comparison, &[], format),
            ];
            texts.extend(recordings.iter().map(|one| export::session(one, format)));
            for text in texts {
                if matches!(format, Format::Html) {
                    let text = text.to_ascii_lowercase();
                    for tag in ["<script", "<img", "<iframe", "<object", "<a "] {
                        assert!(!text.contains(tag), "{tag} came through");
                    }
                }
                if matches!(format, Format::Text) {
                    let escapes = text.chars().any(|it| it.is_control() && it != '\n');
                    assert!(!escapes, "what steers a terminal came through");
                }
            }
        }
    }
});
