use super::held::tests::{complete, process};
use super::*;
use crate::gpu_watch::Processes;

const MIB: u64 = 1 << 20;
const UUID: [u8; 16] = [7; 16];
const WORKER: i32 = 4242;

/// A page on which the worker's driver was there, with a device whose pool was read as given.
struct Scene {
    page: Box<GpuPage>,
    sample: GpuSample,
}

impl Scene {
    fn new() -> Scene {
        let page = Box::<GpuPage>::default();
        page.clear();
        page.driver_before.store(2, Relaxed);
        page.driver_after.store(2, Relaxed);
        page.set_contexts(5, 5);
        page.devices[0].set_uuid(UUID);
        Scene {
            page,
            sample: GpuSample {
                device: Device {
                    index: 3,
                    uuid: Some("GPU-07".into()),
                    name: "Test GPU".into(),
                },
                uuid: Some(UUID),
                total: Some(1000 * MIB),
                before: Ok(100 * MIB),
                peak: Some(350 * MIB),
                after: Ok(110 * MIB),
                processes: Processes {
                    baseline: Some(Vec::new()),
                    driver_before: Some(true),
                    before: complete(vec![process(WORKER as u32, 60 * MIB)]),
                    after: complete(vec![process(WORKER as u32, 70 * MIB)]),
                },
                over_time: crate::timeline::Phases::new(2),
            },
        }
    }

    fn slot(&self) -> &DevicePage {
        &self.page.devices[0]
    }

    fn rows(self, end: &WorkEnd) -> Vec<Row> {
        GpuView {
            page: &self.page,
            samples: &Ok(vec![self.sample]),
            worker: WORKER,
            end,
        }
        .rows()
    }
}

fn find(rows: &[Row], scope: Scope) -> &Row {
    rows.iter().find(|row| row.scope == scope).unwrap()
}

fn values(row: &Row) -> [Option<u64>; 3] {
    [row.before, row.peak, row.after].map(|value| value.map(|bytes| bytes / MIB))
}

#[test]
fn a_pool_that_was_there_has_exact_marks() {
    let scene = Scene::new();
    let slot = scene.slot();
    slot.before.fill([10, 900, 20, 900].map(|mib| mib * MIB));
    slot.marks_reset.store(1, Relaxed);
    slot.after.fill([10, 260, 32, 288].map(|mib| mib * MIB));
    let rows = scene.rows(&WorkEnd::Finished);
    assert_eq!(
        rows.iter().map(|row| row.scope).collect::<Vec<_>>(),
        [
            Scope::Process,
            Scope::PoolUsed,
            Scope::PoolReserved,
            Scope::Device
        ]
    );
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(10), Some(260), Some(10)]);
    assert!(used.exact && used.unavailable.is_none());
    assert_eq!(used.device.as_ref().unwrap().index, 3);
    let process = find(&rows, Scope::Process);
    assert_eq!(values(process), [Some(60), Some(70 + 288 - 32), Some(70)]);
    assert!(
        process
            .peak_method
            .as_deref()
            .unwrap()
            .starts_with("inferred")
    );
    assert!(!process.exact);
    let device = find(&rows, Scope::Device);
    assert_eq!(values(device), [Some(100), Some(350), Some(110)]);
    assert_eq!(device.peak_method.as_deref(), Some("sampled every 5 ms"));
}

#[test]
fn a_mark_that_was_not_set_back_is_not_this_cells() {
    let scene = Scene::new();
    scene
        .slot()
        .before
        .fill([10, 900, 20, 900].map(|mib| mib * MIB));
    scene
        .slot()
        .seen
        .fill([40, 900, 64, 900].map(|mib| mib * MIB));
    scene
        .slot()
        .after
        .fill([10, 900, 32, 900].map(|mib| mib * MIB));
    let rows = scene.rows(&WorkEnd::Finished);
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(10), Some(40), Some(10)]);
    assert!(!used.exact);
    // And the process's peak cannot be told by it.
    assert_eq!(find(&rows, Scope::Process).peak, None);
    assert!(find(&rows, Scope::Process).unavailable.is_some());
}

#[test]
fn a_released_context_leaves_what_was_seen() {
    let scene = Scene::new();
    scene
        .slot()
        .seen
        .fill([40, 64, 64, 96].map(|mib| mib * MIB));
    scene.slot().after.fill_absent();
    let rows = scene.rows(&WorkEnd::Finished);
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(0), Some(64), Some(0)]);
    assert!(!used.exact);
    assert!(used.peak_method.as_deref().unwrap().contains("released"));
}

#[test]
fn a_release_that_was_seen_hides_nothing() {
    let scene = Scene::new();
    scene
        .slot()
        .seen
        .fill([40, 64, 64, 96].map(|mib| mib * MIB));
    scene.slot().seen.fill_absent();
    scene.slot().released.store(1, Relaxed);
    scene.slot().after.fill_absent();
    let rows = scene.rows(&WorkEnd::Finished);
    assert_eq!(
        values(find(&rows, Scope::PoolUsed)),
        [Some(0), Some(64), Some(0)]
    );
}

#[test]
fn marks_of_another_context_are_not_exact() {
    for (contexts, words) in [
        ((5, 6), "at least"),
        ((5, 0), "if the context is still the same"),
    ] {
        let scene = Scene::new();
        scene.page.set_contexts(contexts.0, contexts.1);
        scene
            .slot()
            .before
            .fill([10, 10, 20, 20].map(|mib| mib * MIB));
        scene.slot().marks_reset.store(1, Relaxed);
        scene
            .slot()
            .after
            .fill([10, 12, 20, 20].map(|mib| mib * MIB));
        let rows = scene.rows(&WorkEnd::Finished);
        let used = find(&rows, Scope::PoolUsed);
        assert!(!used.exact && used.peak_method.as_deref().unwrap().contains(words));
    }
}

#[test]
fn a_context_made_anew_is_not_exact() {
    let scene = Scene::new();
    scene
        .slot()
        .before
        .fill([10, 10, 20, 20].map(|mib| mib * MIB));
    scene.slot().marks_reset.store(1, Relaxed);
    scene.slot().released.store(1, Relaxed);
    scene.slot().after.fill([5, 7, 8, 9].map(|mib| mib * MIB));
    let rows = scene.rows(&WorkEnd::Finished);
    assert!(!find(&rows, Scope::PoolUsed).exact);
    // Nevertheless the peak is never below before.
    assert_eq!(
        values(find(&rows, Scope::PoolUsed)),
        [Some(10), Some(10), Some(5)]
    );
}

#[test]
fn another_pool_is_not_exact_and_the_higher_mark_counts() {
    let scene = Scene::new();
    scene.slot().before.fill([0, 0, 0, 0]);
    scene.slot().marks_reset.store(1, Relaxed);
    scene
        .slot()
        .seen
        .fill([40, 300, 64, 320].map(|mib| mib * MIB));
    scene.slot().after.fill([1, 1, 2, 2].map(|mib| mib * MIB));
    scene.slot().pool_changed.store(1, Relaxed);
    let rows = scene.rows(&WorkEnd::Finished);
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(used.peak, Some(300 * MIB));
    assert!(!used.exact && used.peak_method.as_deref().unwrap().starts_with("at least"));
}

#[test]
fn a_driver_that_stops_answering_is_not_a_released_context() {
    let scene = Scene::new();
    scene
        .slot()
        .before
        .fill([10, 10, 20, 20].map(|mib| mib * MIB));
    scene.slot().marks_reset.store(1, Relaxed);
    scene
        .slot()
        .seen
        .fill([40, 64, 64, 96].map(|mib| mib * MIB));
    // `after` was not read.
    let rows = scene.rows(&WorkEnd::Finished);
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(10), Some(64), None]);
    assert!(
        !used.exact
            && used
                .unavailable
                .as_deref()
                .unwrap()
                .contains("did not answer")
    );
}

#[test]
fn a_dead_process_leaves_its_last_marks() {
    let scene = Scene::new();
    scene
        .slot()
        .before
        .fill([10, 10, 20, 20].map(|mib| mib * MIB));
    scene.slot().marks_reset.store(1, Relaxed);
    scene
        .slot()
        .seen
        .fill([40, 64, 64, 96].map(|mib| mib * MIB));
    let rows = scene.rows(&WorkEnd::Died {
        max_rss: None,
        last_words: None,
    });
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(10), Some(64), None]);
    assert!(used.unavailable.is_some() && !used.exact);
    let process = find(&rows, Scope::Process);
    assert_eq!(values(process), [Some(60), None, None]);
}

#[test]
fn a_pool_that_needs_a_context_says_so() {
    let scene = Scene::new();
    scene.slot().before.fill_absent();
    scene.slot().after.fill_error(201);
    let rows = scene.rows(&WorkEnd::Finished);
    let used = find(&rows, Scope::PoolUsed);
    assert_eq!(values(used), [Some(0), None, None]);
    assert!(
        used.unavailable
            .as_deref()
            .unwrap()
            .contains("current CUDA context")
    );
    assert_eq!(used.peak_method, None);
}

#[test]
fn a_lost_gpu_keeps_what_was_seen() {
    let mut scene = Scene::new();
    scene.sample.after = Err("the GPU is lost: x".into());
    scene.sample.processes.after = Err("the GPU is lost: x".into());
    let rows = scene.rows(&WorkEnd::Finished);
    let device = find(&rows, Scope::Device);
    assert_eq!(values(device), [Some(100), Some(350), None]);
    assert!(device.unavailable.as_deref().unwrap().contains("lost"));
    assert_eq!(values(find(&rows, Scope::Process)), [Some(60), None, None]);
}

#[test]
fn code_without_the_driver_holds_nothing() {
    let scene = Scene::new();
    scene.page.driver_before.store(1, Relaxed);
    scene.page.driver_after.store(1, Relaxed);
    scene.page.nothing_unloaded.store(1, Relaxed);
    let rows = scene.rows(&WorkEnd::Finished);
    assert_eq!(rows.len(), 2);
    let process = find(&rows, Scope::Process);
    assert_eq!(values(process), [Some(0), Some(0), Some(0)]);
    assert!(process.exact);
}

#[test]
fn an_absence_is_one_row_or_none() {
    let scene = Scene::new();
    let view = |samples: &GpuSamples| {
        GpuView {
            page: &Scene::new().page,
            samples,
            worker: WORKER,
            end: &WorkEnd::Finished,
        }
        .rows()
    };
    assert!(view(&Err(GpuAbsence::NoNvidia)).is_empty());
    let rows = view(&Err(GpuAbsence::Unreadable("update the driver".into())));
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].unavailable.as_deref(), Some("update the driver"));
    assert_eq!(rows[0].peak, None);
    // CUDA that NVML does not tell of still has its pool.
    scene.slot().after.fill([5, 7, 8, 9].map(|mib| mib * MIB));
    let rows = GpuView {
        page: &scene.page,
        samples: &Err(GpuAbsence::NoNvidia),
        worker: WORKER,
        end: &WorkEnd::Finished,
    }
    .rows();
    assert_eq!(rows.len(), 2);
    assert_eq!(values(&rows[0]), [Some(0), Some(7), Some(5)]);
}

#[test]
fn the_context_costs_what_the_pool_does_not_hold() {
    let scene = Scene::new();
    scene.slot().after.fill([5, 7, 8, 9].map(|mib| mib * MIB));
    let samples = Ok(vec![GpuSample {
        processes: Processes {
            before: complete(Vec::new()),
            driver_before: Some(false),
            ..scene.sample.processes.clone()
        },
        ..scene.sample.clone()
    }]);
    scene.page.driver_before.store(1, Relaxed);
    let view = GpuView {
        page: &scene.page,
        samples: &samples,
        worker: WORKER,
        end: &WorkEnd::Finished,
    };
    let context = view.context(&view.rows()).unwrap();
    assert_eq!(context.device, 3);
    assert_eq!(context.vram, Some((70 - 8) * MIB));
    assert_eq!(context.vram_source.as_deref(), Some("this process"));
    assert_eq!(context.ram_anon, None);
    // In the next cell it is there already.
    scene.slot().before.fill([5, 7, 8, 9].map(|mib| mib * MIB));
    assert_eq!(view.context(&view.rows()), None);
}
