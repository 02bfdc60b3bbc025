use super::*;
use crate::page::PageMapping;

fn counters() -> &'static HeapCounters {
    let page = PageMapping::create().unwrap().leak();
    page.clear();
    &page.heap
}

#[test]
fn a_spike_between_two_flushes_is_in_the_peak() {
    let heap = counters();
    let slot = heap.claim().unwrap();
    heap.add(slot, 1000);
    heap.reset_peak();
    heap.add(slot, 300);
    heap.add(slot, -300);
    assert_eq!((heap.read().live, heap.read().peak), (1000, 1300));
}

#[test]
fn one_thread_is_exact_over_any_sequence() {
    let heap = counters();
    let slot = heap.claim().unwrap();
    let (mut live, mut peak, mut step) = (0_i64, 0_i64, 12_345_u64);
    for _ in 0..100_000 {
        step = step.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let bytes = (step >> 47) as i64;
        let change = if live > bytes && step % 2 == 0 {
            -bytes
        } else {
            bytes
        };
        live += change;
        peak = peak.max(live);
        heap.add(slot, change);
        assert_eq!((heap.read().live, heap.read().peak), (live, peak));
    }
    assert_eq!(peak_error(heap.threads()), 0);
}

#[test]
fn quiet_threads_pending_bytes_are_in_anothers_peak() {
    let heap = counters();
    let (first, second) = (heap.claim().unwrap(), heap.claim().unwrap());
    heap.add(first, FLUSH_BYTES - 1);
    heap.add(second, 1 << 20);
    heap.add(second, -(1 << 20));
    heap.add(first, 1 - FLUSH_BYTES);
    assert_eq!(heap.read().live, 0);
    assert_eq!(heap.read().peak, (1 << 20) + FLUSH_BYTES - 1);
    assert_eq!(peak_error(heap.threads()), 2 * FLUSH_BYTES as u64);
}

#[test]
fn threads_with_large_blocks_never_show_more_than_they_held() {
    const BLOCK: i64 = 20 << 20;
    const THREADS: usize = 4;
    let heap = counters();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let slot = heap.claim().unwrap();
            scope.spawn(move || {
                for _ in 0..200_000 {
                    heap.add(slot, BLOCK);
                    heap.add(slot, 48);
                    heap.add(slot, -48);
                    heap.add(slot, -BLOCK);
                }
            });
        }
    });
    let most = THREADS as i64 * BLOCK + peak_error(THREADS) as i64;
    assert_eq!(heap.read().live, 0);
    assert!(
        (BLOCK..=most).contains(&heap.read().peak),
        "{:?}",
        heap.read()
    );
}

#[test]
fn a_released_slot_is_used_again_and_its_counts_stay() {
    let heap = counters();
    let slot = heap.claim().unwrap();
    heap.add(slot, 500);
    slot.allocations.store(7, Relaxed);
    heap.release(slot);
    let again = heap.claim().unwrap();
    assert!(std::ptr::eq(slot, again));
    assert_eq!(heap.read().live, 500);
    assert_eq!(heap.read().allocations, 7);
}

#[test]
fn only_threads_that_counted_since_are_told() {
    let heap = counters();
    let (first, second) = (heap.claim().unwrap(), heap.claim().unwrap());
    heap.add(first, 100);
    let before = heap.activity();
    assert_eq!(heap.threads_since(&before), 0);
    heap.add(second, 100);
    assert_eq!(heap.threads_since(&before), 1);
    let third = heap.claim().unwrap();
    heap.add(third, -100);
    assert_eq!(heap.threads_since(&before), 2);
}

#[test]
fn there_is_a_place_for_more_threads_than_slots() {
    let heap = counters();
    let claimed: Vec<_> = std::iter::from_fn(|| heap.claim()).collect();
    assert_eq!(claimed.len(), SLOTS);
    heap.add_shared(4096, 1, 4096);
    assert_eq!((heap.read().live, heap.read().peak), (4096, 4096));
    assert_eq!(heap.read().allocations, 1);
}
