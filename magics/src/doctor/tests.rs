use super::*;
use serde_json::json;

fn memory(high_water: Option<u64>, swap: Option<u64>) -> ProcessMemory {
    ProcessMemory {
        rss: 1 << 20,
        high_water,
        split: crate::record::Split {
            anon: None,
            file: None,
            shmem: None,
            swap,
        },
        threads: None,
    }
}

fn some_environment() -> Environment {
    Environment::from_facts(json!({
        "os": "Some <Linux>",
        "cpu": "a processor with a name that goes on and on ".repeat(6),
        "ram_bytes": 1u64 << 30,
    }))
}

#[test]
fn on_linux_the_peak_is_exact() {
    let checks = host_checks(None, Some(true));
    let status = |name| {
        checks
            .iter()
            .find(|check| check.name == name)
            .unwrap()
            .status
    };
    for name in [
        "process RAM",
        "exact RAM peak",
        "heap",
        "child processes",
        "system RAM",
    ] {
        assert_eq!(status(name), CheckStatus::Ok, "{name}");
    }
}

#[test]
fn a_child_that_is_gone_is_missing_and_says_why() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let checks = host_checks(Some(child.id() as i32), None);
    assert_eq!(checks[0].status, CheckStatus::Missing);
    assert!(
        checks[0].detail.contains("has ended"),
        "{}",
        checks[0].detail
    );
}

#[test]
fn what_limits_the_peak_is_told_with_a_way_out() {
    let denied = peak_ram(
        &memory(Some(1), None),
        Err(ProbeError::ResetDenied { pid: 7 }),
    );
    let gvisor = peak_ram(&memory(None, None), Err(ProbeError::ResetMissing));
    let no_mark = peak_ram(&memory(None, None), Ok(()));
    for check in [denied, gvisor, no_mark] {
        assert_eq!(check.status, CheckStatus::Limited);
        assert!(check.fix.is_some(), "{check:?}");
    }
    assert_eq!(
        peak_ram(&memory(Some(1), None), Ok(())).status,
        CheckStatus::Ok
    );
}

#[test]
fn an_unknown_swap_is_not_no_swap() {
    assert_eq!(
        swap(&memory(None, None), Some(0)).status,
        CheckStatus::Missing
    );
    assert!(
        swap(&memory(None, Some(0)), Some(0))
            .detail
            .contains("none")
    );
    assert!(
        swap(&memory(None, Some(0)), Some(1 << 30))
            .detail
            .contains("1.00 GiB")
    );
}

#[test]
fn a_heap_that_is_off_tells_how_to_turn_it_on() {
    assert!(heap(Some(false)).fix.unwrap().contains("MEMTRACK_HEAP"));
    assert_eq!(heap(None).status, CheckStatus::Limited);
}

#[test]
fn the_text_fits_100_columns_and_names_all_checks() {
    let mut checks = host_checks(None, Some(false));
    checks.push(peak_ram(&memory(None, None), Err(ProbeError::ResetMissing)));
    let text = render_text(&checks, &some_environment());
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= WIDTH, "{text}");
    assert!(
        checks
            .iter()
            .all(|check| text.contains(check.name.as_ref())),
        "{text}"
    );
    assert!(text.contains(&some_environment().id));
}

#[test]
fn the_html_escapes_what_the_machine_says_and_has_no_script() {
    let html = render_html(&host_checks(None, Some(true)), &some_environment()).into_string();
    assert!(html.contains("Some &lt;Linux&gt;") && !html.contains("<Linux>"));
    assert!(html.contains("child processes"));
    assert!(!html.contains("<script") && !html.contains("<style"));
}
