use super::*;
use crate::death::End;

const MIB: u64 = 1 << 20;

fn held() -> Held {
    Held {
        limit: Some(512 * MIB),
        whose: "the container (cgroup v1)".into(),
        is_container: true,
        address_space: None,
        system: Some(500 * MIB),
        process: Some(Resident::Exact(400 * MIB)),
        heap: Some(380 * MIB),
        heap_peak: Some(390 * MIB),
        compiler: Some(160 * MIB),
        kernel: Some(95 * MIB),
    }
}

fn place(held: Held, out_of_memory: bool) -> Place<'static> {
    Place {
        cell_name: "In [3]",
        code: "",
        typed: None,
        compiled: None,
        out_of_memory,
        held,
        has_run: true,
    }
}

#[test]
fn a_killed_process_says_what_was_held_and_what_the_limit_was() {
    assert_eq!(
        process(&place(held(), true)).lines().collect::<Vec<_>>(),
        [
            "the system killed it for lack of memory (SIGKILL) while In [3] ran; the limit of the \
             container (cgroup v1) is 512 MiB.",
            "The process that ran the cell held 400 MiB of RAM at most, 380 MiB of heap when it \
             ended, touched or not, 390 MiB of heap at most.",
            "Beside it: the kernel itself 95.0 MiB, the compiler, before the cell ran, 160 MiB.",
            "What helps: drop what is no longer needed before the cell, work in smaller pieces, or \
             give the container more memory. %memtrack above a cell shows where memory goes.",
        ]
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let text = process(&place(Held::default(), true));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("0 B") && !text.contains("limit"), "{text}");
    assert!(!Held::default().was_close());
}

#[test]
fn a_kill_from_outside_is_perhaps_for_memory_only_where_it_was_nearly_full() {
    let death = Death {
        end: End::Signal(libc::SIGKILL),
        max_rss: None,
    };
    assert!(held().was_close());
    let text = perhaps(&death, &place(held(), false));
    assert!(
        text.starts_with(
            "killed from outside (SIGKILL), perhaps for lack of memory: while In [3] ran, 97 % of \
             512 MiB were in use."
        ),
        "{text}"
    );
    let far = Held {
        system: Some(300 * MIB),
        ..held()
    };
    assert!(!far.was_close());
}

#[test]
fn a_failed_allocation_says_its_size_and_the_limit_it_met() {
    let limited = Held {
        address_space: Some(4 << 30),
        ..held()
    };
    let text = allocation(16 << 30, &place(limited, false));
    assert!(
        text.starts_with(
            "In [3] asked for 16.0 GiB (17179869184 bytes) at once, which the system refused"
        ),
        "{text}"
    );
    assert!(
        text.contains("address space: 4.00 GiB (ulimit -v)"),
        "{text}"
    );
    assert!(text.contains("380 MiB of heap"), "{text}");
}

#[test]
fn a_killed_compiler_is_told_from_wrong_code() {
    let rustc = "error: could not compile `ctx` (lib)\n\nCaused by:\n  process didn't exit \
                 successfully: `rustc --crate-name ctx` (signal: 9, SIGKILL: kill)";
    let hidden = "Caused by:\n  process didn't exit successfully: `rustc` (exit status: 255)";
    assert!(says_rustc_was_killed(rustc, false));
    assert!(says_rustc_was_killed(hidden, true));
    assert!(!says_rustc_was_killed(hidden, false));
    assert!(!says_rustc_was_killed("mismatched types: SIGKILL", true));
    assert!(says_linker_was_killed(
        "linking with `cc` failed: exit status: 1",
        "collect2: fatal error: ld terminated with signal 9 [Killed]"
    ));
    // The words stand in the user's own code.
    assert!(!says_linker_was_killed(
        "cannot find value `x`",
        "println!(\"terminated with signal 9\", x)"
    ));
}

#[test]
fn a_killed_compiler_says_that_nothing_ran() {
    let text = compiler(&place(held(), true));
    assert!(
        text.contains("killed the compiler for lack of memory"),
        "{text}"
    );
    assert!(text.contains("The cell did not run."), "{text}");
    assert!(
        text.contains("Seen of the compiler: at most 160 MiB."),
        "{text}"
    );
    let unknown = compiler(&place(Held::default(), false));
    assert!(
        unknown.contains("often that is for lack of memory"),
        "{unknown}"
    );
}

#[test]
fn a_maximum_of_the_process_s_life_is_not_called_this_run_s() {
    let page = memtrack::page::PageMapping::create().unwrap();
    let page = page.page();
    page.clear();
    let death = |max_rss| {
        Some(Death {
            end: End::Signal(libc::SIGKILL),
            max_rss: Some(max_rss),
        })
    };
    let seen = |children| {
        Some(Samples {
            worker_high_water: Some(5),
            children: Some(children),
            ..Samples::default()
        })
    };
    assert_eq!(resident(page, None, death(9)), Some(Resident::OfLife(9)));
    memtrack::page::put(&page.before.max_rss, Some(7));
    assert_eq!(resident(page, seen(0), death(9)), Some(Resident::Exact(9)));
    // Not raised by this run, or perhaps by a child.
    assert_eq!(resident(page, seen(0), death(7)), Some(Resident::Seen(5)));
    assert_eq!(resident(page, seen(1), death(9)), Some(Resident::Seen(5)));
    // The mark that the dying process left behind is the best.
    memtrack::page::put(&page.after.high_water, Some(6));
    assert_eq!(resident(page, seen(1), death(9)), Some(Resident::Seen(5)));
    page.high_water_reset.store(1, Relaxed);
    assert_eq!(resident(page, seen(1), death(9)), Some(Resident::Exact(6)));
}
