//! Which cells belong together, and which differences are more than noise.

use memtrack::archive::Recording;
use memtrack::compare::{Comparison, json_lines, two_cells};
use memtrack::export::{self, Format};
use memtrack::record::{CellStatus, Record, Scope};
use memtrack::text;
use serde_json::{Value, json};

use crate::common::{GIB, MIB, bare, gpus, killed, normal, unknown};

pub fn recording(name: &str, records: Vec<Record>) -> Recording {
    Recording {
        name: name.into(),
        records,
        problems: Vec::new(),
    }
}

/// A cell with a label whose process RAM rises by `rise` and keeps `kept`, in an environment.
pub fn cell(count: u64, label: &str, environment: &str, rise: u64, kept: u64) -> Record {
    let mut record = normal();
    record.cell.execution_count = count;
    record.cell.label = (!label.is_empty()).then(|| label.into());
    record.environment.id = environment.into();
    record.rows.retain(|row| row.scope == Scope::Process);
    let ram = &mut record.rows[0];
    (ram.before, ram.peak, ram.after) = (Some(GIB), Some(GIB + rise), Some(GIB + kept));
    record
}

fn lines(recordings: &[Recording]) -> Vec<Value> {
    let text = json_lines(&Comparison::new(recordings));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The quantities that differ, as `label: quantity`.
fn differing(recordings: &[Recording]) -> Vec<String> {
    let differing = lines(recordings)
        .into_iter()
        .filter(|line| line["differs"] == true);
    differing
        .map(|line| {
            format!(
                "{}: {}",
                line["label"].as_str().unwrap(),
                line["quantity"].as_str().unwrap()
            )
        })
        .collect()
}

fn table(recordings: &[Recording]) -> String {
    export::comparison(&Comparison::new(recordings), &[], Format::Text)
}

#[test]
fn only_a_cells_own_difference_is_marked() {
    let a = recording(
        "a",
        vec![cell(1, "x", "A", 10 * MIB, 0), cell(2, "y", "A", MIB, MIB)],
    );
    let mut b = recording(
        "b",
        vec![
            cell(1, "x", "B", 30 * MIB, 20 * MIB),
            cell(2, "y", "B", MIB, MIB),
        ],
    );
    // All that the first cell keeps is there before, at the peak of, and after the second.
    let ram = &mut b.records[1].rows[0];
    for value in [&mut ram.before, &mut ram.peak, &mut ram.after] {
        *value = value.map(|it| it + 20 * MIB);
    }
    assert_eq!(
        differing(&[a, b]),
        ["x: process RAM rise", "x: process RAM kept"]
    );
}

#[test]
fn a_difference_must_exceed_the_noise() {
    let with = |heap: u64, ram: u64| {
        let mut record = cell(1, "x", "A", ram, 0);
        let row = &mut record.rows[1];
        (row.before, row.peak, row.after) = (Some(0), Some(MIB + heap), Some(MIB));
        [recording("x", vec![record])]
    };
    let base = with(0, 10 * MIB);
    let marked = |heap, ram| differing(&[base.clone(), with(heap, ram)].concat());
    assert_eq!(marked(64 << 10, 10 * MIB + (512 << 10)), [""; 0]);
    assert_eq!(marked((64 << 10) + 1, 10 * MIB), ["x: heap rise"]);
    assert_eq!(
        marked(0, 10 * MIB + (512 << 10) + 1),
        ["x: process RAM rise"]
    );
    assert_eq!(
        marked(0, 10 * MIB - (512 << 10) - 1),
        ["x: process RAM rise"]
    );
}

#[test]
fn the_spread_of_one_environment_is_noise() {
    let run = |environment, rise| recording(environment, vec![cell(1, "x", environment, rise, 0)]);
    let two = [run("A", 10 * MIB), run("B", 14 * MIB)];
    assert_eq!(differing(&two), ["x: process RAM rise"]);
    // Another run in the first environment shows that it varies by 8 MiB by itself.
    let three = [run("A", 10 * MIB), run("B", 14 * MIB), run("A", 18 * MIB)];
    assert_eq!(lines(&three)[1]["noise"], 8 * MIB);
    let marked: Vec<Value> = lines(&three)
        .into_iter()
        .filter(|it| it["differs"] == true)
        .collect();
    // The two runs of that environment do differ from each other, and that is shown.
    assert_eq!(marked.len(), 1);
    assert_eq!(marked[0]["difference"], 8 * MIB);
    // The same if that run is an earlier one in the same session.
    let mut again = run("A", 18 * MIB);
    again.records.push(cell(2, "x", "A", 10 * MIB, 0));
    assert_eq!(differing(&[again, run("B", 14 * MIB)]), [""; 0]);
}

#[test]
fn times_are_marked_only_where_their_noise_is_known() {
    let run = |environment: &str, seconds| {
        let mut record = cell(1, "x", environment, 0, 0);
        record.duration_s.run = Some(seconds);
        recording(environment, vec![record])
    };
    assert_eq!(differing(&[run("A", 1.0), run("B", 60.0)]), [""; 0]);
    let all = [run("A", 1.0), run("A", 1.2), run("B", 3.0), run("B", 3.1)];
    let marked = ["x: run", "x: run"];
    assert_eq!(differing(&all), marked);
    let noisy = [run("A", 1.0), run("A", 9.0), run("B", 3.0), run("B", 3.1)];
    assert_eq!(differing(&noisy), [""; 0]);
}

#[test]
fn cells_are_matched_by_label_then_by_code() {
    let with_code = |count, label, code: &str| {
        let mut record = cell(count, label, "A", 0, 0);
        record.cell.code_hash = code.into();
        record
    };
    let a = recording(
        "a",
        vec![
            with_code(1, "renumbered", "1"),
            with_code(2, "edited", "2"),
            with_code(3, "", "3"),
            with_code(4, "", "3"),
            with_code(5, "named in A", "5"),
            with_code(6, "here only", "6"),
            with_code(7, "", ""),
        ],
    );
    let b = recording(
        "b",
        vec![
            with_code(11, "", "5"),
            with_code(12, "", "3"),
            with_code(13, "other label, same code", "6"),
            with_code(14, "edited", "22"),
            with_code(15, "", "3"),
            with_code(16, "renumbered", "1"),
            with_code(17, "", ""),
        ],
    );
    let recordings = [a, b];
    let matched = lines(&recordings);
    let numbers: Vec<&Value> = matched
        .iter()
        .filter(|line| line["quantity"] == "run")
        .map(|line| &line["execution_count"])
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let drawn = table(&recordings);
    for expected in [
        "5 cells compared",
        "[2] edited has other code in B than in A",
        "only in A: [6] here only, [7]",
        "in B, not in A: [13] other label, same code, [17]",
    ] {
        assert!(drawn.contains(expected), "{expected}\nis not in\n{drawn}");
    }
    assert!(!drawn.contains("[1] renumbered has other code"), "{drawn}");
}

#[test]
fn an_unknown_value_gives_its_reason_and_no_difference() {
    let mut blind = unknown();
    blind.cell.label = Some("load".into());
    let recordings = [recording("a", vec![normal()]), recording("b", vec![blind])];
    assert_eq!(differing(&recordings), [""; 0]);
    for line in lines(&recordings) {
        assert_eq!(line["difference"], Value::Null, "{line}");
        assert!(line["other_unavailable"].is_string(), "{line}");
    }
    let drawn = table(&recordings);
    assert!(drawn.contains("/proc is not mounted here"), "{drawn}");

    // Across a restart nothing is subtracted, and how the cell ended stands on top.
    let mut dead = killed();
    dead.cell.label = Some("load".into());
    let recordings = [recording("a", vec![normal()]), recording("b", vec![dead])];
    assert_eq!(differing(&recordings), [""; 0]);
    let drawn = table(&recordings);
    assert!(
        drawn.contains("[3] load in B: killed: out of memory (SIGKILL)"),
        "{drawn}"
    );
    assert!(
        drawn.contains("the process was replaced, so no difference is taken"),
        "{drawn}"
    );

    // No GPU is not a GPU with nothing on it.
    let recordings = [recording("a", vec![gpus()]), recording("b", vec![normal()])];
    let drawn = table(&recordings);
    let words: Vec<&str> = drawn.split_whitespace().collect();
    assert!(
        words.join(" ").contains("no such GPU was seen there"),
        "{drawn}"
    );
}

#[test]
fn environments_stand_side_by_side() {
    let on = |id: &str, facts: Value| {
        let mut record = cell(1, "x", id, 0, 0);
        record.environment.facts = facts.is_object().then_some(facts);
        recording(id, vec![record])
    };
    let facts = |ram: u64, os: &str| json!({"ram_bytes": ram, "os": os, "cpus": 2, "gone": null});
    let drawn = table(&[on("A", facts(GIB, "x")), on("B", facts(2 * GIB, "x"))]);
    assert!(
        drawn.contains("2 different environments: A in A · B in B"),
        "{drawn}"
    );
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let all: Vec<String> = drawn.lines().map(words).collect();
    assert!(
        all.contains(&"ram A 1.00 GiB".into()) && all.contains(&"B 2.00 GiB".into()),
        "{drawn}"
    );
    assert!(!drawn.contains("cpus"), "{drawn}");
    assert!(
        drawn.contains("the rest (2 facts of the environments) is equal"),
        "{drawn}"
    );

    let drawn = table(&[on("A", facts(GIB, "x")), on("A", facts(GIB, "x"))]);
    assert!(
        drawn.contains("all ran in the same environment, A"),
        "{drawn}"
    );
    let drawn = table(&[on("A", facts(GIB, "x")), on("B", Value::Null)]);
    assert!(drawn.contains("the facts of B are not known"), "{drawn}");
}

#[test]
fn two_cells_of_a_session_have_their_peaks_beside_each_other() {
    let drawn = text::render(&two_cells(
        &cell(1, "x", "A", MIB, 0),
        &cell(4, "", "A", 9 * MIB, 8 * MIB),
    ));
    assert!(drawn.starts_with("A [1] x · B [4]\n"), "{drawn}");
    let line = drawn
        .lines()
        .find(|line| line.starts_with("process RAM peak"))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..].join(" "), "1.00 GiB 1.01 GiB *+8.00 MiB 1.01 ×");
}

#[test]
fn a_failed_cell_is_still_compared() {
    let mut failed = cell(1, "x", "A", 5 * MIB, 0);
    failed.cell.status = CellStatus::Panic;
    let recordings = [
        recording("a", vec![cell(1, "x", "A", MIB, 0)]),
        recording("b", vec![failed]),
    ];
    assert_eq!(differing(&recordings), ["x: process RAM rise"]);
    assert!(table(&recordings).contains("[1] x in B: panic"));
}

#[test]
fn recordings_without_cells_in_common_say_so() {
    let mut other = bare(1);
    other.cell.code_hash = "other".into();
    let recordings = [
        recording("a", vec![cell(1, "x", "A", 0, 0)]),
        recording("b", vec![other]),
    ];
    let drawn = table(&recordings);
    assert!(
        drawn.starts_with("no cell of A has a counterpart"),
        "{drawn}"
    );
    assert!(!drawn.contains("more than noise"), "{drawn}");
    assert_eq!(lines(&recordings), [Value::Null; 0]);
}
