//! The machine's fingerprint: what a reader must know to compare two recorded runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::probe::c_library::{glibc_version, kernel_log};
use crate::probe::cgroup::CgroupProbe;
use crate::probe::host::ProcessProbe;
use crate::probe::tree::page_size;
use crate::record::EnvironmentRef;
use crate::units::format_bytes;

/// The facts of a machine and their hash.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// The first 12 hexadecimal digits of the SHA-256 of the facts. The same on one machine as
    /// long as nothing of them changes.
    pub id: String,
    /// The facts, an object. A fact that could not be found out is `null`.
    pub facts: Value,
}

impl Environment {
    /// Looks at this machine, and takes `extra` among the facts (it wins over a fact of the same
    /// name).
    ///
    /// To see whether it is possible, the high-water mark of this process is reset once: a cell's
    /// peak that is being measured in this very process would be lost.
    pub fn detect(extra: Map<String, Value>) -> Environment {
        let mut facts = facts();
        facts.extend(extra);
        Environment::from_facts(Value::Object(facts))
    }

    /// The environment that `facts` describe.
    pub fn from_facts(mut facts: Value) -> Environment {
        // The order of keys must not depend on how serde_json was built.
        facts.sort_all_objects();
        let digest = Sha256::digest(facts.to_string());
        Environment {
            id: digest[..6]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            facts,
        }
    }

    /// The environment as a record carries it: the facts only in a session's first record.
    pub fn reference(&self, with_facts: bool) -> EnvironmentRef {
        EnvironmentRef {
            id: self.id.clone(),
            facts: with_facts.then(|| self.facts.clone()),
        }
    }

    /// The facts as names and values for a reader, in a fixed order; unknown ones are left out.
    pub fn lines(&self) -> Vec<(String, String)> {
        let Value::Object(facts) = &self.facts else {
            return Vec::new();
        };
        facts
            .iter()
            .filter_map(|(name, value)| {
                let label = name.trim_end_matches("_bytes").replace('_', " ");
                Some((label, shown(name, value)?))
            })
            .collect()
    }
}

/// A fact for a reader; sizes are told by their name.
fn shown(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("yes".into()),
        Value::Bool(false) => Some("no".into()),
        Value::Number(number) if name.ends_with("_bytes") => number.as_u64().map(format_bytes),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(|item| shown("", item)).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .filter_map(|(name, value)| Some(format!("{name}={}", shown(name, value)?)))
                .collect();
            (!entries.is_empty()).then(|| entries.join(", "))
        }
    }
}

/// Nothing in here may change from one run to the next on the same machine.
fn facts() -> Map<String, Value> {
    let system = System::new_with_specifics(
        RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing())
            .with_memory(MemoryRefreshKind::everything()),
    )
    .ok();
    let cgroup = CgroupProbe::detect().ok();
    let kernel = read("/proc/sys/kernel/osrelease");
    let facts = json!({
        "os": os_name(&read("/etc/os-release").unwrap_or_default()),
        "kernel": kernel,
        "arch": std::env::consts::ARCH,
        "cpu": system.as_ref().and_then(cpu_model),
        "cpus": system.as_ref().map(|system| system.cpus().len()).filter(|cpus| *cpus > 0),
        "cpus_allowed": std::thread::available_parallelism().ok().map(usize::from),
        "ram_bytes": system.as_ref().map(System::total_memory).filter(|total| *total > 0),
        "swap_bytes": system.as_ref().map(System::total_swap),
        "container": Signs::look().runtime(),
        "container_limit_bytes": cgroup.as_ref().and_then(CgroupProbe::limit),
        "cgroup": cgroup.as_ref().map(|cgroup| cgroup.version().to_string()),
        "hypervisor": hypervisor(
            &read("/proc/cpuinfo").unwrap_or_default(),
            read("/sys/class/dmi/id/sys_vendor").as_deref(),
            read("/sys/class/dmi/id/product_name").as_deref(),
        ),
        "glibc": glibc_version(),
        "page_size_bytes": page_size(),
        "transparent_hugepages": read("/sys/kernel/mm/transparent_hugepage/enabled")
            .and_then(|text| chosen(&text).map(str::to_owned)),
        "overcommit_memory": read("/proc/sys/vm/overcommit_memory").as_deref().and_then(overcommit),
        "malloc_settings": malloc_settings(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        })),
        "high_water_reset": ProcessProbe::this_process()
            .and_then(|probe| probe.reset_high_water())
            .is_ok(),
    });
    match facts {
        Value::Object(facts) => facts,
        _ => unreachable!("the literal above is an object"),
    }
}

/// A file's text without the blanks around it; `None` if it cannot be read or is empty.
fn read(path: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?)
        .trim()
        .to_owned();
    (!text.is_empty()).then_some(text)
}

/// `PRETTY_NAME` of an `os-release` file (the manual page os-release(5)).
fn os_name(os_release: &str) -> Option<String> {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?
        .trim()
        .trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

fn cpu_model(system: &System) -> Option<String> {
    let brand = system.cpus().first()?.brand().trim();
    (!brand.is_empty()).then(|| brand.to_owned())
}

/// The word in brackets, as in `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    (!word.is_empty()).then_some(word)
}

/// `Documentation/mm/overcommit-accounting.rst`.
fn overcommit(text: &str) -> Option<&'static str> {
    match text.trim() {
        "0" => Some("0 (heuristic)"),
        "1" => Some("1 (always)"),
        "2" => Some("2 (never)"),
        _ => None,
    }
}

/// The environment variables that change how glibc's `malloc` behaves.
fn malloc_settings(variables: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    variables
        .filter(|(name, _)| name.starts_with("MALLOC_") || name == "GLIBC_TUNABLES")
        .collect()
}

/// What betrays the runtime of a container.
#[derive(Debug, Default)]
struct Signs {
    dockerenv: bool,
    containerenv: bool,
    kubernetes: bool,
    init_cgroup: String,
    kernel_log: Option<String>,
}

impl Signs {
    fn look() -> Signs {
        Signs {
            dockerenv: Path::new("/.dockerenv").exists(),
            containerenv: Path::new("/run/.containerenv").exists(),
            kubernetes: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
                || Path::new("/var/run/secrets/kubernetes.io").exists(),
            init_cgroup: read("/proc/1/cgroup").unwrap_or_default(),
            kernel_log: kernel_log(),
        }
    }

    /// A guess; there is no sure way to tell.
    fn runtime(&self) -> &'static str {
        let log = self.kernel_log.as_deref().unwrap_or_default();
        let cgroup = |word| self.init_cgroup.contains(word);
        // gVisor comes first: it can lie under any of the others and explains what is missing.
        if log.contains("Starting gVisor") {
            "gVisor"
        } else if self.kubernetes || cgroup("kubepods") {
            "kubernetes"
        } else if self.containerenv || cgroup("libpod") {
            "podman"
        } else if self.dockerenv || cgroup("docker") {
            "docker"
        } else if cgroup("lxc") {
            "lxc"
        } else {
            "none seen"
        }
    }
}

/// Names that hypervisors give to the machine that they make up.
const VIRTUAL_MACHINES: [&str; 11] = [
    "kvm",
    "qemu",
    "vmware",
    "virtualbox",
    "xen",
    "bochs",
    "hyper-v",
    "virtual machine",
    "google compute engine",
    "amazon ec2",
    "firecracker",
];

/// What runs this machine, if it is a virtual one. x86 processors have a flag for it; elsewhere only
/// the name of the machine can tell.
fn hypervisor(cpuinfo: &str, vendor: Option<&str>, product: Option<&str>) -> String {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags"));
    let flagged = flags.map(|flags| {
        flags
            .split_ascii_whitespace()
            .any(|flag| flag == "hypervisor")
    });
    let name = [vendor, product]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ");
    let lower = name.to_lowercase();
    let named = VIRTUAL_MACHINES.iter().any(|known| lower.contains(known));
    match flagged {
        Some(false) => "none seen".into(),
        None if !named => "none seen".into(),
        _ if name.is_empty() => "one without a name".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests;
