//! A thread that looks at the GPUs while work runs, through NVML. It is the only one that calls
//! NVML: a driver that hangs keeps this thread, never a cell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::gpu_facts::GpuFacts;
use crate::page::{PageMapping, Phase, monotonic_ns};
use crate::probe::cuda::is_driver_library;
use crate::probe::nvml::{Gpu, GpuAbsence, GpuProcess, NvmlProbe, ProcessList};
use crate::record::Device;
use crate::sampler::{GPU_INTERVAL, INTERVAL};
use crate::timeline::Phases;

mod now;
mod visible;

pub use now::{GpuNow, GpuQuestion};

/// How long the end of a cell may wait for the last readings. They take some milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);
/// How long a question for facts may wait where nobody waits for a table: the driver may have to start up, which takes seconds
/// where nothing keeps it running.
pub const FACTS_LIMIT: Duration = Duration::from_secs(10);

/// How many looks at a GPU there are for one at the host.
const RATE: usize = (INTERVAL.as_millis() / GPU_INTERVAL.as_millis()) as usize;

/// What was seen of the GPUs around one piece of work.
pub type GpuSamples = Result<Vec<GpuSample>, GpuAbsence>;

/// What was seen of one GPU around one piece of work.
#[derive(Debug, Clone)]
pub struct GpuSample {
    /// The GPU.
    pub device: Device,
    /// The 16 bytes of its UUID.
    pub uuid: Option<[u8; 16]>,
    /// All memory of the device in bytes, that which the driver keeps included.
    pub total: Option<u64>,
    /// Bytes used on the device just before the work, or why that is not known.
    pub before: Result<u64, String>,
    /// Highest use seen while the work ran, in bytes.
    pub peak: Option<u64>,
    /// Bytes used on the device after the work, or why that is not known.
    pub after: Result<u64, String>,
    /// The processes on the device before and after the work.
    pub processes: Processes,
    /// Bytes over time: used on the device; used and reserved in the pool of the worker.
    pub over_time: Phases<3>,
}

/// The processes on a device before and after the work, or why they are not known.
#[derive(Debug, Clone)]
pub struct Processes {
    /// Before the worker had any library of the driver, and so nothing on the device. `None`: it
    /// was not seen so early.
    pub baseline: Option<Vec<GpuProcess>>,
    /// Whether the worker had a library of the driver before the work; `None` where that cannot be
    /// told.
    pub driver_before: Option<bool>,
    /// Before the work.
    pub before: Result<ProcessList, String>,
    /// After the work.
    pub after: Result<ProcessList, String>,
}

/// The running thread.
pub struct GpuWatch {
    requests: Sender<Request>,
    /// Set when the thread did not answer in time, until it does: nobody waits for it meanwhile.
    stalled: Arc<AtomicBool>,
    /// Set by the thread where there is no GPU to look at: it need not be asked then.
    absence: Arc<OnceLock<GpuAbsence>>,
}

/// One piece of work that is being watched.
pub struct GpuLook {
    requests: Sender<Request>,
    stalled: Arc<AtomicBool>,
    absence: Option<GpuAbsence>,
    /// Whether the thread knows of it and is still to be told of its end.
    open: bool,
}

enum Request {
    Begin {
        page: Arc<PageMapping>,
        worker: i32,
        /// The page's count of runs before the work.
        runs_before: u64,
    },
    End {
        list_processes: bool,
        reply: Sender<GpuSamples>,
    },
    Stop,
    Now(Sender<Vec<GpuNow>>),
    Facts(Sender<GpuFacts>),
}

fn silent(limit: Duration) -> GpuAbsence {
    GpuAbsence::Unreadable(format!(
        "NVML did not answer within {} ms, so the driver hangs or starts up: see what nvidia-smi \
         says (nvidia-persistenced keeps the driver from starting each time)",
        limit.as_millis()
    ))
}

impl GpuWatch {
    /// Starts the thread, which loads NVML.
    pub fn start() -> GpuWatch {
        let (requests, inbox) = channel();
        let stalled = Arc::new(AtomicBool::new(false));
        let for_thread = Arc::clone(&stalled);
        let absence = Arc::new(OnceLock::new());
        let to_tell = Arc::clone(&absence);
        // Without the thread nobody answers, and the rows say so.
        let _ = std::thread::Builder::new()
            .name("memtrack-gpu".into())
            .spawn(move || {
                crate::heap::ignore_this_thread();
                let mut watching = Watching::new(inbox, for_thread);
                if let Err(absence) = &watching.gpus {
                    let _ = to_tell.set(absence.clone());
                }
                watching.run();
            });
        GpuWatch {
            requests,
            stalled,
            absence,
        }
    }

    /// Looks at the GPUs from here on, for the next work of `worker`. Does not wait.
    pub fn begin(&self, page: Arc<PageMapping>, worker: i32) -> GpuLook {
        let runs_before = page.page().run_count();
        let absence = self.absence.get().cloned();
        let open = absence.is_none() && !self.stalled.load(Relaxed);
        if open {
            let _ = self.requests.send(Request::Begin {
                page,
                worker,
                runs_before,
            });
        }
        GpuLook {
            requests: self.requests.clone(),
            stalled: Arc::clone(&self.stalled),
            absence,
            open,
        }
    }

    /// What is known of the GPUs beside their use. Waits for NVML up to `limit`.
    pub fn facts(&self, limit: Duration) -> GpuFacts {
        let (reply, answer) = channel();
        let _ = self.requests.send(Request::Facts(reply));
        answer
            .recv_timeout(limit)
            .unwrap_or_else(|_| GpuFacts::unknown(silent(limit)))
    }
}

impl GpuLook {
    /// For another thread to ask how the GPUs stand meanwhile.
    pub fn question(&self) -> GpuQuestion {
        GpuQuestion {
            requests: self.requests.clone(),
            stalled: Arc::clone(&self.stalled),
        }
    }

    /// Takes the last readings and tells what was seen. `list_processes`: whether the worker may
    /// hold memory of a GPU, so that it is worth to ask for the processes, which takes
    /// milliseconds.
    pub fn end(mut self, list_processes: bool) -> GpuSamples {
        if let Some(absence) = self.absence.take() {
            return Err(absence);
        }
        if !std::mem::take(&mut self.open) {
            return Err(silent(ANSWER_LIMIT));
        }
        let (reply, answer) = channel();
        let request = Request::End {
            list_processes,
            reply,
        };
        self.requests
            .send(request)
            .map_err(|_| silent(ANSWER_LIMIT))?;
        answer.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| {
            self.stalled.store(true, Relaxed);
            Err(silent(ANSWER_LIMIT))
        })
    }
}

impl Drop for GpuLook {
    fn drop(&mut self) {
        if self.open {
            let _ = self.requests.send(Request::Stop);
        }
    }
}

/// The thread's own state.
struct Watching {
    inbox: Receiver<Request>,
    stalled: Arc<AtomicBool>,
    nvml: Option<NvmlProbe>,
    gpus: Result<Vec<Gpu>, GpuAbsence>,
    /// By the device's place in `gpus`: whose baseline it is, and the processes.
    baselines: HashMap<usize, (i32, Vec<GpuProcess>)>,
}

/// One piece of work.
struct Work {
    page: Arc<PageMapping>,
    worker: i32,
    runs_before: u64,
    /// Whether the code has begun. It never takes that back, though a new process counts from 0.
    begun: bool,
    samples: Vec<GpuSample>,
    /// Places in the list of GPUs, one for each sample.
    places: Vec<usize>,
}

impl Watching {
    fn new(inbox: Receiver<Request>, stalled: Arc<AtomicBool>) -> Watching {
        let nvml = NvmlProbe::open();
        Watching {
            inbox,
            stalled,
            gpus: match &nvml {
                Ok(nvml) => nvml.gpus(),
                Err(absence) => Err(absence.clone()),
            },
            nvml: nvml.ok(),
            baselines: HashMap::new(),
        }
    }

    fn run(&mut self) {
        let mut work: Option<Work> = None;
        loop {
            let request = match &mut work {
                // Nothing to look at: sleep until there is.
                None => self
                    .inbox
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                Some(work) => {
                    self.sample(work);
                    self.inbox.recv_timeout(GPU_INTERVAL)
                }
            };
            match request {
                Ok(Request::Begin {
                    page,
                    worker,
                    runs_before,
                }) => {
                    work = self
                        .gpus
                        .is_ok()
                        .then(|| self.begin(page, worker, runs_before));
                }
                Ok(Request::End {
                    list_processes,
                    reply,
                }) => {
                    let samples = match (&self.gpus, work.take()) {
                        (Ok(_), Some(work)) => Ok(self.end(work, list_processes)),
                        (Err(absence), _) => Err(absence.clone()),
                        (Ok(_), None) => Ok(Vec::new()),
                    };
                    let _ = reply.send(samples);
                }
                Ok(Request::Stop) => work = None,
                Ok(Request::Now(reply)) => {
                    let now = work.as_ref().map(|work| self.now(work));
                    let _ = reply.send(now.unwrap_or_default());
                }
                Ok(Request::Facts(reply)) => {
                    let _ = reply.send(GpuFacts::of(self.nvml.as_ref(), &self.gpus));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.stalled.store(false, Relaxed);
        }
    }

    fn begin(&mut self, page: Arc<PageMapping>, worker: i32, runs_before: u64) -> Work {
        let gpus = self.gpus.as_deref().unwrap_or_default();
        let places = visible::of_environment(gpus);
        let mut work = Work {
            samples: Vec::new(),
            places,
            page,
            worker,
            runs_before,
            begun: false,
        };
        // What is read after the code has begun is not how things stood before it.
        let late = || "the code had begun before the driver answered".to_owned();
        for place in work.places.clone() {
            let gpu = &gpus[place];
            let memory = gpu.memory();
            let total = memory.as_ref().ok().map(|memory| memory.total);
            let before = match work.has_begun() {
                true => Err(late()),
                false => memory.map(|memory| memory.used),
            };
            let mut processes = gpu.processes(worker.unsigned_abs());
            if work.has_begun() {
                processes = Err(late());
            }
            // Asked after the list: a worker without the driver now had none then.
            let driver = has_driver(worker);
            if let (Some(false), Ok(list)) = (driver, &processes) {
                self.baselines.insert(place, (worker, list.rows.clone()));
            }
            let baseline = self.baselines.get(&place);
            work.samples.push(GpuSample {
                device: gpu.device.clone(),
                uuid: gpu.uuid,
                total,
                before,
                peak: None,
                after: Err("not read yet".into()),
                processes: Processes {
                    baseline: baseline
                        .filter(|(whose, _)| *whose == worker)
                        .map(|(_, processes)| processes.clone()),
                    driver_before: driver,
                    before: processes,
                    after: Ok(ProcessList::default()),
                },
                over_time: Phases::new(RATE),
            });
        }
        work
    }

    /// One look at each device. A GPU that is lost keeps what was seen of it before.
    fn sample(&self, work: &mut Work) {
        for index in 0..work.samples.len() {
            let start = monotonic_ns();
            let used = self.used(work.places[index]);
            // Asked after the reading: if the code has not begun by now, it had not begun then.
            let has_begun = work.has_begun();
            let page = work.page.page();
            let sample = &mut work.samples[index];
            let slot = sample.uuid.and_then(|uuid| page.gpu.device(uuid));
            if !has_begun {
                sample.over_time.compiling.push(start, [used, None, None]);
            } else if page.phase() == Phase::Running && page.ended_ns.load(Relaxed) == 0 {
                let pool = slot.map_or([None; 2], |slot| slot.seen.in_use());
                sample
                    .over_time
                    .running
                    .push(start, [used, pool[0], pool[1]]);
            }
            if has_begun {
                sample.peak = sample.peak.max(used);
            } else if let Some(used) = used {
                sample.before = Ok(used);
            }
        }
    }

    fn used(&self, place: usize) -> Option<u64> {
        let gpu = self.gpus.as_ref().ok()?.get(place)?;
        Some(gpu.memory().ok()?.used)
    }

    fn end(&self, mut work: Work, list_processes: bool) -> Vec<GpuSample> {
        let gpus = self.gpus.as_deref().unwrap_or_default();
        // The quick readings of all devices first, as near to the work's end as can be.
        for (sample, place) in work.samples.iter_mut().zip(&work.places) {
            sample.after = gpus[*place].memory().map(|memory| memory.used);
        }
        if list_processes {
            let worker = work.worker.unsigned_abs();
            for (sample, place) in work.samples.iter_mut().zip(&work.places) {
                sample.processes.after = gpus[*place].processes(worker);
            }
        }
        work.samples
    }
}

impl Work {
    fn has_begun(&mut self) -> bool {
        self.begun |= self.page.page().run_count() != self.runs_before;
        self.begun
    }
}

/// Whether a process has a library of NVIDIA's driver loaded; `None` where that cannot be read.
fn has_driver(pid: i32) -> Option<bool> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    Some(maps.lines().any(|line| {
        line.rsplit_once('/')
            .is_some_and(|(_, file)| is_driver_library(file))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_nvidia_the_thread_says_so() {
        let watch = GpuWatch::start();
        let page = Arc::new(PageMapping::create().unwrap());
        let look = watch.begin(page, std::process::id() as i32);
        if let Err(absence) = look.end(true) {
            // Where there is a GPU, the test has nothing to say.
            assert!(!absence.to_string().is_empty());
            // From then on nobody asks the thread, and the answer is the same.
            let later = watch.begin(Arc::new(PageMapping::create().unwrap()), 1);
            assert!(!later.open);
            assert_eq!(
                later.end(true).unwrap_err().to_string(),
                absence.to_string()
            );
        }
    }

    #[test]
    fn a_process_without_the_driver_is_known() {
        assert_eq!(has_driver(std::process::id() as i32), Some(false));
        assert_eq!(has_driver(-1), None);
    }
}
