//! What a user is told when memory ran out: which cell, what the limit was and whose, what was
//! held, and what helps. Nothing is said that is not known.

use std::sync::atomic::Ordering::Relaxed;

use evcxr::Error;
use memtrack::capture::{Capture, HeapNote, Watcher};
use memtrack::page::{SharedPage, known};
use memtrack::probe::host::ProcessProbe;
use memtrack::probe::machine::SystemSource;
use memtrack::sampler::Samples;
use memtrack::units::{format_bytes, percent};
use memtrack::warning::CLOSE_PERCENT;

use crate::death::Death;
use crate::link::Notes;
use crate::verdict::Place;

/// What was held when memory ran out. Sizes in bytes; `None` is not known.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Held {
    /// What the container or the machine can hold.
    pub limit: Option<u64>,
    /// Whose limit that is, such as `the container (cgroup v2)`.
    pub whose: String,
    /// A container limits this process.
    pub is_container: bool,
    /// The largest address space that a process may have here (`ulimit -v`).
    pub address_space: Option<u64>,
    /// The highest use of the container or machine that was seen while the cell ran.
    pub system: Option<u64>,
    /// The highest resident set of the process that ran the cell, as far as it is known.
    pub process: Option<Resident>,
    /// The heap that it held when it ended.
    pub heap: Option<u64>,
    /// The highest heap of this run.
    pub heap_peak: Option<u64>,
    /// The highest sum over the compiler's processes.
    pub compiler: Option<u64>,
    /// The kernel's own resident set, now.
    pub kernel: Option<u64>,
}

/// The highest resident set of a dead process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resident {
    /// Its high-water mark of this run.
    Exact(u64),
    /// The highest sample of this run.
    Seen(u64),
    /// The maximum over its life, or that of a process that it had waited for, if that was larger.
    OfLife(u64),
}

impl Held {
    /// What is known after a cell.
    pub fn of(
        notes: &Notes,
        watcher: &Watcher,
        capture: Option<&Capture>,
        heap_note: &HeapNote,
    ) -> Held {
        let system = watcher.system_now();
        let samples = capture.map(Capture::so_far);
        let page = notes.last_words.as_ref().map(|words| words.page());
        let is_counted = heap_note.not_counted.is_none();
        let heap = page
            .filter(|page| is_counted && page.heap_counted.load(Relaxed) == 1)
            .map(|page| page.heap.read());
        let bytes = |value: i64| value.max(0) as u64;
        let own = ProcessProbe::this_process().and_then(|probe| probe.read());
        Held {
            limit: system.as_ref().map(|memory| memory.limit),
            whose: match system.as_ref().map(|memory| &memory.source) {
                Some(SystemSource::Cgroup { version, .. }) => {
                    format!("the container (cgroup {version})")
                }
                Some(SystemSource::Machine) | None => "the machine".into(),
            },
            is_container: watcher.is_container(),
            address_space: address_space(),
            system: samples.and_then(|samples| samples.system),
            process: page.and_then(|page| resident(page, samples, notes.death)),
            heap: heap.map(|counts| bytes(counts.live)),
            // The mark is set back only before tracked cells.
            heap_peak: heap
                .filter(|_| capture.is_some())
                .map(|counts| bytes(counts.peak)),
            compiler: samples.and_then(|samples| samples.compiler),
            kernel: own.ok().map(|memory| memory.rss),
        }
    }

    /// Whether the container or machine was nearly full when it was last looked at.
    pub fn was_close(&self) -> bool {
        self.percent()
            .is_some_and(|percent| percent >= CLOSE_PERCENT)
    }

    fn percent(&self) -> Option<f64> {
        percent(self.system?, self.limit?)
    }

    fn limit_line(&self) -> Option<String> {
        let limit = format_bytes(self.limit?);
        Some(format!(
            "For all together, {} limit is {limit}.",
            self.whose
        ))
    }

    fn process_line(&self) -> Option<String> {
        let ram = self.process.map(|resident| match resident {
            Resident::Exact(bytes) => format!("{} of RAM at most", format_bytes(bytes)),
            Resident::Seen(bytes) => {
                format!("{} of RAM at the last look", format_bytes(bytes))
            }
            Resident::OfLife(bytes) => format!(
                "at most {} of RAM in its life (it, or a process that it started)",
                format_bytes(bytes)
            ),
        });
        let heap = self.heap.map(|bytes| {
            format!(
                "{} of heap when it ended, touched or not",
                format_bytes(bytes)
            )
        });
        let peak = self
            .heap_peak
            .filter(|peak| Some(*peak) > self.heap)
            .map(|bytes| format!("{} of heap at most", format_bytes(bytes)));
        joined("The process that ran the cell held", [ram, heap, peak])
    }

    fn others_line(&self) -> Option<String> {
        let part = |name: &str, bytes: Option<u64>| {
            bytes.map(|bytes| format!("{name} {}", format_bytes(bytes)))
        };
        joined(
            "Beside it:",
            [
                part("the kernel itself", self.kernel),
                part("the compiler, before the cell ran,", self.compiler),
            ],
        )
    }

    fn what_helps(&self) -> &'static str {
        match self.is_container {
            true => {
                "What helps: drop what is no longer needed before the cell, work in smaller \
                 pieces, or give the container more memory. %memtrack above a cell shows where \
                 memory goes."
            }
            false => {
                "What helps: drop what is no longer needed before the cell, work in smaller \
                 pieces, or end other programs. %memtrack above a cell shows where memory goes."
            }
        }
    }

    fn story<const N: usize>(&self, first: String, lines: [Option<String>; N]) -> String {
        let lines = lines.into_iter().flatten();
        let helps = self.what_helps().to_owned();
        let all: Vec<String> = [first].into_iter().chain(lines).chain([helps]).collect();
        all.join("\n")
    }
}

/// The process that runs cells was killed, and the system counts it as killed for memory.
pub fn process(place: &Place) -> String {
    let held = &place.held;
    let first = format!(
        "the system killed it for lack of memory (SIGKILL) while {} {}{}.",
        place.cell_name,
        if place.has_run { "ran" } else { "was loaded" },
        short_limit(held)
    );
    held.story(first, [held.process_line(), held.others_line()])
}

/// It was killed from outside while memory was nearly full; by whom is not known.
pub fn perhaps(death: &Death, place: &Place) -> String {
    let held = &place.held;
    let first = format!(
        "{}, perhaps for lack of memory: while {} ran, {:.0} % of {} were in use.",
        death.describe(),
        place.cell_name,
        held.percent().unwrap_or_default().floor(),
        held.limit.map(format_bytes).unwrap_or_default(),
    );
    let lines = [held.limit_line(), held.process_line(), held.others_line()];
    held.story(first, lines)
}

/// libstd aborted because an allocation of this many bytes failed.
pub fn allocation(bytes: u64, place: &Place) -> String {
    let held = &place.held;
    let first = format!(
        "{} asked for {} ({bytes} bytes) at once, which the system refused, so the process aborted \
         (SIGABRT).",
        place.cell_name,
        format_bytes(bytes)
    );
    let address_space = held.address_space.map(|limit| {
        format!(
            "The limit of its address space: {} (ulimit -v).",
            format_bytes(limit)
        )
    });
    let lines = [address_space, held.limit_line(), held.process_line()];
    held.story(first, lines)
}

/// Whether the cell did not compile because the compiler or the linker was killed, and not because
/// of its code.
pub fn killed_the_compiler(error: &Error, place: &Place) -> bool {
    match error {
        Error::Message(message) => says_rustc_was_killed(message, place.out_of_memory),
        Error::CompilationErrors(errors) => errors
            .iter()
            .any(|error| says_linker_was_killed(&error.message(), &error.rendered())),
        Error::SubprocessTerminated(_) | Error::TypeRedefinedVariablesLost(_) => false,
    }
}

/// Cargo tells the signal that ended rustc. Where a stand-in for rustc ended with it, cargo tells an
/// exit without any error, which means this if the system counted a kill.
fn says_rustc_was_killed(message: &str, killed_for_memory: bool) -> bool {
    message.contains("(signal: 9, SIGKILL: kill)")
        || killed_for_memory && message.contains("process didn't exit successfully")
}

/// rustc quotes what the C compiler says of the linker. The user's code can say anything, so it
/// must be an error of linking.
fn says_linker_was_killed(message: &str, rendered: &str) -> bool {
    message.contains("linking with")
        && ["signal 9", "signal: 9"]
            .iter()
            .any(|words| rendered.contains(words))
}

/// The compiler was killed.
pub fn compiler(place: &Place) -> String {
    let held = &place.held;
    let first = match place.out_of_memory {
        true => format!(
            "the system killed the compiler for lack of memory (SIGKILL) while it compiled {}{}. \
             The cell did not run.",
            place.cell_name,
            short_limit(held)
        ),
        false => format!(
            "the compiler was killed (SIGKILL) while it compiled {}; often that is for lack of \
             memory. The cell did not run.",
            place.cell_name
        ),
    };
    let part = |name: &str, bytes: Option<u64>| {
        bytes.map(|bytes| format!("{name} {}", format_bytes(bytes)))
    };
    let compiler = joined(
        "Seen of the compiler:",
        [part("at most", held.compiler), None],
    );
    let kernel = joined("Beside it:", [part("the kernel itself", held.kernel), None]);
    let limit = held.limit_line().filter(|_| !place.out_of_memory);
    held.story(first, [limit, compiler, kernel])
}

fn short_limit(held: &Held) -> String {
    match held.limit {
        Some(limit) => format!("; the limit of {} is {}", held.whose, format_bytes(limit)),
        None => String::new(),
    }
}

/// The best that is known of a dead process's resident set. `samples` are those of a tracked run.
fn resident(page: &SharedPage, samples: Option<Samples>, death: Option<Death>) -> Option<Resident> {
    let max_rss = death.and_then(|death| death.max_rss);
    let Some(samples) = samples else {
        return max_rss.map(Resident::OfLife);
    };
    let mark = known(&page.after.high_water);
    if let Some(mark) = mark.filter(|_| page.high_water_reset.load(Relaxed) == 1) {
        return Some(Resident::Exact(mark));
    }
    // A maximum that this run raised is this run's, unless a child of the process raised it.
    let raised = max_rss.filter(|max_rss| Some(*max_rss) > known(&page.before.max_rss));
    match raised.filter(|_| samples.children.unwrap_or(0) == 0) {
        Some(max_rss) => Some(Resident::Exact(max_rss)),
        None => samples.worker_high_water.map(Resident::Seen),
    }
}

fn joined<const N: usize>(head: &str, parts: [Option<String>; N]) -> Option<String> {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("{head} {}.", parts.join(", ")))
}

/// Inherited by the process that runs the cells.
fn address_space() -> Option<u64> {
    use nix::sys::resource::{Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    (soft != nix::libc::RLIM_INFINITY).then_some(soft)
}

#[cfg(test)]
mod tests;
