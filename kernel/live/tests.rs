use super::*;
use memtrack::capture::{HeapNote, Watcher, WorkEnd};
use memtrack::page::PageMapping;

/// Keeps what is shown.
#[derive(Default)]
struct Shown(Mutex<Vec<Output>>);

impl FrontEnd for Shown {
    fn show(&self, output: Output) {
        self.0.lock().unwrap().push(output);
    }

    fn ask(&self, _: &str, _: bool) -> Result<String, String> {
        Err("nobody is here".into())
    }
}

/// What is shown of work of this length, and after it.
fn shown_of(length: Duration) -> Vec<Output> {
    let shown = Arc::new(Shown::default());
    let front_end: Arc<dyn FrontEnd> = shown.clone();
    let page = Arc::new(PageMapping::create().unwrap());
    page.page().clear();
    let watcher = Watcher::new(page);
    let live = Live::start(&front_end);
    let capture = watcher.start(std::process::id() as i32);
    live.watch("[1]".into(), capture.live_view(&HeapNote::default()));
    std::thread::sleep(length);
    live.pause();
    capture.finish(WorkEnd::NeverRan, HeapNote::default());
    live.finish(html_bundle("the table", "<table>"));
    std::thread::sleep(2 * RENEW);
    std::mem::take(&mut *shown.0.lock().unwrap())
}

#[test]
fn a_display_begins_late_and_becomes_the_table() {
    let shown = shown_of(FIRST_AFTER + 6 * RENEW);
    assert!(shown.len() >= 4, "{shown:?}");
    let mut ids = Vec::new();
    for (index, output) in shown.iter().enumerate() {
        let Output::Updating {
            id,
            again,
            last,
            bundle,
        } = output
        else {
            panic!("{output:?}");
        };
        ids.push(id);
        assert_eq!(*again, index > 0);
        assert_eq!(
            *last,
            index + 1 == shown.len(),
            "something came after the table"
        );
        let text = bundle["text/plain"].as_str().unwrap();
        assert_eq!(text.contains("compiling"), !last, "{text}");
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn work_that_is_over_at_once_has_its_table_only() {
    let shown = shown_of(Duration::from_millis(20));
    assert!(
        matches!(&shown[..], [Output::Display(bundle)] if bundle["text/plain"] == "the table"),
        "{shown:?}"
    );
}

#[test]
fn displays_of_two_cells_are_two() {
    let front_end: Arc<dyn FrontEnd> = Arc::new(Shown::default());
    let (one, other) = (Live::start(&front_end), Live::start(&front_end));
    assert_ne!(one.display_id, other.display_id);
}
