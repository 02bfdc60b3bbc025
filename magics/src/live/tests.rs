use super::*;
use crate::capture::{HeapNote, Watcher, WorkEnd};

const MIB: u64 = 1 << 20;

fn own_capture(watcher: &Watcher) -> crate::capture::Capture<'_> {
    watcher.start(std::process::id() as i32)
}

fn row<'a>(look: &'a Look, label: &str) -> &'a LiveRow {
    look.rows.iter().find(|row| row.label == label).unwrap()
}

#[test]
fn a_look_follows_the_work() {
    let page = Arc::new(PageMapping::create().unwrap());
    page.page().clear();
    let watcher = Watcher::new(Arc::clone(&page));
    let capture = own_capture(&watcher);
    let view = capture.live_view(&HeapNote::default());

    let look = view.now();
    assert_eq!((look.stage, look.run_s), (Stage::Compiling, None));
    assert_eq!(row(&look, "process RAM").highest, None, "nothing ran yet");

    page.page().runs.fetch_add(1, Relaxed);
    page.page()
        .started_ns
        .store(crate::page::monotonic_ns(), Relaxed);
    page.page().set_phase(Phase::Running);
    let before = row(&view.now(), "process RAM").now.unwrap();
    let held = std::hint::black_box(vec![1u8; 64 << 20]);
    let look = view.now();
    assert_eq!(look.stage, Stage::Running);
    assert!(look.run_s.is_some());
    let process = row(&look, "process RAM");
    // Other tests may free a little in this process meanwhile.
    assert!(process.now.unwrap() >= before + 56 * MIB, "{process:?}");
    assert!(process.highest >= process.now, "{process:?}");
    drop(held);
    let system = row(&look, "system RAM");
    assert!(system.highest >= system.now && system.now <= system.limit);

    // A new process that begins to count from 0 does not bring the compiler back.
    page.page().clear();
    assert_eq!(view.now().stage, Stage::Ending);
    capture.finish(WorkEnd::NeverRan, HeapNote::default());
}

fn look() -> Look {
    let row = |label: &str, now, highest, limit, how: &str| LiveRow {
        label: label.into(),
        now: Some(now),
        highest,
        limit,
        how: how.into(),
    };
    let system = "sampled every 10 ms, container limit (cgroup v2)";
    Look {
        stage: Stage::Running,
        elapsed_s: 14.25,
        run_s: Some(12.3),
        rows: vec![
            row(
                "process RAM",
                1200 * MIB,
                Some(1650 * MIB),
                Some(2048 * MIB),
                "kernel high-water mark",
            ),
            row("heap", 1100 * MIB, Some(1600 * MIB), None, "allocator"),
            row(
                "system RAM",
                1300 * MIB,
                Some(1700 * MIB),
                Some(2048 * MIB),
                system,
            ),
            row(
                "GPU 0 device",
                3 << 30,
                Some(3 << 30),
                Some(16 << 30),
                "sampled every 5 ms",
            ),
        ],
    }
}

#[test]
fn a_look_is_drawn() {
    insta::assert_snapshot!("live_text", crate::text::render(&look().table("[3] train")));
    insta::assert_snapshot!("live_line", look().line("[3]", 200));
}

#[test]
fn a_line_fits_and_keeps_whole_parts() {
    for width in 1..200 {
        let line = look().line("[3]", width);
        let shortest = "[3] running 12.3 s".len();
        assert!(line.chars().count() <= width.max(shortest), "{line}");
        assert!(look().line("[3]", 200).starts_with(&line), "{line}");
    }
}

#[test]
fn what_is_not_known_is_not_a_number() {
    let mut look = look();
    look.rows.truncate(1);
    (look.rows[0].now, look.rows[0].highest) = (None, None);
    assert_eq!(look.line("[3]", 100), "[3] running 12.3 s");
    let text = crate::text::render(&look.table("[3]"));
    assert!(text.contains("—") && !text.contains(" 0 "), "{text}");
}

#[test]
fn a_bar_is_as_full_as_the_limit() {
    let bar = |now, limit| {
        bar(&LiveRow {
            label: String::new(),
            now,
            highest: None,
            limit,
            how: String::new(),
        })
    };
    assert_eq!(bar(Some(0), Some(100)).unwrap(), "░░░░░░░░░░ 0.0 %");
    assert_eq!(bar(Some(50), Some(100)).unwrap(), "█████░░░░░ 50.0 %");
    // More than there is happens: a limit may be lowered.
    assert!(
        bar(Some(120), Some(100))
            .unwrap()
            .starts_with("██████████ ")
    );
    assert_eq!(bar(None, Some(100)), None);
    assert_eq!(bar(Some(1), None), None);
    assert_eq!(bar(Some(1), Some(0)), None);
}
