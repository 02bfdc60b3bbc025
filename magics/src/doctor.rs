//! What this machine lets us measure, what not, why, and how to fix it.

use std::borrow::Cow;

use maud::{Markup, html};

use crate::environment::Environment;
use crate::html::{FIELD, FRAME, NAME, ROW, TABLE};
use crate::probe::cgroup::CgroupProbe;
use crate::probe::host::{ProcessMemory, ProcessProbe, max_rss_self};
use crate::probe::machine::SystemProbe;
use crate::probe::{ProbeError, tree};
use crate::units::format_bytes;

/// How well something can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// Fully.
    Ok,
    /// In part, or less exactly.
    Limited,
    /// Not at all.
    Missing,
}

impl CheckStatus {
    /// One word for a reader.
    pub fn word(self) -> &'static str {
        match self {
            CheckStatus::Ok => "ok",
            CheckStatus::Limited => "limited",
            CheckStatus::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What would be measured.
    pub name: Cow<'static, str>,
    /// How well it can be.
    pub status: CheckStatus,
    /// How, or why not.
    pub detail: String,
    /// What would make it better, if anything would.
    pub fix: Option<String>,
}

impl Check {
    fn new(
        name: impl Into<Cow<'static, str>>,
        status: CheckStatus,
        detail: impl Into<String>,
    ) -> Check {
        Check {
            name: name.into(),
            status,
            detail: detail.into(),
            fix: None,
        }
    }

    /// Fully measured: how, or why not.
    pub fn ok(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Check {
        Check::new(name, CheckStatus::Ok, detail)
    }

    /// Measured in part: how, or why not.
    pub fn limited(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Check {
        Check::new(name, CheckStatus::Limited, detail)
    }

    /// Not measured: how, or why not.
    pub fn missing(name: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Check {
        Check::new(name, CheckStatus::Missing, detail)
    }

    /// What would make it better.
    pub fn fix(mut self, fix: impl Into<String>) -> Check {
        self.fix = Some(fix.into());
        self
    }
}

/// Looks at everything on the host, by trying it.
///
/// `child_pid` is the process that runs the cells; without one, this process stands in for it.
/// `heap_counted` says whether that process counts its heap; `None` where it is not known. The
/// process's high-water mark is reset, so nothing may be measured in it meanwhile.
pub fn host_checks(child_pid: Option<i32>, heap_counted: Option<bool>) -> Vec<Check> {
    let probe = match child_pid {
        Some(pid) => ProcessProbe::open(pid),
        None => ProcessProbe::this_process(),
    };
    let memory = probe.as_ref().map_err(ToString::to_string);
    let memory = memory.and_then(|probe| probe.read().map_err(|error| error.to_string()));
    let reset = probe.and_then(|probe| probe.reset_high_water());
    let system = SystemProbe::detect();
    let mut checks = vec![process_ram(&memory)];
    if let Ok(memory) = &memory {
        checks.push(peak_ram(memory, reset));
        checks.push(split(memory));
        checks.push(swap(memory, swap_total()));
    }
    checks.push(heap(heap_counted));
    checks.push(children(tree::children_are_listed()));
    checks.push(system_ram(&system));
    if let Ok(system) = &system {
        checks.extend(system.cgroup().map(container_peak));
        checks.push(oom_kills(system.oom_kills()));
    }
    checks
}

fn process_ram(memory: &Result<ProcessMemory, String>) -> Check {
    const NAME: &str = "process RAM";
    match memory {
        Ok(memory) => Check::ok(
            NAME,
            format!("{} now, from /proc/PID/status", format_bytes(memory.rss)),
        ),
        Err(reason) => Check::missing(NAME, reason),
    }
}

fn peak_ram(memory: &ProcessMemory, reset: Result<(), ProbeError>) -> Check {
    const NAME: &str = "exact RAM peak";
    let reason = match (memory.high_water, reset) {
        (Some(_), Ok(())) => {
            return Check::ok(NAME, "the kernel's high-water mark, reset before each cell");
        }
        (_, Err(error)) => error.to_string(),
        (None, Ok(())) => "this system has no high-water mark (VmHWM), so peaks are sampled".into(),
    };
    let lifetime = match max_rss_self() {
        Some(_) => "; a cell that raises the highest use so far has an exact peak (getrusage)",
        None => "",
    };
    Check::limited(NAME, reason + lifetime)
        .fix("run on a Linux kernel of 4.0 or later, in a container made by runc or none")
}

fn split(memory: &ProcessMemory) -> Check {
    const NAME: &str = "anon/file/shmem split";
    let split = memory.split;
    match (split.anon, split.file, split.shmem) {
        (Some(_), Some(_), Some(_)) => Check::ok(NAME, "from /proc/PID/status"),
        _ => Check::missing(
            NAME,
            "this system does not tell kinds of pages apart (gVisor, or Linux before 4.5)",
        ),
    }
}

fn swap(memory: &ProcessMemory, total: Option<u64>) -> Check {
    const NAME: &str = "swap";
    match (memory.split.swap, total) {
        (Some(_), Some(0)) => Check::ok(NAME, "the machine has none, so nothing can hide there"),
        (Some(_), Some(total)) => Check::ok(
            NAME,
            format!(
                "{} on this machine; what a cell has there is told apart from its RAM",
                format_bytes(total)
            ),
        ),
        (Some(_), None) => Check::ok(NAME, "what a cell has there is told apart from its RAM"),
        (None, _) => Check::missing(
            NAME,
            "this system does not tell what of a process is swapped out (gVisor, or a Linux built \
             without swap)",
        ),
    }
}

fn swap_total() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    // With no memory at all, it was not read.
    (system.total_memory() > 0).then(|| system.total_swap())
}

fn heap(counted: Option<bool>) -> Check {
    const NAME: &str = "heap";
    match counted {
        Some(true) => Check::ok(NAME, "counted call by call in the process that runs the cells"),
        Some(false) => Check::missing(NAME, "the process that runs the cells does not count it").fix(
            "if MEMTRACK_HEAP=0 is set, take it away and restart the kernel; counting needs Linux \
             with glibc",
        ),
        None => Check::limited(NAME, "not known: no process that runs cells is there to ask")
            .fix("ask in a notebook: %memtrack doctor"),
    }
}

fn children(listed: bool) -> Check {
    const NAME: &str = "child processes";
    match listed {
        true => Check::ok(NAME, "found by /proc/PID/task/TID/children, sampled"),
        false => Check::ok(
            NAME,
            "found by looking at all processes (no CONFIG_PROC_CHILDREN), sampled",
        ),
    }
}

fn system_ram(system: &Result<SystemProbe, ProbeError>) -> Check {
    const NAME: &str = "system RAM";
    let read = system
        .as_ref()
        .map_err(ToString::to_string)
        .and_then(|probe| Ok((probe.describe(), probe.read().map_err(|e| e.to_string())?)));
    match read {
        Ok((whose, memory)) => Check::ok(
            NAME,
            format!(
                "{whose}: {} of {} in use, page cache left out, sampled",
                format_bytes(memory.used),
                format_bytes(memory.limit)
            ),
        ),
        Err(reason) => Check::missing(NAME, reason),
    }
}

fn container_peak(cgroup: &CgroupProbe) -> Check {
    const NAME: &str = "container's own peak";
    match cgroup.reset_peak() {
        Ok(()) => Check::ok(
            NAME,
            "memory.peak can be reset; it includes page cache, so it is an upper bound",
        ),
        Err(error) => Check::limited(NAME, error.to_string()),
    }
}

fn oom_kills(count: Option<u64>) -> Check {
    const NAME: &str = "out-of-memory kills";
    match count {
        Some(count) => Check::ok(NAME, format!("counted by the kernel, {count} so far")),
        None => Check::limited(
            NAME,
            "not counted here (gVisor, or Linux before 4.13), so a killed cell's cause is a guess",
        ),
    }
}

const TITLE: &str = "What this machine lets memtrack measure";
const WIDTH: usize = 100;

/// The checks and the environment for a terminal, at most 100 columns wide.
pub fn render_text(checks: &[Check], environment: &Environment) -> String {
    let findings = checks.iter().map(|check| {
        let detail = match &check.fix {
            Some(fix) => format!("{}\nfix: {fix}", check.detail),
            None => check.detail.clone(),
        };
        vec![
            check.status.word().to_owned(),
            check.name.clone().into_owned(),
            detail,
        ]
    });
    let facts = environment
        .lines()
        .into_iter()
        .map(|(name, value)| vec![name, value]);
    format!(
        "{TITLE}\n{}\n\nEnvironment {}\n{}\n",
        aligned(findings),
        environment.id,
        aligned(facts)
    )
}

fn aligned(rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
        .set_width(WIDTH as u16)
        .add_rows(rows);
    table.trim_fmt()
}

/// The checks and the environment as HTML with inline styles, readable on light and dark pages.
pub fn render_html(checks: &[Check], environment: &Environment) -> Markup {
    const DETAIL: &str = ";text-align:left;padding:2px 8px";
    html! {
        div style=(FRAME) {
            div style="font-weight:bold" { (TITLE) }
            table style=(TABLE) {
                @for check in checks {
                    tr style=(ROW) {
                        td align="left" style={ (FIELD) ";" (NAME) ";font-weight:bold;color:" (color(check.status)) } {
                            (check.status.word())
                        }
                        td align="left" style={ (FIELD) ";" (NAME) } { (check.name) }
                        td align="left" style={ (FIELD) (DETAIL) } {
                            (check.detail)
                            @if let Some(fix) = &check.fix { br; i { "fix: " (fix) } }
                        }
                    }
                }
            }
            details {
                summary { "Environment " code { (environment.id) } }
                table style=(TABLE) {
                    @for (name, value) in environment.lines() {
                        tr style=(ROW) {
                            td align="left" style={ (FIELD) ";" (NAME) } { (name) }
                            td align="left" style={ (FIELD) (DETAIL) } { (value) }
                        }
                    }
                }
            }
        }
    }
}

/// Colours of middle lightness, which stand out on white and on black.
fn color(status: CheckStatus) -> &'static str {
    match status {
        CheckStatus::Ok => "#2e9e4f",
        CheckStatus::Limited => "#c07a00",
        CheckStatus::Missing => "#d9483b",
    }
}

mod gpu;

pub use gpu::gpu_checks;

#[cfg(test)]
mod tests;
