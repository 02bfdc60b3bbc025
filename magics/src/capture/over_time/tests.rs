use super::*;
use crate::gpu_watch::Processes;
use crate::probe::nvml::ProcessList;
use crate::record::Device;
use crate::timeline::Phases;

const MS: u64 = 1_000_000;
/// When the code of these cells starts.
const START: u64 = 1_000 * MS;

fn row(memory: Memory, scope: Scope, values: [u64; 3]) -> Row {
    let mut row = Row::empty(memory, scope);
    [row.before, row.peak, row.after] = values.map(Some);
    row
}

fn ran(seconds: f64) -> Run {
    Run {
        start_ns: START,
        seconds: Some(seconds),
    }
}

/// The process's resident set: 5 while compiling, then 10, 90 and 20 at 10, 20 and 30 ms.
fn host() -> HostPhases {
    let mut host = Phases::new(1);
    for time in [150, 100] {
        let compiler = Some(time);
        host.compiling
            .push(START - time * MS, [Some(5), None, Some(50), None, compiler]);
    }
    for (time, resident) in [(10, 10), (20, 90), (30, 20)] {
        let values = [Some(resident), Some(0), Some(50), None, None];
        host.running.push(START + time * MS, values);
    }
    host
}

fn gpu() -> GpuSample {
    GpuSample {
        device: Device {
            index: 2,
            uuid: None,
            name: "Test GPU".into(),
        },
        uuid: None,
        total: None,
        before: Ok(7),
        peak: None,
        after: Ok(7),
        processes: Processes {
            baseline: None,
            driver_before: None,
            before: Ok(ProcessList::default()),
            after: Ok(ProcessList::default()),
        },
        over_time: Phases::new(2),
    }
}

#[test]
fn samples_stand_between_the_readings_at_the_borders() {
    let rows = [
        row(Memory::Ram, Scope::Process, [6, 95, 12]),
        row(Memory::Ram, Scope::System, [51, 60, 52]),
    ];
    let timeline = timeline(&host(), &[], &rows, &ran(0.035));
    assert_eq!(timeline.t, [-0.15, -0.1, 0.0, 0.01, 0.02, 0.03, 0.035]);
    let series = |key: &str| {
        timeline.series[key]
            .iter()
            .map(|it| it.unwrap_or(0))
            .collect::<Vec<_>>()
    };
    assert_eq!(series("ram/process"), [5, 5, 6, 10, 90, 20, 12]);
    assert_eq!(series("ram/system"), [50, 50, 51, 50, 50, 50, 52]);
    assert_eq!(timeline.series[COMPILER][2..], [None; 5]);
    // Rows that the record does not have are no series either.
    assert_eq!(timeline.series.len(), 3);
}

#[test]
fn samples_after_the_end_are_left_out() {
    let rows = [row(Memory::Ram, Scope::Process, [6, 95, 12])];
    let timeline = timeline(&host(), &[], &rows, &ran(0.02));
    assert_eq!(timeline.t, [-0.15, -0.1, 0.0, 0.01, 0.02]);
}

#[test]
fn a_cell_that_did_not_run_has_times_before_zero_only() {
    let rows = [row(Memory::Ram, Scope::Process, [6, 6, 6])];
    let run = Run {
        start_ns: START,
        seconds: None,
    };
    let timeline = timeline(&host(), &[], &rows, &run);
    assert_eq!(timeline.t, [-0.15, -0.1]);
    assert_eq!(timeline.series["ram/process"], [Some(5), Some(5)]);
}

#[test]
fn a_gpu_is_read_at_the_hosts_times() {
    let mut gpu = gpu();
    let reads = [(8, 1), (11, 3), (16, 9), (19, 2), (24, 4)];
    for (time, used) in reads {
        let values = [Some(used), None, Some(0)];
        gpu.over_time.running.push(START + time * MS, values);
    }
    let mut device = row(Memory::Vram, Scope::Device, [7, 9, 7]);
    device.device = Some(gpu.device.clone());
    let timeline = timeline(&host(), &[gpu], &[device], &ran(0.04));
    let run: Vec<_> = timeline.series["vram/device/2"][2..].to_vec();
    // The highest from one time to the next: the spike of 9 is at 10 ms. Nothing was read from 30 ms
    // on, so the reading before holds.
    assert_eq!(run, [Some(7), Some(9), Some(4), Some(4), Some(7)]);
}

#[test]
fn a_gpu_that_is_lost_or_silent_is_unknown() {
    let mut host = Phases::new(1);
    for time in 1..=20 {
        host.running
            .push(START + time * 10 * MS, [Some(1), None, None, None, None]);
    }
    let mut gpu = gpu();
    gpu.over_time.running.push(START + 10 * MS, [Some(5); 3]);
    gpu.over_time.running.push(START + 20 * MS, [None; 3]);
    gpu.over_time.running.push(START + 30 * MS, [Some(6); 3]);
    let mut device = row(Memory::Vram, Scope::Device, [7, 9, 7]);
    device.device = Some(gpu.device.clone());
    let timeline = timeline(&host, &[gpu], &[device], &ran(0.5));
    let run = &timeline.series["vram/device/2"][1..];
    assert_eq!(run[..3], [Some(5), None, Some(6)]);
    assert_eq!(run[3 + HOLDS_FOR as usize..20], [None; 13]);
}
