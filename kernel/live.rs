//! `%memtrack --live`: one display in a running cell that says a few times a second how its memory
//! stands, and in the end becomes the cell's table.
//!
//! Nothing is shown of a cell that is over quickly. Nothing is shown after [`Live::finish`]: the
//! thread has ended when it returns.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use memtrack::live::LiveView;
use memtrack::{html, text};

use crate::output::{Bundle, FrontEnd, Output, html_bundle};

/// A cell that is over sooner has its table only.
const FIRST_AFTER: Duration = Duration::from_millis(500);
/// How often the display is renewed.
const RENEW: Duration = Duration::from_millis(250);

/// The display of one cell.
pub struct Live {
    state: Arc<State>,
    front_end: Arc<dyn FrontEnd>,
    display_id: String,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    now: Mutex<Now>,
    stop: Condvar,
}

#[derive(Default)]
struct Now {
    /// What is being measured. `None` between two runs of the cell.
    view: Option<LiveView>,
    /// Names the cell and its run.
    title: String,
    shown: bool,
    stopped: bool,
}

impl Live {
    /// Starts the thread. It has nothing to show before [`Live::watch`].
    pub fn start(front_end: &Arc<dyn FrontEnd>) -> Live {
        static DISPLAYS: AtomicU64 = AtomicU64::new(0);
        let number = DISPLAYS.fetch_add(1, Ordering::Relaxed);
        let display_id = format!("memtrack-live-{}-{number}", std::process::id());
        let state = Arc::new(State::default());
        let thread = std::thread::Builder::new().name("live".into()).spawn({
            let (state, front_end) = (Arc::clone(&state), Arc::clone(front_end));
            let display_id = display_id.clone();
            move || show_until_stopped(&state, &display_id, &*front_end)
        });
        if let Err(error) = &thread {
            eprintln!("memtrack-kernel: --live cannot show anything: {error}");
        }
        Live {
            state,
            front_end: Arc::clone(front_end),
            display_id,
            thread: thread.ok(),
        }
    }

    /// From here on the display is about this measurement.
    pub fn watch(&self, title: String, view: LiveView) {
        let mut now = lock(&self.state.now);
        (now.title, now.view) = (title, Some(view));
    }

    /// The measurement is over; another may follow.
    pub fn pause(&self) {
        lock(&self.state.now).view = None;
    }

    /// Ends the display: it becomes `last`, in its place, or where nothing was shown yet, `last` is
    /// shown as any display.
    pub fn finish(mut self, last: Bundle) {
        let again = self.end();
        self.front_end.show(match again {
            false => Output::Display(last),
            true => Output::Updating {
                id: self.display_id.clone(),
                again,
                last: true,
                bundle: last,
            },
        });
    }

    /// Waits for the thread's end. True if it has shown something.
    fn end(&mut self) -> bool {
        lock(&self.state.now).stopped = true;
        self.state.stop.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        lock(&self.state.now).shown
    }
}

impl Drop for Live {
    /// For a cell that ends without a record.
    fn drop(&mut self) {
        self.end();
    }
}

fn show_until_stopped(state: &State, display_id: &str, front_end: &dyn FrontEnd) {
    let mut wait = FIRST_AFTER;
    loop {
        let (now, _) = state
            .stop
            .wait_timeout_while(lock(&state.now), wait, |now| !now.stopped)
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if now.stopped {
            return;
        }
        wait = RENEW;
        let Some(view) = &now.view else { continue };
        let look = view.now();
        let (title, again) = (now.title.clone(), now.shown);
        // The front end may make us wait, and who ends the cell must not wait for the lock.
        drop(now);
        front_end.show(Output::Updating {
            id: display_id.to_owned(),
            again,
            last: false,
            bundle: html_bundle(
                look.line(&title, text::WIDTH),
                html::render(&look.table(&title)),
            ),
        });
        lock(&state.now).shown = true;
    }
}

fn lock(mutex: &Mutex<Now>) -> MutexGuard<'_, Now> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
