//! How reports and comparisons look in each format, and that no text of a file becomes markup.

use insta::assert_snapshot;
use memtrack::archive::Recording;
use memtrack::compare::Comparison;
use memtrack::export::{self, Format};
use memtrack::record::{Memory, Record};
use memtrack::report::SortKey;
use memtrack::text;
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use crate::common::{MIB, gpus, huge, killed, normal, odd_label, unknown};
use crate::compare::{cell, recording};

const DRAWN: [Format; 3] = [Format::Text, Format::Markdown, Format::Html];
const ALL: [Format; 5] = [
    Format::Text,
    Format::Markdown,
    Format::Html,
    Format::Csv,
    Format::JsonLines,
];

/// A run on a machine with a GPU, and one on a machine without, where a cell needs more.
fn two_runs() -> [Recording; 2] {
    let with_facts = |mut record: Record, id: &str, facts| {
        record.environment.id = id.into();
        record.environment.facts = Some(facts);
        record
    };
    let here = json!({"ram_bytes": 16_u64 << 30, "os": "Debian", "cpus": 2});
    let there = json!({"ram_bytes": 12_u64 << 30, "os": "Debian", "cpus": 2, "container_limit_bytes": 1 << 30});
    let mut failed = cell(4, "train", "there", 30 * MIB, 0);
    failed.cell.status = killed().cell.status;
    failed.cell.cause = killed().cell.cause;
    let first = with_facts(gpus(), "here", here);
    let second = with_facts(normal(), "there", there);
    [
        recording(
            "here.ipynb",
            vec![
                first,
                cell(4, "train", "here", 10 * MIB, MIB),
                cell(5, "tidy", "here", 0, 0),
            ],
        ),
        recording("there.ipynb", vec![second, failed]),
    ]
}

fn in_lines(text: &str) -> String {
    // One tag a line, so that a change can be read.
    text.replace("><", ">\n<")
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Text => "text",
        Format::Markdown => "md",
        Format::Html => "html",
        Format::Csv => "csv",
        Format::JsonLines => "jsonl",
    }
}

#[test]
fn a_report_in_each_format() {
    let runs = two_runs();
    let remarks = ["broken.ipynb is no valid JSON".to_owned()];
    for format in ALL {
        let drawn = export::report(&runs, SortKey::Kept, &remarks, format);
        assert_snapshot!(format!("report_{}", name(format)), in_lines(&drawn));
    }
    assert_snapshot!(
        "report_of_one_text",
        export::report(&runs[..1], SortKey::Peak, &[], Format::Text)
    );
}

#[test]
fn a_comparison_in_each_format() {
    let runs = two_runs();
    for format in ALL {
        let drawn = export::comparison(&Comparison::new(&runs), &[], format);
        assert_snapshot!(format!("comparison_{}", name(format)), in_lines(&drawn));
    }
    let [here, there] = runs;
    let three = [here.clone(), there, here];
    assert_snapshot!(
        "comparison_of_three_text",
        export::comparison(&Comparison::new(&three), &[], Format::Text)
    );
}

#[test]
fn a_session_in_each_format() {
    let session = recording("this session", vec![normal(), killed()]);
    for format in [Format::Markdown, Format::Csv] {
        assert_snapshot!(
            format!("session_{}", name(format)),
            export::session(&session, format)
        );
    }
    let page = export::session(&session, Format::Html);
    assert!(page.starts_with("<!DOCTYPE html>"), "{page}");
    assert!(page.contains("<title>this session</title>"), "{page}");
    assert!(
        page.contains("color-scheme") && !page.contains("<script"),
        "{page}"
    );
    // The cells at a glance, each one's table, and its pages by kind.
    assert_eq!(page.matches("<table").count(), 1 + 2 + 2);
}

#[test]
fn hostile_texts_stay_texts() {
    let hostile = "<img src=x onerror=alert(1)>|`x`|@all\n\u{1b}[31m# h [a](http://b)";
    let mut record = odd_label();
    record.cell.label = Some(hostile.into());
    record.cell.cause = Some(hostile.into());
    record.cell.status = killed().cell.status;
    record.environment.id = hostile.into();
    record.environment.facts = Some(json!({ hostile: hostile, "os": {hostile: [hostile]} }));
    record.rows[0].unavailable = Some(hostile.into());
    record.rows[0].peak = None;
    let mut other = record.clone();
    other.environment.id = "=1+1".into();
    other.environment.facts = Some(json!({ "os": 1 }));
    let runs = [
        recording(hostile, vec![record]),
        recording("=cmd|' /C calc'!A0", vec![other]),
    ];
    for format in DRAWN {
        let drawn = export::report(
            &runs,
            SortKey::Peak,
            &[hostile.replace(char::is_control, " ")],
            format,
        ) + &export::report(&runs[..1], SortKey::Peak, &[], format)
            + &export::comparison(&Comparison::new(&runs), &[], format)
            + &export::session(&runs[0], format);
        let drawn_without_escapes = drawn.replace('\n', "");
        match format {
            Format::Text => {}
            Format::Html => assert!(!drawn.contains("<img"), "{drawn}"),
            _ => assert!(
                !drawn.contains("<img") && !drawn.contains("|`") && !drawn.contains("@all"),
                "{drawn}"
            ),
        }
        assert!(
            format != Format::Text || !drawn_without_escapes.contains('\u{1b}'),
            "{drawn}"
        );
    }
    let csv = export::report(&runs, SortKey::Peak, &[], Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    for row in reader.records() {
        let row = row.unwrap();
        let formula = row.iter().find(|field| field.starts_with(['=', '+', '@']));
        assert_eq!(formula, None);
    }
}

#[test]
fn text_fits_a_hundred_columns() {
    let long = recording(
        &"a/very/long/folder/".repeat(20),
        vec![odd_label(), huge(), unknown(), gpus()],
    );
    let wide = recording(&"内存 ".repeat(60), vec![odd_label(), huge(), gpus()]);
    for count in [2, 3, 40] {
        let mut runs = vec![long.clone()];
        runs.resize(count, wide.clone());
        let drawn = export::report(&runs, SortKey::Allocated, &[], Format::Text)
            + &export::comparison(&Comparison::new(&runs), &[], Format::Text);
        for line in drawn.lines() {
            assert!(
                line.width() <= text::WIDTH,
                "{} columns: {line}",
                line.width()
            );
        }
    }
}

#[test]
fn the_csv_has_a_line_for_each_memory() {
    let session = recording("s", vec![normal(), gpus(), crate::common::bare(9)]);
    let csv = export::session(&session, Format::Csv);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let head = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    // A record without rows is not lost.
    assert_eq!(rows.len(), normal().rows.len() + gpus().rows.len() + 1);
    let column = |name: &str| head.iter().position(|it| it == name).unwrap();
    let row = &normal().rows[0];
    assert_eq!(row.memory, Memory::Ram);
    assert_eq!(&rows[0][column("peak")], row.peak.unwrap().to_string());
    assert_eq!(&rows[0][column("kept")], row.kept().unwrap().to_string());
    let last = rows.last().unwrap();
    assert_eq!(
        (&last[column("memory")], &last[column("execution_count")]),
        ("", "9")
    );
    // Unknown is empty, and not 0.
    let unknown = gpus()
        .rows
        .iter()
        .position(|row| row.peak.is_none())
        .unwrap();
    assert_eq!(&rows[normal().rows.len() + unknown][column("peak")], "");
}

#[test]
fn the_folder_of_all_files_is_told_once() {
    let report = |names: &[&str]| {
        let recordings: Vec<Recording> = names
            .iter()
            .map(|name| recording(name, vec![normal()]))
            .collect();
        export::report(&recordings, SortKey::Peak, &[], Format::Text)
    };
    let drawn = report(&["class/one/x.ipynb", "class/two/x.ipynb"]);
    assert!(drawn.starts_with("2 files in class, "), "{drawn}");
    assert!(drawn.contains("\none/x.ipynb "), "{drawn}");
    // `class` is no part of `classes`.
    let drawn = report(&["class/x.ipynb", "classes/x.ipynb"]);
    assert!(drawn.starts_with("2 files, "), "{drawn}");
    assert!(drawn.contains("\nclass/x.ipynb "), "{drawn}");
    assert!(!drawn.contains("failed"), "no cell failed: {drawn}");
}
