use super::*;
use crate::record::{CellStatus, Device};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn row(memory: Memory, scope: Scope, peak: u64, limit: u64) -> Row {
    let mut row = Row::empty(memory, scope);
    (row.before, row.peak, row.after) = (Some(0), Some(peak), Some(0));
    row.limit = Some(limit);
    row
}

/// A container of 2 GiB with this much in use at most, and the kernel's 420 MiB in it.
fn ram(system: u64, process: u64) -> Record {
    let mut record = Record::empty(1, CellStatus::Ok);
    record.overhead.kernel_rss = Some(420 * MIB);
    record.rows = vec![
        row(Memory::Ram, Scope::Process, process, 2 * GIB),
        row(Memory::Heap, Scope::Process, process - MIB, 2 * GIB),
        row(Memory::Ram, Scope::System, system, 2 * GIB),
    ];
    record.rows[1].limit = None;
    record
}

#[test]
fn far_from_the_limit_nothing_is_said() {
    let below = (2 * GIB as u128 * 90 / 100) as u64 - MIB;
    assert_eq!(close_to_limit(&ram(below, GIB), true), [""; 0]);
    let mut record = ram(below, GIB);
    record.rows[2].limit = None;
    assert_eq!(close_to_limit(&record, true), [""; 0]);
    let mut record = ram(2 * GIB, GIB);
    record.rows[2].peak = None;
    assert_eq!(close_to_limit(&record, true), [""; 0]);
}

#[test]
fn a_cell_that_did_not_run_is_not_to_blame() {
    let mut record = ram(2 * GIB, GIB);
    record.duration_s.run = None;
    assert_eq!(close_to_limit(&record, true), [""; 0]);
}

#[test]
fn close_to_the_limit_the_two_largest_holders_are_named() {
    assert_eq!(
        close_to_limit(&ram(1940 * MIB, 1500 * MIB), true),
        [
            "system RAM reached 94 % of the container's 2.00 GiB: this process up to 1.46 GiB \
          (heap up to 1.46 GiB), the kernel itself 420 MiB"
        ]
    );
    // Others hold more than we do.
    assert_eq!(
        close_to_limit(&ram(1940 * MIB, 100 * MIB), false),
        [
            "system RAM reached 94 % of the machine's 2.00 GiB: all else at least 1.39 GiB, the \
          kernel itself 420 MiB"
        ]
    );
    let mut record = ram(1940 * MIB, 900 * MIB);
    record.rows[1].retained = Some(300 * MIB);
    record
        .rows
        .push(row(Memory::Ram, Scope::Children, 600 * MIB, 2 * GIB));
    assert_eq!(
        close_to_limit(&record, true),
        [
            "system RAM reached 94 % of the container's 2.00 GiB: this process up to 900 MiB (heap \
          up to 899 MiB, 300 MiB more kept by the allocator in the end), processes that it started \
          up to 600 MiB"
        ]
    );
}

#[test]
fn what_is_not_known_is_not_said() {
    let mut record = ram(1990 * MIB, 900 * MIB);
    record.rows.drain(..2);
    record.overhead.kernel_rss = None;
    assert_eq!(
        close_to_limit(&record, true),
        ["system RAM reached 97 % of the container's 2.00 GiB"]
    );
    // What is left without the process would hold it too.
    let mut record = ram(1990 * MIB, 900 * MIB);
    record.rows[0].peak = None;
    let warnings = close_to_limit(&record, true);
    assert!(!warnings[0].contains("all else"), "{warnings:?}");
}

fn vram(process: Option<u64>, pool: Option<u64>) -> Record {
    let mut record = Record::empty(1, CellStatus::Ok);
    let device = Some(Device {
        index: 0,
        uuid: None,
        name: "A".into(),
    });
    record.rows = vec![
        row(Memory::Vram, Scope::Process, 0, 16 * GIB),
        row(Memory::Vram, Scope::PoolReserved, 0, 16 * GIB),
        row(Memory::Vram, Scope::Device, 15 * GIB + 512 * MIB, 16 * GIB),
    ];
    record.rows[0].peak = process;
    record.rows[1].peak = pool;
    for row in &mut record.rows {
        row.device = device.clone();
    }
    record
}

#[test]
fn a_gpu_has_holders_too() {
    assert_eq!(
        close_to_limit(&vram(Some(12 * GIB), Some(11 * GIB)), false),
        [
            "GPU 0 device reached 96 % of its 16.0 GiB: this process up to 12.0 GiB (CUDA's pool \
          11.0 GiB), other processes at least 3.50 GiB"
        ]
    );
    assert_eq!(
        close_to_limit(&vram(None, Some(11 * GIB)), false),
        [
            "GPU 0 device reached 96 % of its 16.0 GiB: CUDA's pool of this process up to 11.0 \
          GiB, all else, other processes and CUDA's context among it, at least 4.50 GiB"
        ]
    );
    assert_eq!(
        close_to_limit(&vram(None, None), false),
        ["GPU 0 device reached 96 % of its 16.0 GiB"]
    );
    // Another device's rows are not this one's.
    let mut record = vram(Some(12 * GIB), None);
    record.rows[0].device.as_mut().unwrap().index = 1;
    assert_eq!(
        close_to_limit(&record, false),
        ["GPU 0 device reached 96 % of its 16.0 GiB"]
    );
}
