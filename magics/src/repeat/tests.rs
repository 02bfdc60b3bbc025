use super::*;
use crate::record::EnvironmentRef;

const MIB: u64 = 1 << 20;

/// A run of cell 1 that ended well.
fn run(before: u64, peak: u64, after: u64, seconds: f64) -> Record {
    let mut record = Record::empty(1, CellStatus::Ok);
    record.duration_s.run = Some(seconds);
    let mut row = Row::empty(Memory::Ram, Scope::Process);
    (row.before, row.peak, row.after) = (Some(before), Some(peak), Some(after));
    record.rows = vec![row];
    record
}

fn series(records: impl IntoIterator<Item = Record>) -> Record {
    let mut series = Series::new(5);
    records.into_iter().for_each(|record| series.add(record));
    series.into_record().unwrap()
}

#[test]
fn the_median_is_in_the_middle() {
    let of = |values: &[u64]| statistic(values.iter().copied());
    assert_eq!(of(&[]), None);
    let three = of(&[9, 1, 5]).unwrap();
    assert_eq!((three.median, three.min, three.max), (5, 1, 9));
    assert_eq!((three.runs, three.spread()), (3, 8));
    assert_eq!(of(&[10, 2, 4, 8]).unwrap().median, 6);
    assert_eq!(of(&[u64::MAX, u64::MAX]).unwrap().median, u64::MAX);
    let signed = statistic([-4_i64, 10, -6].into_iter()).unwrap();
    assert_eq!((signed.median, signed.spread()), (-4, 16));
    let seconds = statistic([0.5, 0.1].into_iter()).unwrap();
    assert!((seconds.median - 0.3).abs() < 1e-9);
}

#[test]
fn the_record_is_that_of_the_run_with_the_median_peak() {
    let record = series([
        run(10 * MIB, 50 * MIB, 10 * MIB, 0.5),
        run(11 * MIB, 20 * MIB, 12 * MIB, 0.1),
        run(12 * MIB, 30 * MIB, 14 * MIB, 0.2),
    ]);
    assert_eq!(record.rows[0].peak, Some(30 * MIB));
    assert_eq!(record.duration_s.run, Some(0.2));
    let repeats = record.repeats.unwrap();
    assert_eq!((repeats.asked, repeats.completed, repeats.shown), (5, 3, 3));
    assert_eq!(repeats.run_s.unwrap().median, 0.2);
    let row = &repeats.rows[0];
    assert_eq!(row.before.unwrap().median, 11 * MIB);
    let kept = row.kept.unwrap();
    assert_eq!(
        (kept.min, kept.median, kept.max),
        (0, MIB as i64, 2 * MIB as i64)
    );
    // Not the difference of the medians, but the median of the differences.
    assert_eq!(row.temporary.unwrap().median, 16 * MIB);
    // Of an even number it is a run that there was.
    let record = series([run(0, 4, 0, 1.0), run(0, 2, 0, 1.0)]);
    assert_eq!(record.rows[0].peak, Some(2));
    assert_eq!(record.repeats.unwrap().rows[0].peak.unwrap().median, 3);
}

#[test]
fn a_run_that_fails_is_shown_and_left_out_of_the_medians() {
    let mut failed = run(0, 900 * MIB, 0, 9.0);
    failed.cell.status = CellStatus::Panic;
    let record = series([run(0, MIB, 0, 1.0), run(0, 3 * MIB, 0, 1.0), failed.clone()]);
    assert_eq!(record.cell.status, CellStatus::Panic);
    assert_eq!(record.rows[0].peak, Some(900 * MIB));
    let repeats = record.repeats.unwrap();
    assert_eq!((repeats.completed, repeats.shown), (2, 3));
    assert_eq!(repeats.rows[0].peak.unwrap().max, 3 * MIB);
    let warning = record.warnings.last().unwrap();
    assert!(
        warning.contains("run 3 of 5 ended the repeats"),
        "{warning}"
    );
    assert!(warning.contains("2 runs before"), "{warning}");

    let record = series([failed]);
    let repeats = record.repeats.unwrap();
    assert_eq!((repeats.completed, repeats.rows.len()), (0, 0));
    assert!(record.warnings[0].contains("nothing to compare"));
    assert!(Series::new(3).into_record().is_none());
}

#[test]
fn facts_and_warnings_of_other_runs_are_not_lost() {
    let mut first = run(0, 9, 0, 1.0);
    first.environment = EnvironmentRef {
        id: "test".into(),
        facts: Some(serde_json::json!({"cpu": "a"})),
    };
    let mut last = run(0, 7, 0, 1.0);
    last.warnings = vec!["close to the limit".into()];
    let record = series([first, run(0, 8, 0, 1.0), last]);
    assert_eq!(record.repeats.as_ref().unwrap().shown, 2);
    assert!(record.environment.facts.is_some());
    assert_eq!(record.warnings, ["run 3: close to the limit"]);
}

#[test]
fn a_value_that_some_runs_lack_says_of_how_many_it_is() {
    let mut unknown = run(0, 5, 0, 1.0);
    unknown.rows[0].after = None;
    let record = series([run(0, 5, 2, 1.0), unknown]);
    let row = &record.repeats.unwrap().rows[0];
    assert_eq!((row.before.unwrap().runs, row.after.unwrap().runs), (2, 1));
    assert_eq!(row.kept.unwrap().runs, 1);
}

#[test]
fn only_what_differs_by_more_than_noise_is_named() {
    let names = |second: Record| {
        let record = series([run(0, 10 * MIB, 0, 1.0), second]);
        let rows = record.repeats.unwrap().rows;
        let names = rows[0].beyond_noise().into_iter();
        names.map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(run(0, 10 * MIB, 0, 1.0)), [""; 0]);
    assert_eq!(names(run(0, 10 * MIB + 100, 0, 1.0)), [""; 0]);
    assert_eq!(names(run(0, 12 * MIB, 0, 1.0)), ["peak", "temporary"]);
    let mut heap = run(0, 10 * MIB, 0, 1.0);
    heap.rows[0].memory = Memory::Heap;
    let mut one_more = heap.clone();
    one_more.rows[0].peak = Some(10 * MIB + 1);
    let rows = series([heap, one_more]).repeats.unwrap().rows;
    assert_eq!(rows[0].beyond_noise(), [("peak", 1), ("temporary", 1)]);
}

#[test]
fn a_count_is_a_number_in_the_range() {
    assert_eq!((count("2"), count("1000")), (Ok(2), Ok(1000)));
    for wrong in ["0", "1", "-1", "1001", "", "five", "2.5", "99999999999"] {
        let error = count(wrong).unwrap_err();
        assert!(error.contains("from 2 to 1000"), "{error}");
    }
}
