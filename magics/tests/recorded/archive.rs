//! Records read out of files, whatever is in the files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memtrack::archive::{Archive, Recording, read};
use memtrack::compare::Comparison;
use memtrack::export::{self, Format};
use memtrack::record::{MIME_TYPE, Record};
use memtrack::report::SortKey;
use memtrack::text;
use proptest::prelude::*;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::common::{bare, gpus, killed, normal};

/// A notebook with a cell for each of these records.
fn notebook(records: &[Value]) -> Value {
    let cells: Vec<Value> = records
        .iter()
        .map(|record| {
            json!({
                "cell_type": "code",
                "outputs": [
                    {"output_type": "stream", "name": "stdout", "text": ["a\n"]},
                    {"output_type": "display_data", "data": {"text/plain": "x", MIME_TYPE: record}},
                ],
            })
        })
        .collect();
    json!({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells})
}

fn as_json(record: &Record) -> Value {
    serde_json::to_value(record).unwrap()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// The one recording of a file with this content.
fn read_one(name: &str, content: impl AsRef<[u8]>) -> Recording {
    let mut recordings = read(&Folder::new().put(name, content)).unwrap();
    assert_eq!(recordings.len(), 1);
    recordings.remove(0)
}

fn refusal(name: &str, content: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let error = read(&folder.put(name, content)).unwrap_err().to_string();
    assert!(error.contains(name), "the file is not named: {error}");
    error
}

#[test]
fn records_come_back_as_they_were() {
    let records = [normal(), killed(), gpus(), bare(7)];
    let text = notebook(&records.each_ref().map(as_json)).to_string();
    let found = read_one("x.ipynb", &text);
    assert_eq!(found.records, records);
    assert_eq!(found.problems, Vec::<String>::new());

    let lines = export::session(&found, Format::JsonLines);
    assert_eq!(lines.lines().count(), 4);
    // Line ends of Windows, a byte order mark, and blank lines.
    let odd = format!("\u{feff}{}\r\n\r\n", lines.replace('\n', "\r\n"));
    assert_eq!(read_one("x.jsonl", odd).records, records);
}

#[test]
fn what_the_schema_does_not_require_may_be_missing() {
    let mut record = as_json(&normal());
    for part in ["timeline", "cuda_context", "warnings"] {
        record.as_object_mut().unwrap().remove(part);
    }
    record["cell"] = json!({"execution_count": 1, "label": null, "status": "ok"});
    record["environment"] = json!({"id": "x"});
    record["from_the_future"] = json!({"a": [1]});
    let found = read_one("x.ipynb", notebook(&[record]).to_string());
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.records[0].rows, normal().rows);
}

#[test]
fn a_bad_record_is_named_and_the_others_are_kept() {
    let bad = |edit: &dyn Fn(&mut Value)| {
        let mut record = as_json(&normal());
        edit(&mut record);
        record
    };
    let records = [
        as_json(&normal()),
        bad(&|record| record["rows"][0]["peak"] = json!(1e30)),
        bad(&|record| record["rows"][0]["peak"] = json!(-1)),
        bad(&|record| record["rows"][0]["memory"] = json!("cloud")),
        bad(&|record| record["schema"] = json!(2)),
        bad(&|record| *record = json!([1, 2])),
        bad(&|record| record["cell"] = Value::Null),
        bad(&|record| record["warnings"] = json!("none")),
        as_json(&bare(9)),
    ];
    let found = read_one("x.ipynb", notebook(&records).to_string());
    let numbers: Vec<u64> = found
        .records
        .iter()
        .map(|it| it.cell.execution_count)
        .collect();
    // Without its warnings the eighth is still a record.
    assert_eq!(numbers, [3, 3, 9]);
    let expected = [
        "cell 2 of the notebook was left out: invalid type: floating point `1e+30`",
        "cell 3 of the notebook was left out: invalid value: integer `-1`",
        "cell 4 of the notebook was left out: unknown variant `cloud`",
        "cell 5 of the notebook was left out: it is of version 2 of the format, and this program reads version 1",
        "cell 6 of the notebook was left out: it does not tell the version",
        "cell 7 of the notebook was left out: invalid type: null",
        "cell 8 of the notebook: left out, as unreadable: warnings",
    ];
    assert_eq!(
        found.problems.len(),
        expected.len(),
        "{:#?}",
        found.problems
    );
    for (problem, expected) in found.problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem}\nis not\n{expected}");
    }
}

#[test]
fn a_record_under_a_later_mime_type_is_told() {
    let text = notebook(&[as_json(&normal())])
        .to_string()
        .replace("memtrack.v1+json", "memtrack.v2+json")
        .replace("\"schema\":1", "\"schema\":2");
    let found = read_one("x.ipynb", text);
    assert!(found.records.is_empty());
    assert!(
        found.problems[0].contains("of version 2"),
        "{:?}",
        found.problems
    );
}

#[test]
fn many_problems_are_not_told_one_by_one() {
    let found = read_one("x.jsonl", "{]\n".repeat(1_000));
    assert_eq!(found.problems.len(), 11);
    assert_eq!(found.problems[10], "and more of this kind");
}

#[test]
fn a_hostile_value_is_not_quoted_whole() {
    let mut record = as_json(&normal());
    record["rows"][0]["peak"] = "\u{1b}[31mx\n".repeat(100_000).into();
    let found = read_one("x.ipynb", notebook(&[record]).to_string());
    assert!(found.problems[0].len() < 400, "{}", found.problems[0].len());
    assert!(!found.problems[0].contains(char::is_control));
}

#[test]
fn other_outputs_may_be_as_odd_as_they_like() {
    let mut odd = notebook(&[as_json(&normal())]);
    let outputs = odd["cells"][0]["outputs"].as_array_mut().unwrap();
    for data in [
        json!(3),
        json!(-3),
        json!(0.5),
        json!("x"),
        json!([{}]),
        json!(null),
        json!(true),
    ] {
        outputs.push(json!({"data": data}));
    }
    // A plot may nest deeper than any reader's stack.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let text = odd
        .to_string()
        .replace("\"text/plain\":\"x\"", &format!("\"plot\":{deep}"));
    assert!(text.contains("[[[["));
    assert_eq!(read_one("x.ipynb", text).records, [normal()]);
}

#[test]
fn a_file_that_is_no_notebook_says_why() {
    let good = notebook(&[as_json(&normal())]).to_string();
    let deep = notebook(&[json!("DEEP")]).to_string();
    let deep = deep.replace(
        "\"DEEP\"",
        &format!("{}{}", "[".repeat(9_999), "]".repeat(9_999)),
    );
    for (content, reason) in [
        (String::new(), "no valid JSON: EOF"),
        (good[..good.len() / 2].to_owned(), "no valid JSON: EOF"),
        // Python writes this for a number that is none.
        (
            good.replace("\"nbformat_minor\":5", "\"nbformat_minor\":NaN"),
            "no valid JSON: expected value",
        ),
        (deep, "no valid JSON: recursion limit exceeded"),
        ("[]".into(), "not a Jupyter notebook of format 4"),
        ("{\"nbformat\": 4}".into(), "it has no cells"),
        ("{\"cells\": []}".into(), "it does not tell its format"),
        (
            "{\"nbformat\": 3, \"worksheets\": []}".into(),
            "it is of format 3; open it in today's Jupyter",
        ),
        (
            "{\"nbformat\": 4, \"cells\": 7}".into(),
            "not a Jupyter notebook of format 4: invalid type",
        ),
    ] {
        let error = refusal("x.ipynb", content);
        assert!(error.contains(reason), "{error}\nis not\n{reason}");
    }
    assert!(refusal("x.ipynb", b"{\"cells\": \"\xff\"}").contains("no valid JSON"));
    assert!(refusal("x.txt", "").contains("neither an executed notebook (.ipynb) nor an export"));
}

#[test]
fn what_is_no_file_is_not_opened() {
    let folder = Folder::new();
    let pipe = folder.path().join("pipe.ipynb");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    assert!(
        read(&pipe)
            .unwrap_err()
            .to_string()
            .contains("no ordinary file")
    );
    let missing = read(&folder.path().join("missing.ipnb"))
        .unwrap_err()
        .to_string();
    assert!(missing.contains("No such file"), "{missing}");
    let large = fs::File::create(folder.path().join("large.jsonl")).unwrap();
    large.set_len(memtrack::archive::SIZE_LIMIT + 1).unwrap();
    let large = read(&folder.path().join("large.jsonl"))
        .unwrap_err()
        .to_string();
    assert!(large.contains("larger than 128 MiB"), "{large}");
}

#[test]
fn a_folder_means_its_notebooks() {
    let folder = Folder::new();
    let good = notebook(&[as_json(&normal())]).to_string();
    for name in [
        "b.ipynb",
        "a/z.ipynb",
        ".ipynb_checkpoints/b.ipynb",
        "a/.hidden/x.ipynb",
    ] {
        folder.put(name, &good);
    }
    folder.put("data.jsonl", "{}");
    folder.put("c.ipynb", notebook(&[]).to_string());
    folder.put("d.ipynb", "broken");
    let archive = Archive::open(&[folder.path().to_owned()]);
    let name = |name: &str| folder.path().join(name).display().to_string();
    let names: Vec<&String> = archive.recordings.iter().map(|it| &it.name).collect();
    assert_eq!(names, [&name("a/z.ipynb"), &name("b.ipynb")]);
    assert_eq!(archive.empty, [name("c.ipynb")]);
    assert_eq!(archive.failures.len(), 1);
    let remarks = archive.remarks();
    assert!(
        remarks[0].contains("d.ipynb is no valid JSON"),
        "{remarks:?}"
    );
    assert!(remarks[1].contains("no record in") && remarks[1].contains("c.ipynb"));
    let empty = Folder::new();
    let archive = Archive::open(&[empty.path().to_owned(), "missing".into()]);
    assert!(archive.failures[0].contains("no notebook (.ipynb) in the folder"));
    assert!(archive.failures[1].contains("missing cannot be read: No such file"));
}

#[test]
fn an_export_of_many_notebooks_comes_back_as_many() {
    let recording = |name: &str, records: &[Record]| Recording {
        name: name.into(),
        records: records.to_vec(),
        problems: Vec::new(),
    };
    let recordings = [
        recording("a", &[normal(), killed()]),
        recording("b c", &[bare(1)]),
    ];
    let text = export::report(&recordings, SortKey::Peak, &[], Format::JsonLines);
    let folder = Folder::new();
    let path = folder.put("x.jsonl", text);
    let found = read(&path).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].name, format!("{}: b c", path.display()));
    assert_eq!(found[0].records, recordings[0].records);
    assert_eq!(found[1].records, recordings[1].records);
}

#[test]
fn a_thousand_notebooks_take_seconds_at_most() {
    let folder = Folder::new();
    let records: Vec<Value> = std::iter::repeat_n(as_json(&gpus()), 20).collect();
    let text = notebook(&records).to_string();
    for index in 0..1_000 {
        folder.put(&format!("{}/{index}.ipynb", index % 10), &text);
    }
    let start = Instant::now();
    let archive = Archive::open(&[folder.path().to_owned()]);
    let drawn = export::report(&archive.recordings, SortKey::Peak, &[], Format::Text);
    let elapsed = start.elapsed();
    assert!(drawn.starts_with("1,000 files in "));
    assert!(drawn.contains("20,000 tracked cells"));
    // Measured: 0.2 s for a thousand notebooks of six cells on two cores; many times more where
    // something is quadratic.
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

/// What may happen to a file between two people.
#[derive(Debug, Clone)]
enum Harm {
    Cut(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Insert(prop::sample::Index, String),
    Remove(prop::sample::Index, usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let place = any::<prop::sample::Index>;
    let pieces = prop_oneof![
        Just("null"),
        Just("NaN"),
        Just("1e400"),
        Just("-1"),
        Just("18446744073709551616"),
        Just("[]"),
        Just("{}"),
        Just("\"\""),
        Just("\\u0000"),
        Just("}"),
        Just(","),
    ];
    prop_oneof![
        place().prop_map(Harm::Cut),
        (place(), any::<u8>()).prop_map(|(place, byte)| Harm::Byte(place, byte)),
        (place(), pieces).prop_map(|(place, text)| Harm::Insert(place, text.into())),
        (place(), 1..40usize).prop_map(|(place, length)| Harm::Remove(place, length)),
    ]
}

fn harmed(text: &str, harms: &[Harm]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for harm in harms {
        let length = bytes.len().max(1);
        match harm {
            Harm::Cut(place) => bytes.truncate(place.index(length)),
            Harm::Byte(place, byte) => {
                if let Some(found) = bytes.get_mut(place.index(length)) {
                    *found = *byte;
                }
            }
            Harm::Insert(place, text) => {
                let at = place.index(length).min(bytes.len());
                bytes.splice(at..at, text.bytes());
            }
            Harm::Remove(place, count) => {
                let at = place.index(length).min(bytes.len());
                bytes.drain(at..(at + count).min(bytes.len()));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_harmed_file_is_read_or_refused(
        harms in prop::collection::vec(harm(), 0..4),
        is_lines in any::<bool>(),
    ) {
        let records = [normal(), killed(), gpus()];
        let folder = Folder::new();
        let (name, text) = if is_lines {
            let lines = records.each_ref().map(|record| as_json(record).to_string());
            ("x.jsonl", lines.join("\n"))
        } else {
            ("x.ipynb", notebook(&records.each_ref().map(as_json)).to_string())
        };
        let path = folder.put(name, harmed(&text, &harms));
        let sound = Recording { name: "sound".into(), records: records.to_vec(), problems: Vec::new() };
        let mut archive = Archive::open(&[path]);
        archive.recordings.insert(0, sound);
        let comparison = Comparison::new(&archive.recordings);
        let remarks = archive.remarks();
        for format in [Format::Html, Format::Markdown, Format::Csv, Format::JsonLines] {
            export::report(&archive.recordings, SortKey::Kept, &remarks, format);
            export::comparison(&comparison, &remarks, format);
        }
        let drawn = export::report(&archive.recordings, SortKey::Kept, &remarks, Format::Text)
            + &export::comparison(&comparison, &remarks, Format::Text);
        for line in drawn.lines() {
            prop_assert!(line.width() <= text::WIDTH, "{} columns: {line}", line.width());
        }
    }
}
