//! Pictures of what cells used over time: how they look, and what holds for every one.

mod common;

use common::{GIB, MIB, bare, gpus, huge, killed, normal, unknown};
use insta::assert_snapshot;
use memtrack::plot::{CELLS, Plot, PlotError};
use memtrack::record::{CellStatus, Memory, Record, Scope};
use memtrack::table::Table;
use memtrack::text;
use memtrack::timeline::{COMPILER, Timeline, key_of};
use memtrack::{html, ledger::Ledger};
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

/// A timeline of `record`'s rows: level while compiling, then up to nearly the peak and down again,
/// at `looks` times.
fn timeline(record: &Record, looks: u32) -> Timeline {
    let run = record.duration_s.run.unwrap_or(0.0);
    let compile = record.duration_s.compile.unwrap_or(0.0);
    let mut timeline = Timeline::default();
    let before = (0..4).map(|look| -compile * f64::from(4 - look) / 4.0);
    let inside = (0..=looks + 1).map(|look| run * f64::from(look) / f64::from(looks + 1));
    timeline.t = before.chain(inside).collect();
    for row in &record.rows {
        let (Some(low), Some(peak)) = (row.before, row.peak) else {
            continue;
        };
        let (after, span) = (row.after, peak.saturating_sub(low) as f64);
        let value = |look: u32| match look {
            0 => Some(low),
            look if look == looks + 1 => after,
            look => {
                let share = f64::from(look) / f64::from(looks + 1);
                let height = (share * 3.0).min(1.0).min((1.0 - share) * 6.0) * 0.99;
                Some(low + (span * height) as u64)
            }
        };
        let values = [Some(low); 4].into_iter().chain((0..=looks + 1).map(value));
        timeline.series.insert(key_of(row), values.collect());
    }
    let compiler = [0, 40, 120, 80].map(|mib| Some(mib * MIB)).into_iter();
    let rest = std::iter::repeat_n(None, looks as usize + 2);
    timeline
        .series
        .insert(COMPILER.into(), compiler.chain(rest).collect());
    timeline
}

fn plot(record: &Record, looks: u32) -> (String, String) {
    let timeline = timeline(record, looks);
    let plot = Plot::new(vec![(record, Some(&timeline))]);
    (plot.svg(), plot.text())
}

/// One tag a line, so that a change can be read.
fn lines(svg: &str) -> String {
    svg.replace("><", ">\n<")
}

#[test]
fn one_cell() {
    let (svg, text) = plot(&normal(), 12);
    assert_snapshot!("plot_one_text", text);
    assert_snapshot!("plot_one_svg", lines(&svg));
}

#[test]
fn a_cell_on_a_gpu() {
    let (svg, text) = plot(&gpus(), 60);
    assert_snapshot!("plot_gpu_text", text);
    assert!(svg.contains("GPU 0, Tesla T4"), "{svg}");
    // The other GPU did nothing.
    assert!(!svg.contains(">GPU 1"), "{svg}");
    assert!(svg.contains(">pool used<"), "{svg}");
}

#[test]
fn a_cell_too_short_for_a_line_has_three_points() {
    let mut record = normal();
    record.rows.truncate(1);
    record.duration_s.run = Some(0.004);
    let (svg, text) = plot(&record, 0);
    assert_snapshot!("plot_short_text", text);
    assert!(
        svg.contains("too short for two samples 10 ms apart"),
        "{svg}"
    );
    assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
    // Before a cell's samples are thrown away they are a line; then its three points are left.
    let record = normal();
    let plot = Plot::new(vec![(&record, None)]);
    assert!(plot.svg().contains("its samples are not kept any more"));
    assert_eq!(plot.svg().matches("<circle").count(), 3 * record.rows.len());
}

#[test]
fn a_gap_is_a_gap() {
    let mut record = normal();
    record.rows.truncate(1);
    let mut samples = timeline(&record, 12);
    samples.series.remove(COMPILER);
    // Of a line and its area.
    let paths = |samples: &Timeline| {
        let svg = Plot::new(vec![(&record, Some(samples))]).svg();
        svg.matches("stroke-linejoin").count()
    };
    assert_eq!(paths(&samples), 1);
    samples.series.get_mut("ram/process").unwrap()[10] = None;
    assert_eq!(paths(&samples), 2);
}

#[test]
fn a_limit_is_drawn_where_it_is_near() {
    let mut record = normal();
    let drawn = |record: &Record| plot(record, 12).0.contains(">limit 2.00 GiB<");
    record.rows[0].limit = Some(2 * GIB);
    assert!(drawn(&record));
    record.rows[0].limit = Some(200 * GIB);
    assert!(!drawn(&record));
    assert!(plot(&record, 12).0.contains("peak 0.6 % of 200 GiB"));
}

/// Ten cells of a session; the third was killed, the fourth did not compile, the fifth was short.
fn session() -> Ledger {
    let mut ledger = Ledger::new();
    for count in 1..=10 {
        let mut record = if count == 3 { killed() } else { normal() };
        record.cell.execution_count = count;
        record.cell.label = (count % 2 == 0).then(|| format!("step {count}"));
        record.rows[0].peak = Some(GIB + count * 100 * MIB);
        record.duration_s.run = Some(0.2 * count as f64);
        if count == 4 {
            record.cell.status = CellStatus::Error;
            record.duration_s.run = None;
        }
        if count == 5 {
            record.duration_s.run = Some(0.001);
        }
        let samples = timeline(&record, if count == 5 { 0 } else { 20 });
        ledger.add(record);
        ledger.add_timeline(samples);
    }
    ledger
}

#[test]
fn several_cells() {
    let ledger = session();
    let plot = Plot::of(&ledger, None).unwrap();
    assert_snapshot!("plot_session_text", plot.text());
    let svg = plot.svg();
    for number in 1..=10 {
        assert!(
            svg.contains(&format!(">[{number}]<")),
            "[{number}] in {svg}"
        );
    }
    let some = Plot::of(&ledger, Some("2:3".parse().unwrap()))
        .unwrap()
        .text();
    assert!(some.starts_with("cells 2, 3: 2 tracked cells\n"), "{some}");
    let one = Plot::of(&ledger, Some("2".parse().unwrap()))
        .unwrap()
        .text();
    assert!(one.starts_with("[2] step 2\n"), "{one}");
}

#[test]
fn more_cells_than_there_is_room_for() {
    let mut ledger = Ledger::new();
    (1..=CELLS as u64 + 3).for_each(|count| ledger.add(bare(count)));
    let text = Plot::of(&ledger, None).unwrap().text();
    assert!(
        text.starts_with("cells 4 to 43: 40 tracked cells\nthe latest 40: there is no room for 3"),
        "{text}"
    );
}

#[test]
fn cells_that_were_not_tracked_are_no_picture() {
    let error = Plot::of(&Ledger::new(), None).err().unwrap();
    assert_eq!(error, PlotError::NothingTracked);
    assert!(error.to_string().contains("Put %memtrack above the code"));
    let error = Plot::of(&session(), Some("12:14".parse().unwrap()))
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("Tracked in this session: 1 to 10."),
        "{error}"
    );
}

#[test]
fn the_table_shows_how_it_went_where_the_record_tells() {
    let mut record = normal();
    assert!(!text::render(&Table::of_record(&record, false)).contains("over time"));
    record.timeline = Some(timeline(&record, 40));
    let table = Table::of_record(&record, false);
    assert_snapshot!("timeline_text", text::render(&table));
    let drawn = html::render(&table);
    assert!(
        drawn.contains("▁") && drawn.contains("font-family:monospace"),
        "{drawn}"
    );
}

fn well_formed(svg: &str) -> Result<(), TestCaseError> {
    let document = roxmltree::Document::parse(svg);
    let document = document.map_err(|error| TestCaseError::fail(format!("{error}: {svg}")))?;
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        prop_assert!(node.tag_name().name() != "script", "{svg}");
        for attribute in node.attributes() {
            let coordinate = matches!(
                attribute.name(),
                "x" | "y" | "width" | "height" | "cx" | "cy" | "d" | "viewBox"
            );
            prop_assert!(!coordinate || !attribute.value().contains("NaN"), "{svg}");
            prop_assert!(!coordinate || !attribute.value().contains("inf"), "{svg}");
        }
    }
    Ok(())
}

#[test]
fn odd_records_give_pictures_too() {
    for record in [bare(0), killed(), unknown(), huge(), gpus()] {
        for looks in [0, 1, 50] {
            let (svg, text) = plot(&record, looks);
            well_formed(&svg).unwrap();
            assert!(
                text.lines().all(|line| line.width() <= text::WIDTH),
                "{text}"
            );
        }
    }
}

fn sizes() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(prop_oneof![any::<u64>(), 0..GIB])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_picture_is_well_formed_and_harmless(
        label in prop_oneof![any::<String>(), Just("</text><script>alert(1)</script> & \"'".into())],
        values in prop::collection::vec(sizes(), 6),
        samples in prop::collection::vec((any::<f64>(), sizes()), 0..40),
        run in proptest::option::of(any::<f64>()),
        several in any::<bool>(),
    ) {
        let mut record = gpus();
        record.cell.label = Some(label.clone());
        record.cell.cause = Some(label.clone());
        record.cell.status = CellStatus::Panic;
        for (row, values) in record.rows.iter_mut().zip(values.iter().cycle().zip(values.iter().rev().cycle())) {
            let (before, after) = (*values.0, *values.1);
            (row.before, row.peak, row.after) = (before, before.max(after), after);
            row.peak_method = Some(label.clone());
            if let Some(device) = &mut row.device { device.name.clone_from(&label) }
        }
        record.duration_s.run = run;
        let timeline = Timeline {
            t: samples.iter().map(|(t, _)| *t).collect(),
            series: record.rows.iter().map(|row| (key_of(row), samples.iter().map(|(_, value)| *value).collect())).collect(),
        };
        let mut cells = vec![(&record, Some(&timeline))];
        if several { cells.push((&record, None)) }
        let plot = Plot::new(cells);
        well_formed(&plot.svg())?;
        for line in plot.text().lines() {
            prop_assert!(line.width() <= text::WIDTH, "{} columns: {line}", line.width());
        }
        let mut with_samples = record.clone();
        with_samples.timeline = Some(timeline.clone());
        for line in text::render(&Table::of_record(&with_samples, false)).lines() {
            prop_assert!(line.width() <= text::WIDTH, "{} columns: {line}", line.width());
        }
    }
}

#[test]
fn a_record_with_samples_is_valid_against_the_schema() {
    let schema = include_str!("../../tests/record.schema.json");
    let validator = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
    let mut record = gpus();
    record.timeline = Some(timeline(&record, 9));
    let mut json = serde_json::to_value(&record).unwrap();
    assert!(validator.is_valid(&json));
    assert_eq!(
        serde_json::from_value::<Record>(json.clone()).unwrap(),
        record
    );
    // Others may add what they like, but not change what a row's samples are.
    json["timeline"]["step_s"] = 0.01.into();
    assert!(validator.is_valid(&json));
    let key = key_of(record.rows_of(Memory::Ram, Scope::Process).next().unwrap());
    json["timeline"][&key][0] = (-1).into();
    assert!(!validator.is_valid(&json));
}
