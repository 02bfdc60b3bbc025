//! `usage_request`: what JupyterLab's kernel-usage panel shows. The fields are those of ipykernel.

use procfs::Current;
use serde_json::{Value, json};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::sync::Mutex;

use memtrack::probe::tree;

/// Keeps the last readings, since CPU use is a difference of two.
pub struct Usage {
    system: Mutex<Option<System>>,
}

impl Usage {
    /// Nothing read yet.
    pub fn new() -> Usage {
        Usage {
            system: Mutex::new(System::new().ok()),
        }
    }

    /// The content of a `usage_reply`: the kernel and everything below it, the process that runs
    /// the cells first of all.
    pub async fn reply(&self, child: Option<i32>) -> Value {
        let mut system = self.system.lock().await;
        let Some(system) = system.as_mut() else {
            return json!({ "status": "error", "evalue": "this system does not tell its usage" });
        };
        let own = std::process::id();
        let mut pids = vec![Pid::from_u32(own)];
        let below = tree::descendants(own as i32, None);
        pids.extend(below.into_iter().map(|pid| Pid::from_u32(pid as u32)));
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, what);
        system.refresh_memory();
        system.refresh_cpu_usage();
        let processes = || pids.iter().filter_map(|pid| system.process(*pid));
        let memory: u64 = processes().map(sysinfo::Process::memory).sum();
        let cpu: f32 = processes().map(sysinfo::Process::cpu_usage).sum();
        let (total, available) = (system.total_memory(), system.available_memory());
        let percent = 100.0 * (total.saturating_sub(available)) as f64 / total.max(1) as f64;
        // What the panel shows of the machine beside that.
        let more = procfs::Meminfo::current().ok();
        json!({
            "hostname": System::host_name().ok(),
            "pid": child.unwrap_or(own as i32),
            "kernel_cpu": cpu,
            "kernel_memory": memory,
            "cpu_count": system.cpus().len(),
            "host_cpu_percent": system.global_cpu_usage(),
            "host_virtual_memory": {
                "total": total,
                "available": available,
                "percent": (percent * 10.0).round() / 10.0,
                "used": system.used_memory(),
                "free": system.free_memory(),
                "active": more.as_ref().map(|more| more.active),
                "inactive": more.as_ref().map(|more| more.inactive),
                "buffers": more.as_ref().map(|more| more.buffers),
                "cached": more.as_ref().map(|more| more.cached),
                "shared": more.as_ref().and_then(|more| more.shmem),
            },
        })
    }
}
