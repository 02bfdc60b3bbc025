//! The reset of a process's high-water mark, in a process of its own: a mark is the whole
//! process's, so tests beside this one would disturb it.

use std::hint::black_box;
use std::thread::sleep;
use std::time::Duration;

use memtrack::probe::host::{ProcessProbe, max_rss_self};

const MIB: u64 = 1 << 20;

/// Holds `size` touched bytes for `time`, and lets them go.
fn hold(size: u64, time: Duration) {
    let block = black_box(vec![1u8; size as usize]);
    sleep(time);
    drop(black_box(block));
}

#[test]
fn each_peak_is_seen_alone_and_a_larger_one_before_is_forgotten() {
    let probe = ProcessProbe::this_process().unwrap();
    hold(512 * MIB, Duration::ZERO);
    assert!(probe.read().unwrap().high_water.unwrap() >= 512 * MIB);

    for size in [8 * MIB, 64 * MIB, 256 * MIB] {
        probe.reset_high_water().unwrap();
        let before = probe.read().unwrap();
        hold(size, Duration::from_millis(1));
        let peak = probe.read().unwrap().high_water.unwrap();
        let error = peak.abs_diff(before.rss + size);
        assert!(error <= MIB / 2, "{size} B were held: off by {error} B");
    }
    // The lifetime maximum cannot be reset.
    assert!(
        max_rss_self().unwrap() < 512 * MIB,
        "raised by nothing after the reset"
    );
}
