use super::*;
use crate::worker::Worker;

/// Points of the run of a piece of work that begins and ends before the compiler is due again.
fn points_of_short_work() -> usize {
    let page = PageMapping::create().unwrap();
    page.page().clear();
    page.page().track.store(1, Relaxed);
    let shared = PageMapping::from_file(
        std::os::fd::AsFd::as_fd(&page)
            .try_clone_to_owned()
            .unwrap()
            .into(),
    )
    .unwrap()
    .leak();
    let own = std::process::id() as i32;
    let sampler = Sampler::start(Arc::new(page), None, Arc::default(), own);
    let worker = Worker::new(shared);
    // The sampler begins to wait meanwhile.
    std::thread::sleep(INTERVAL / 2);
    worker.run(|| std::thread::sleep(3 * INTERVAL));
    sampler.finish().1.running.points().len()
}

#[test]
fn the_worker_says_that_its_code_begins() {
    assert!(COMPILER_INTERVAL > 4 * INTERVAL);
    // Other tests take the processor meanwhile: one quiet moment in ten is enough.
    assert!((0..10).any(|_| points_of_short_work() >= 2));
}

#[test]
fn a_look_at_the_children_finds_those_of_now() {
    let families = Families::default();
    let own = std::process::id() as i32;
    let mut sleeper = std::process::Command::new("sleep")
        .arg("60")
        .spawn()
        .unwrap();
    let with = families.children_of(own).unwrap();
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(with > families.children_of(own).unwrap());
}
