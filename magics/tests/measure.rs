//! Measuring work of an ordinary program, whose allocator reports its calls.

use std::hint::black_box;
use std::io::ErrorKind;
use std::panic::catch_unwind;

use memtrack::heap::CountingAllocator;
use memtrack::measure::measure;
use memtrack::record::{Memory, Record, Row, Scope};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const MIB: u64 = 1 << 20;

fn row(record: &Record, memory: Memory) -> Row {
    record
        .rows_of(memory, Scope::Process)
        .next()
        .unwrap()
        .clone()
}

#[test]
fn a_spike_and_what_is_kept_are_told_apart() {
    let (kept, record) = measure("64 MiB, of which 16 stay", || {
        drop(black_box(vec![1_u8; 48 << 20]));
        vec![1_u8; 16 << 20]
    })
    .unwrap();
    assert_eq!(
        record.cell.label.as_deref(),
        Some("64 MiB, of which 16 stay")
    );
    assert!(record.duration_s.compile.is_none());
    assert!(record.environment.facts.is_some());
    let heap = row(&record, Memory::Heap);
    // The thread that samples begins in this process: the peak may be marked as within 64 KiB.
    assert!(heap.peak_method.unwrap().starts_with("allocator"));
    let rise = heap.peak.unwrap() - heap.before.unwrap();
    assert!(rise.abs_diff(48 * MIB) < 64 * 1024, "rose by {rise} B");
    let stays = heap.after.unwrap() - heap.before.unwrap();
    assert!(stays.abs_diff(16 * MIB) < 64 * 1024, "{stays} B stay");
    let ram = row(&record, Memory::Ram);
    assert!(ram.exact, "{:?}", ram.unavailable);
    let rise = ram.peak.unwrap() - ram.before.unwrap();
    assert!(rise.abs_diff(48 * MIB) < MIB, "RAM rose by {rise} B");
    drop(kept);

    // The next piece of work sees nothing of the one before.
    let ((), record) = measure("nothing", || ()).unwrap();
    assert_eq!(record.cell.execution_count, 2);
    assert!(record.environment.facts.is_none());
    let heap = row(&record, Memory::Heap);
    assert_eq!(heap.kept(), Some(0));
    assert_eq!(heap.peak, heap.after);
}

#[test]
fn a_measurement_within_another_is_refused() {
    let (inner, outer) = measure("outer", || measure("inner", || ())).unwrap();
    assert_eq!(inner.unwrap_err().kind(), ErrorKind::Other);
    assert_eq!(outer.cell.label.as_deref(), Some("outer"));
}

#[test]
fn a_panic_reaches_the_caller_and_later_work_is_measured() {
    assert!(catch_unwind(|| measure("panics", || panic!("on purpose"))).is_err());
    let (block, record) = measure("after it", || vec![1_u8; 1 << 20]).unwrap();
    let heap = row(&record, Memory::Heap);
    assert!(heap.kept().unwrap() >= block.len() as i64);
}
