"""Where the heap is not counted, its row says why, and the other rows are as always."""

import pytest

from kernel_session import MiB, Session

HELD = "%memtrack\n{ let block = vec![1u8; 64 << 20]; std::hint::black_box(&block); }"


def assert_heap_is_empty(record):
    heap = record.row("heap")
    assert [heap[column] for column in ("before", "peak", "after")] == [None, None, None]
    assert not heap["exact"]
    assert 63 * MiB <= record.rise("ram") <= 65 * MiB
    return heap["unavailable"]


def test_counting_is_turned_off():
    with Session(env={"MEMTRACK_HEAP": "0"}) as session:
        result = session.ok(HELD)
        assert "MEMTRACK_HEAP" in assert_heap_is_empty(result.record)
        assert "MEMTRACK_HEAP" in result.bundles[0]["text/plain"]


def test_a_global_allocator_is_not_counted(kernel):
    own = """
        struct Own;
        unsafe impl std::alloc::GlobalAlloc for Own {
            unsafe fn alloc(&self, layout: std::alloc::Layout) -> *mut u8 {
                unsafe { std::alloc::System.alloc(layout) }
            }
            unsafe fn dealloc(&self, block: *mut u8, layout: std::alloc::Layout) {
                unsafe { std::alloc::System.dealloc(block, layout) }
            }
        }
        #[global_allocator]
        static OWN: Own = Own;
    """
    counted = kernel.ok(HELD).record
    assert 64 * MiB <= counted.rise("heap") < 65 * MiB
    head, body = HELD.split("\n")
    result = kernel.execute(f"{head}\n{own}\n{body}")
    reason = assert_heap_is_empty(result.record)
    assert "global_allocator" in reason


@pytest.mark.parametrize("value", ["1", ""])
def test_other_values_leave_it_on(value):
    with Session(env={"MEMTRACK_HEAP": value}) as session:
        assert 64 * MiB <= session.ok(HELD).record.rise("heap") < 65 * MiB
