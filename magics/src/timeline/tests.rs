use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::record::{CellStatus, Record};
use crate::units;

fn recorded(values: &[Option<u64>], capacity: usize) -> Recorder<1> {
    let mut recorder = Recorder::new(capacity);
    for (index, value) in values.iter().enumerate() {
        recorder.push(index as u64 * 10, [*value]);
    }
    recorder
}

/// Samples of the process every 10 ms from `first` on.
fn of_process(first: i32, values: &[Option<u64>]) -> Timeline {
    Timeline {
        t: (first..)
            .take(values.len())
            .map(|index| f64::from(index) / 100.0)
            .collect(),
        series: [("ram/process".to_owned(), values.to_vec())].into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spike_of_one_sample_survives_any_number_of_merges(
        count in 1..6000_usize, at in 0..6000_usize, capacity in 0..64_usize,
    ) {
        let mut values = vec![Some(1); count];
        values[at % count] = Some(9);
        let recorder = recorded(&values, capacity);
        let points: Vec<_> = recorder.points().collect();
        let spikes: Vec<usize> = (0..points.len()).filter(|at| points[*at].1[0] == Some(9)).collect();
        prop_assert_eq!(spikes.len(), 1);
        // It stands where it was: from its point's time to that of the next.
        let time = (at % count) as u64 * 10;
        prop_assert!(points[spikes[0]].0 <= time);
        prop_assert!(points.get(spikes[0] + 1).is_none_or(|next| time < next.0));
    }

    #[test]
    fn memory_stays_bounded_and_times_rise(count in 0..6000_usize, capacity in 0..64_usize) {
        let recorder = recorded(&vec![Some(1); count], capacity);
        let times: Vec<u64> = recorder.points().map(|(time, _)| time).collect();
        let most = capacity.next_multiple_of(2).max(2);
        prop_assert!(times.len() <= most);
        // Not more is merged than must be.
        prop_assert!(times.len() >= count.min(most / 2));
        prop_assert!(times.is_sorted_by(|a, b| a < b));
        prop_assert_eq!(times.first(), (count > 0).then_some(&0));
    }

    #[test]
    fn thinning_keeps_the_highest_and_the_order(
        values in prop::collection::vec(proptest::option::of(0..1000_u64), 1..300), parts in 1..50_usize,
    ) {
        let timeline = of_process(0, &values);
        let end = *timeline.t.last().unwrap();
        let thinned = timeline.thinned("ram/process", 0.0, end, parts);
        prop_assert!(thinned.len() <= parts);
        prop_assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
        let highest = thinned.iter().map(|(_, value)| *value).max().unwrap();
        prop_assert_eq!(highest, values.iter().copied().max().unwrap());
    }

    #[test]
    fn what_is_written_is_read_again(
        times in prop::collection::vec(-1e4..1e5_f64, 0..40), seed in any::<u64>(),
    ) {
        let mut t: Vec<f64> = times.into_iter().map(rounded).collect();
        t.sort_by(f64::total_cmp);
        let values = |shift: u32| {
            (0..t.len() as u64)
                .map(|index| Some(seed.rotate_left(shift) ^ index).filter(|_| index % 3 != 0))
                .collect()
        };
        let series = [("ram/process".to_owned(), values(0)), ("vram/device/0".to_owned(), values(7))];
        let timeline = Timeline { series: series.into(), t };
        let text = serde_json::to_string(&timeline).unwrap();
        prop_assert_eq!(serde_json::from_str::<Timeline>(&text).unwrap(), timeline);
    }
}

#[test]
fn nothing_read_in_a_point_stays_unknown() {
    let recorder = recorded(&[None, None, Some(3), None, None, None], 2);
    let values: Vec<_> = recorder.points().map(|(_, values)| values[0]).collect();
    assert_eq!(values, [Some(3), None]);
}

#[test]
fn what_is_not_known_of_other_versions_is_left_out() {
    let timeline: Timeline = serde_json::from_value(json!({
        "t": [-0.5, 0, 0.25],
        "ram/process": [1, null, 3],
        "ram/of_the_future": [1, 2, 3],
        "step_s": 0.01,
        "phases": { "run": [0, 1] },
        "heap/process": [1, 2],
        "ram/system": [1, "2", 3],
        "ram/children": [1, -2, 3],
    }))
    .unwrap();
    assert_eq!(timeline.t, [-0.5, 0.0, 0.25]);
    let keys: Vec<&str> = timeline.series.keys().map(String::as_str).collect();
    assert_eq!(keys, ["ram/of_the_future", "ram/process"]);
    assert_eq!(timeline.series["ram/process"], [Some(1), None, Some(3)]);
    for strange in [json!({}), json!({ "t": "soon", "ram/process": [1] })] {
        let timeline: Timeline = serde_json::from_value(strange).unwrap();
        assert!(timeline.is_empty());
    }
}

#[test]
fn a_mig_instance_has_a_key_of_its_own() {
    let device = |uuid: &str| Device {
        index: 0,
        uuid: Some(uuid.into()),
        name: "NVIDIA A100".into(),
    };
    let key_of = |uuid| key(Memory::Vram, Scope::Device, Some(&device(uuid)));
    assert_eq!(key_of("GPU-1a2b3c4d"), "vram/device/0");
    assert_eq!(key_of("MIG-1a2b3c4d"), "vram/device/0/MIG-1a2b");
}

#[test]
fn a_line_goes_from_the_lowest_to_the_highest() {
    let line = |values: &[u64]| {
        let values: Vec<Option<u64>> = values.iter().copied().map(Some).collect();
        sparkline(&values, 0, 700, 1)
    };
    assert_eq!(line(&[0, 100, 200, 300, 400, 500, 600, 700]), "▁▂▃▄▅▆▇█");
    assert_eq!(sparkline(&[Some(1), None, Some(9)], 1, 9, 1), "▁·█");
    // Noise is not blown up to look like something.
    assert_eq!(sparkline(&[Some(5), Some(9)], 5, 9, 100), "▁▁");
    assert_eq!(sparkline(&[Some(5), Some(5)], 5, 5, 0), "▁▁");
}

#[test]
fn the_words_give_a_time_only_where_a_sample_was_near_the_peak() {
    const MIB: u64 = 1 << 20;
    let mut row = Row::empty(Memory::Ram, Scope::Process);
    (row.before, row.peak, row.after) = (Some(10 * MIB), Some(110 * MIB), Some(10 * MIB));
    let seen = of_process(
        0,
        &[
            Some(10 * MIB),
            Some(109 * MIB),
            Some(109 * MIB),
            Some(10 * MIB),
        ],
    );
    assert_eq!(
        words(&row, &seen, 0.03),
        "from 10.0 MiB, peak 110 MiB at 10 ms of 30 ms"
    );
    let missed = of_process(
        0,
        &[
            Some(10 * MIB),
            Some(20 * MIB),
            Some(20 * MIB),
            Some(10 * MIB),
        ],
    );
    assert_eq!(
        words(&row, &missed, 0.03),
        "from 10.0 MiB, peak 110 MiB between two samples, of 30 ms"
    );
    let short = of_process(0, &[Some(10 * MIB), Some(10 * MIB)]);
    assert_eq!(
        words(&row, &short, 0.01),
        "peak 110 MiB, of 10 ms: too short for two samples 10 ms apart"
    );
}

#[test]
fn what_moved_no_more_than_noise_has_no_line() {
    const MIB: u64 = 1 << 20;
    let row = |scope, rise| {
        let mut row = Row::empty(Memory::Ram, scope);
        (row.before, row.peak, row.after) = (Some(MIB), Some(MIB + rise), Some(MIB));
        row
    };
    let timeline = Timeline {
        t: vec![0.0, 0.01, 0.02],
        series: ["ram/process", "ram/children", "ram/system"]
            .map(|key| (key.to_owned(), vec![Some(MIB); 3]))
            .into(),
    };
    let mut record = Record::empty(1, CellStatus::Ok);
    record.duration_s.run = Some(0.02);
    let noise = units::noise_floor(Memory::Ram, Scope::System);
    let lines = |record: &Record| -> Vec<String> {
        let grid = sparklines(record, &timeline).unwrap();
        grid.rows.iter().map(|row| row[0].text.clone()).collect()
    };
    record.rows = vec![row(Scope::Process, 0), row(Scope::System, noise - 1)];
    assert_eq!(lines(&record), ["process RAM"]);
    record.rows[1] = row(Scope::System, noise);
    assert_eq!(lines(&record), ["process RAM", "system RAM"]);
}
