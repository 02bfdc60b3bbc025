"""The numbers, against cells that hold a known number of bytes for a known time."""

import pytest

from kernel_session import GiB, KiB, MiB, Session

# What glibc adds to a block: 16 bytes of header and, for a block with a mapping of its own, up to
# a page; `malloc_usable_size`, which the counters use, shows both.
ROUNDING = 4 * KiB + 64
# What evcxr's generated code around a cell allocates: names of variables, boxes for their values.
BOOKKEEPING = 4 * KiB
# The same code frees, before it comes to the user's, a little that the cell before left behind:
# that was live in `before` and is not any more at the peak.
LEFT_BEFORE = 512
# What std allocates for a thread: its name, its handle, the closure, glibc's table of
# thread-locals.
PER_THREAD = 4 * KiB

# Defined once, used by all cells below. Two things would make the truth unknown. Huge pages, with
# which a stack or a mapping holds up to 2 MiB more than the program touched: turned off
# (PR_SET_THP_DISABLE). And glibc's habit of keeping large blocks after the first was freed: a block
# that falls into memory still resident does not raise the resident set, and rightly so. A fixed
# threshold (M_MMAP_THRESHOLD) gives every large block a mapping of its own.
SETUP = """
use std::{hint::black_box, thread, time::Duration};
fn hold<T: ?Sized>(value: &T, ms: u64) {
    black_box(value);
    thread::sleep(Duration::from_millis(ms));
    black_box(value);
}
unsafe extern "C" {
    fn mmap(address: *mut u8, length: usize, access: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(address: *mut u8, length: usize) -> i32;
    fn prctl(option: i32, a: usize, b: usize, c: usize, d: usize) -> i32;
    fn mallopt(parameter: i32, value: i32) -> i32;
    fn free(block: *mut u8);
    fn malloc(size: usize) -> *mut u8;
    fn realloc(block: *mut u8, size: usize) -> *mut u8;
    fn reallocarray(block: *mut u8, count: usize, size: usize) -> *mut u8;
    fn aligned_alloc(alignment: usize, size: usize) -> *mut u8;
    fn posix_memalign(result: *mut *mut u8, alignment: usize, size: usize) -> i32;
    fn strdup(text: *const i8) -> *mut i8;
}
/// A mapping with every byte written: private (flags 0x22) or shared (0x21).
fn mapping(length: usize, flags: i32) -> *mut u8 {
    unsafe {
        let block = mmap(std::ptr::null_mut(), length, 3, flags, -1, 0);
        assert!(block as isize != -1);
        block.write_bytes(1, length);
        block
    }
}
#[inline(never)]
fn frames(left: usize, ms: u64) {
    let mut frame = [1u8; 65536];
    black_box(&mut frame);
    if left > 1 { frames(left - 1, ms) } else { hold(&frame, ms) }
    black_box(&frame);
}
assert_eq!(unsafe { prctl(41, 1, 0, 0, 0) }, 0);
assert_eq!(unsafe { mallopt(-3, 128 << 10) }, 1);
"""

HEAP = "{{ let block = vec![1u8; {size}]; hold(&block, {ms}); }}"
MMAP = "{{ let block = mapping({size}, 0x22); hold(&block, {ms}); unsafe {{ munmap(block, {size}); }} }}"
SHARED = "{{ let block = mapping({size}, 0x21); hold(&block, {ms}); unsafe {{ munmap(block, {size}); }} }}"
STACK = """thread::Builder::new().stack_size({size} + (2 << 20))
    .spawn(|| frames({size} / 65536, {ms})).unwrap().join().unwrap();"""
THREADS = """{{
    let all_hold = std::sync::Barrier::new(8);
    thread::scope(|scope| for _ in 0..8 {{
        scope.spawn(|| {{
            let block = vec![1u8; {size} / 8];
            all_hold.wait();
            hold(&block, {ms});
            all_hold.wait();
        }});
    }});
}}"""


@pytest.fixture(scope="module")
def kernel():
    with Session() as session:
        session.warm_up().ok(SETUP)
        yield session


@pytest.fixture
def tracked(kernel):
    """Runs a tracked cell, which must succeed, and returns its record."""
    return lambda code: kernel.ok("%memtrack\n" + code).record


def assert_about(measured, truth):
    """The resident set's promise: within 1 % or 0.5 MiB, whichever is more."""
    assert abs(measured - truth) <= max(truth / 100, MiB / 2), (
        f"{measured / MiB:.2f} MiB measured, {truth / MiB:.2f} MiB held"
    )


def assert_bytes(measured, truth, more):
    """The heap's promise: to the byte, plus `more` that the allocator and evcxr's code add."""
    assert truth - LEFT_BEFORE <= measured <= truth + more, (
        f"{measured} measured, {truth} true, {more} allowed"
    )


@pytest.mark.parametrize("ms", [1, 10, 100])
@pytest.mark.parametrize("size", [8 * MiB, 64 * MiB, 256 * MiB, GiB], ids=lambda n: f"{n >> 20}MiB")
class TestHeld:
    def test_heap(self, tracked, size, ms):
        record = tracked(HEAP.format(size=size, ms=ms))
        assert_about(record.rise("ram"), size)
        assert record.row("ram")["exact"]
        assert_bytes(record.rise("heap"), size, ROUNDING + BOOKKEEPING)
        assert record.row("heap")["exact"] and record.row("heap")["peak_method"] == "allocator"
        assert abs(record.kept("heap")) <= BOOKKEEPING
        assert record.json["duration_s"]["run"] >= ms / 1000

    def test_mapping(self, tracked, size, ms):
        record = tracked(MMAP.format(size=size, ms=ms))
        assert_about(record.rise("ram"), size)
        assert_bytes(record.rise("heap"), 0, BOOKKEEPING)

    def test_shared_memory(self, tracked, size, ms):
        record = tracked(SHARED.format(size=size, ms=ms))
        assert_about(record.rise("ram"), size)
        assert_bytes(record.rise("heap"), 0, BOOKKEEPING)

    def test_stack(self, tracked, size, ms):
        record = tracked(STACK.format(size=size, ms=ms))
        assert_about(record.rise("ram"), size)
        assert_bytes(record.rise("heap"), 0, PER_THREAD + BOOKKEEPING)

    def test_eight_threads(self, tracked, size, ms):
        record = tracked(THREADS.format(size=size, ms=ms))
        assert_about(record.rise("ram"), size)
        # Threads that allocate at the same time: the row must tell its bound, and keep it.
        heap = record.row("heap")
        bound = 0 if heap["exact"] else int(heap["peak_method"].split()[-2]) * KiB
        assert bound <= MiB / 2
        assert_bytes(record.rise("heap") + bound, size, bound + 8 * (ROUNDING + PER_THREAD) + BOOKKEEPING)
        assert abs(record.kept("heap")) <= 8 * PER_THREAD + BOOKKEEPING


def test_an_empty_cell_used_nothing(tracked):
    record = tracked("();")
    assert record.rise("ram") <= MiB / 2
    assert_bytes(record.rise("heap"), 0, BOOKKEEPING)
    assert record.row("ram", "children") is None
    assert record.json["overhead"]["compiler_peak_rss"] > 20 * MiB
    assert record.json["overhead"]["kernel_rss"] > 20 * MiB


def test_an_earlier_peak_is_not_in_the_next_cell(tracked):
    assert tracked(HEAP.format(size=256 * MiB, ms=1)).rise("heap") >= 256 * MiB
    record = tracked("();")
    assert record.rise("ram") <= MiB / 2
    assert record.rise("heap") <= BOOKKEEPING


def test_untouched_memory_is_heap_and_not_ram(tracked):
    record = tracked("let untouched = vec![0u8; 1 << 30];")
    assert_bytes(record.rise("heap"), GiB, ROUNDING + BOOKKEEPING)
    assert_bytes(record.kept("heap"), GiB, ROUNDING + BOOKKEEPING)
    assert record.rise("ram") <= MiB
    freed = tracked("drop(untouched);").kept("heap")
    assert -GiB - ROUNDING - BOOKKEEPING <= freed <= -GiB + BOOKKEEPING


def test_kept_memory_is_anonymous(tracked):
    record = tracked("let kept = vec![1u8; 64 << 20];")
    ram = record.row("ram")
    assert_about(record.kept("ram"), 64 * MiB)
    assert_about(ram["split_after"]["anon"] - ram["split_before"]["anon"], 64 * MiB)
    assert ram["split_after"]["shmem"] - ram["split_before"]["shmem"] <= MiB / 2
    tracked("drop(kept);")


def test_shared_memory_is_told_apart(tracked):
    record = tracked("let shared = mapping(64 << 20, 0x21) as usize;")
    ram = record.row("ram")
    assert_about(ram["split_after"]["shmem"] - ram["split_before"]["shmem"], 64 * MiB)
    assert ram["split_after"]["anon"] - ram["split_before"]["anon"] <= MiB / 2
    gone = tracked("unsafe { munmap(shared as *mut u8, 64 << 20); }")
    assert_about(-gone.kept("ram"), 64 * MiB)


def test_a_spawned_process_has_a_row_of_its_own(kernel):
    # The process says itself what it holds, while it holds it.
    script = (
        "block = b'x' * (64 << 20)\n"
        "import re, time\n"
        "print(re.search(r'VmRSS:\\s+(\\d+) kB', open('/proc/self/status').read())[1], flush=True)\n"
        "time.sleep(0.3)"
    )
    code = f"""%memtrack
    let ended = std::process::Command::new("python3").args(["-c", r##"{script}"##]).status().unwrap();
    assert!(ended.success());"""
    result = kernel.ok(code)
    truth = int(result.stdout) * KiB
    assert truth > 64 * MiB
    record = result.record
    children = record.row("ram", "children")
    assert_about(children["peak"], truth)
    assert (children["before"], children["after"]) == (0, 0)
    assert children["peak_method"].startswith("sampled every") and not children["exact"]
    assert record.rise("ram") <= MiB, "the spawned process was counted as the cell's own"


def test_growth_by_realloc(tracked):
    # One block that grows in place or moves, never two blocks at the same time.
    record = tracked("{ let mut v = vec![1u8; 16 << 20]; v.reserve_exact(48 << 20); hold(&v, 1); }")
    assert_bytes(record.rise("heap"), 64 * MiB, ROUNDING + BOOKKEEPING)
    assert abs(record.kept("heap")) <= BOOKKEEPING
    allocated = record.row("heap")["allocated"]
    assert_bytes(allocated, 64 * MiB, 16 * MiB + 2 * ROUNDING + BOOKKEEPING)


def test_growth_by_push(tracked):
    record = tracked("{ let mut v = Vec::new(); for i in 0..(1u64 << 20) { v.push(i); } hold(&v, 1); }")
    assert_bytes(record.rise("heap"), 8 * MiB, ROUNDING + BOOKKEEPING)
    assert abs(record.kept("heap")) <= BOOKKEEPING


@pytest.mark.parametrize("alignment", [64, 4096, 1 << 16])
def test_aligned_blocks(tracked, alignment):
    record = tracked(f"""unsafe {{
        let layout = std::alloc::Layout::from_size_align(1 << 20, {alignment}).unwrap();
        let blocks: Vec<_> = (0..8).map(|_| std::alloc::alloc(layout)).collect();
        hold(&blocks, 1);
        for block in blocks {{ std::alloc::dealloc(block, layout); }}
    }}""")
    # glibc makes an aligned block from a larger one, and may leave up to the alignment in it.
    assert_bytes(record.rise("heap"), 8 * MiB, 8 * (ROUNDING + alignment) + BOOKKEEPING)
    assert abs(record.kept("heap")) <= BOOKKEEPING


def test_every_entry_of_the_c_allocator(tracked):
    record = tracked("""unsafe {
        let m = 1usize << 20;
        let mut aligned = std::ptr::null_mut();
        assert_eq!(posix_memalign(&mut aligned, 256, m), 0);
        let blocks = [
            malloc(m),
            realloc(std::ptr::null_mut(), m),
            reallocarray(std::ptr::null_mut(), 1024, 1024),
            aligned_alloc(64, m),
            aligned,
        ];
        assert!(blocks.iter().all(|block| !block.is_null()));
        hold(&blocks, 1);
        for block in blocks { free(block); }
    }""")
    assert_bytes(record.rise("heap"), 5 * MiB, 5 * ROUNDING + BOOKKEEPING)
    assert abs(record.kept("heap")) <= BOOKKEEPING
    assert 5 <= record.row("heap")["allocations"] <= 5 + 40


def test_a_c_librarys_blocks_are_counted(tracked):
    record = tracked("""let duplicates: Vec<usize> = unsafe {
        let text = std::ffi::CString::new(vec![b'x'; 1 << 20]).unwrap();
        (0..8).map(|_| strdup(text.as_ptr().cast()) as usize).collect()
    };""")
    assert_bytes(record.kept("heap"), 8 * MiB, 8 * ROUNDING + BOOKKEEPING)
    gone = tracked("for text in duplicates { unsafe { free(text as *mut u8); } }").kept("heap")
    assert gone <= -8 * MiB


def test_free_of_null_counts_nothing(tracked):
    record = tracked("for _ in 0..100_000 { unsafe { free(black_box(std::ptr::null_mut())); } }")
    assert abs(record.kept("heap")) <= BOOKKEEPING
    assert record.row("heap")["allocations"] <= 40


def test_blocks_freed_by_another_thread(tracked):
    record = tracked("""{
        let blocks: Vec<Box<[u8; 1000]>> = (0..20_000).map(|_| Box::new([1; 1000])).collect();
        thread::spawn(move || drop(blocks)).join().unwrap();
    }""")
    # 1000 bytes are handed out as 1000 (8 of the next block's header are usable).
    assert_bytes(record.rise("heap"), 20_000 * 1000, 20_000 * 48 + ROUNDING + 8 * KiB)
    assert abs(record.kept("heap")) <= BOOKKEEPING + PER_THREAD


def test_the_number_of_allocations(tracked):
    record = tracked("{ let boxes: Vec<Box<u64>> = (0..10_000).map(Box::new).collect(); hold(&boxes, 1); }")
    heap = record.row("heap")
    assert 10_001 <= heap["allocations"] <= 10_001 + 40
    # The smallest block of glibc has 24 usable bytes.
    assert_bytes(heap["allocated"], 10_000 * (24 + 8), ROUNDING + BOOKKEEPING)


def test_trim_gives_back_what_the_allocator_retains(tracked, kernel):
    # A block at the top that stays keeps glibc from shrinking the heap by itself.
    record = kernel.ok("""%memtrack
        let blocks: Vec<Box<[u8; 1000]>> = (0..64_000).map(|_| Box::new([1; 1000])).collect();
        let at_the_top = Box::new([1u8; 1000]);
        drop(blocks);""").record
    assert record.row("heap")["retained"] >= 60 * MiB
    assert record.kept("ram") >= 55 * MiB
    assert record.kept("heap") <= BOOKKEEPING + ROUNDING
    before = record.row("ram")["after"]
    kernel.ok("%memtrack trim")
    assert kernel.ok("%memtrack\n();").record.row("ram")["before"] <= before - 55 * MiB


def test_the_machine_has_a_row(tracked):
    record = tracked("();")
    system = record.row("ram", "system")
    assert 0 < system["before"] <= system["peak"] <= system["limit"]
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * KiB
    assert system["limit"] <= total
