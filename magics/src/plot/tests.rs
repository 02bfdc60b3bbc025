use proptest::prelude::*;

use super::axis::{Scale, slots, time_ticks};
use super::label::{apart, cut, xml_text};
use super::words::ranges;
use super::*;
use crate::record::CellStatus;

const MIB: u64 = 1 << 20;

fn record(compile: f64, run: Option<f64>) -> Record {
    let mut record = Record::empty(1, CellStatus::Ok);
    record.duration_s.compile = Some(compile);
    record.duration_s.run = run;
    record
}

fn cell(record: &Record) -> Cell<'_> {
    Cell {
        record,
        timeline: None,
    }
}

#[test]
fn a_cell_is_as_wide_as_it_took_time_and_its_code_is_always_seen() {
    let quick = record(0.1, Some(0.3));
    let slot = slots(&[cell(&quick)], 0.0, 400.0)[0];
    assert_eq!((slot.left, slot.right), (0.0, 400.0));
    assert!((slot.run - 100.0).abs() < 1e-9);
    assert!(!slot.is_compile_narrowed());
    assert!((slot.x(-0.05) - 50.0).abs() < 1e-9 && (slot.x(0.15) - 250.0).abs() < 1e-9);
    let slow = record(60.0, Some(0.01));
    let slot = slots(&[cell(&slow)], 0.0, 400.0)[0];
    assert!((slot.run - 140.0).abs() < 1e-9);
    assert!(slot.is_compile_narrowed());
    let failed = record(2.0, None);
    assert_eq!(slots(&[cell(&failed)], 0.0, 400.0)[0].run, 400.0);
    let nothing = record(0.0, Some(0.0));
    assert_eq!(slots(&[cell(&nothing)], 0.0, 400.0)[0].run, 0.0);
}

#[test]
fn a_short_cell_beside_a_long_one_can_be_seen() {
    let records = [record(0.0, Some(0.001)), record(0.0, Some(3600.0))];
    let slots = slots(&records.each_ref().map(cell), 0.0, 400.0);
    assert!(slots[0].right - slots[0].left > 30.0);
    assert!(slots[1].left > slots[0].right);
    assert!((slots[1].right - 400.0).abs() < 1e-9);
}

#[test]
fn ticks_are_round() {
    let ticks =
        |lowest, highest, from_zero| Scale::new(lowest, highest, from_zero, 0.0, 100.0).ticks();
    assert_eq!(
        ticks(MIB, 330 * MIB, true),
        [0, 128, 256, 384].map(|mib| mib * MIB)
    );
    assert_eq!(
        ticks(1000 * MIB, 1100 * MIB, false),
        [1024, 1088].map(|mib| mib * MIB)
    );
    assert_eq!(time_ticks(1.2), [0.0, 0.5, 1.0]);
    assert_eq!(time_ticks(300.0), [0.0, 60.0, 120.0, 180.0, 240.0, 300.0]);
    assert_eq!(time_ticks(0.0), [0.0]);
}

#[test]
fn a_small_change_of_much_memory_is_not_blown_up() {
    let scale = Scale::new(8_000 * MIB, 8_001 * MIB, false, 0.0, 100.0);
    assert!(scale.y(8_000 * MIB) - scale.y(8_001 * MIB) < 5.0);
    // Nor is a large one hidden.
    let scale = Scale::new(8_000 * MIB, 9_000 * MIB, false, 0.0, 100.0);
    assert!(scale.y(8_000 * MIB) - scale.y(9_000 * MIB) > 50.0);
}

#[test]
fn numbers_are_told_as_ranges() {
    assert_eq!(ranges([1, 2, 3, 7, 9, 10].into_iter()), "1 to 3, 7, 9, 10");
    assert_eq!(ranges([4].into_iter()), "4");
}

#[test]
fn words_are_cut_to_width() {
    assert_eq!(cut("short", 10.0, 100.0), "short");
    assert_eq!(cut("a label of several words", 10.0, 58.0), "a label o…");
    assert_eq!(cut("内存内存内存", 10.0, 58.0), "内存内存…");
    assert_eq!(xml_text("a\u{0}b\u{1b}[1m\u{ffff}\n c"), "a b [1m c");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn labels_do_not_lie_over_each_other(wanted in prop::collection::vec((0.0..170.0_f64, 10.0..28.0_f64), 0..6)) {
        let placed = apart(&wanted, 0.0, 176.0);
        let mut places: Vec<(f64, f64)> = placed.iter().zip(&wanted).map(|(at, (_, height))| (*at, *height)).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in places.windows(2) {
            prop_assert!(pair[1].0 - pair[0].0 >= (pair[0].1 + pair[1].1) / 2.0 - 1e-9, "{places:?}");
        }
        for (at, height) in places {
            prop_assert!(at - height / 2.0 > -1e-9 && at + height / 2.0 < 176.0 + 1e-9);
        }
    }

    #[test]
    fn every_scale_holds_its_values_and_has_few_ticks(
        lowest in any::<u64>(), above in any::<u64>(), from_zero in any::<bool>(),
    ) {
        let highest = lowest.saturating_add(above);
        let scale = Scale::new(lowest, highest, from_zero, 20.0, 190.0);
        prop_assert!(scale.y(highest) >= 20.0 && scale.y(lowest) <= 190.0);
        prop_assert!(scale.y(highest) <= scale.y(lowest));
        let ticks = scale.ticks();
        prop_assert!((1..=6).contains(&ticks.len()), "{ticks:?}");
        prop_assert!(ticks.is_sorted_by(|a, b| a < b), "{ticks:?}");
    }

    #[test]
    fn there_are_few_times_on_an_axis(end in 1e-6..1e12_f64) {
        let ticks = time_ticks(end);
        prop_assert!((2..=6).contains(&ticks.len()), "{ticks:?}");
        prop_assert!(*ticks.last().unwrap() <= end * 1.000_001);
    }
}
