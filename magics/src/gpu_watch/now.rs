//! How the GPUs stand while work runs, for who shows it meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::{Request, Watching, Work};
use crate::record::Device;

/// How long who shows a running cell waits for the readings of this moment.
const LIMIT: Duration = Duration::from_millis(100);

/// One GPU while work runs. Sizes in bytes; `None` is not known.
#[derive(Debug, Clone)]
pub struct GpuNow {
    /// The GPU.
    pub device: Device,
    /// The 16 bytes of its UUID.
    pub uuid: Option<[u8; 16]>,
    /// All memory of the device.
    pub total: Option<u64>,
    /// Used before the work.
    pub before: Option<u64>,
    /// Used at this moment.
    pub used: Option<u64>,
    /// Highest use seen while the work ran.
    pub peak: Option<u64>,
}

/// Asks the thread how the GPUs stand, while it looks at them.
pub struct GpuQuestion {
    pub(super) requests: Sender<Request>,
    pub(super) stalled: Arc<AtomicBool>,
}

impl GpuQuestion {
    /// The GPUs that this process may use; none where nothing is being watched, or the driver does
    /// not answer at once.
    pub fn now(&self) -> Vec<GpuNow> {
        // A driver that hangs is not sent more and more questions.
        if self.stalled.load(Relaxed) {
            return Vec::new();
        }
        let (reply, answer) = channel();
        let _ = self.requests.send(Request::Now(reply));
        answer.recv_timeout(LIMIT).unwrap_or_default()
    }
}

impl Watching {
    pub(super) fn now(&self, work: &Work) -> Vec<GpuNow> {
        let seen = work.samples.iter().zip(&work.places);
        seen.map(|(sample, place)| GpuNow {
            device: sample.device.clone(),
            uuid: sample.uuid,
            total: sample.total,
            before: sample.before.as_ref().ok().copied(),
            used: self.used(*place),
            peak: sample.peak,
        })
        .collect()
    }
}
