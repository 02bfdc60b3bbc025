//! The script: what the fake machine is, and what goes wrong on it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::Deserialize;

use crate::processes::{GPUS, INSTANCES};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `script.json`. Every field has a default; a name that is not listed here is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Version of the driver, as NVML reports it.
    pub driver_version: Text,
    /// Version of CUDA that the driver supports: 1000 × major + 10 × minor.
    pub cuda_version: i32,
    /// `nvmlReturn_t` that `nvmlInit_v2` returns.
    pub init_error: Option<u32>,
    /// `CUresult` that `cuInit` returns.
    pub cuda_init_error: Option<u32>,
    /// The GPUs, by NVML's index. Without this field there is one with all defaults.
    pub devices: Vec<Device>,
    /// How many devices NVML says there are, whatever is true.
    pub claimed_devices: Option<u32>,
    /// Pool calls on a thread without a current context fail with `CUDA_ERROR_INVALID_CONTEXT`.
    pub pool_needs_context: bool,
    /// Bytes of VRAM that a primary context costs.
    pub context_vram: u64,
    /// Bytes of anonymous memory that a primary context touches in its process.
    pub context_ram: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            driver_version: "570.00-fake".into(),
            cuda_version: 12080,
            init_error: None,
            cuda_init_error: None,
            devices: vec![Device::default()],
            claimed_devices: None,
            pool_needs_context: false,
            context_vram: 256 * MIB,
            context_ram: 32 * MIB,
        }
    }
}

/// A GPU, or an instance of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// Name of the product. "Fake" is put before a name that does not begin with it.
    pub name: Text,
    /// `GPU-` or `MIG-` and 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12.
    pub uuid: String,
    /// Bytes of memory; 16 GiB for a GPU and 4 GiB for an instance if not given.
    pub total: u64,
    /// Bytes that the driver keeps for itself; NVML does not count them as used.
    pub reserved: u64,
    /// Bytes used by others than the processes that use the fake CUDA.
    pub base_used: u64,
    /// What NVML says of the memory, whatever is true.
    pub claimed_memory: Option<Memory>,
    /// How many rows NVML says the list of processes has, whatever is true.
    pub claimed_processes: Option<u32>,
    /// `nvmlReturn_t` of every NVML call on the device.
    pub error: Option<u32>,
    /// `CUresult` of every CUDA call that needs a context on the device.
    pub cuda_error: Option<u32>,
    /// `nvmlGpuVirtualizationMode_t`: 0 none, 1 passthrough, 2 vGPU, 3 host vGPU, 4 host vSGA.
    pub virtualization: u32,
    /// What the list of processes shows of the processes that use the fake CUDA.
    pub processes: Processes,
    /// Further rows of that list, with the pids as given.
    pub extra_processes: Vec<ExtraProcess>,
    /// The instances, if MIG is on (the list may be empty); `None` if the GPU knows no MIG.
    pub mig: Option<Vec<Device>>,
}

/// Memory of a device in bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub total: u64,
    pub reserved: u64,
    pub free: u64,
    pub used: u64,
}

/// What a library writes as text: in the script a text, or a list of bytes that need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "TextOrBytes")]
pub struct Text(pub Vec<u8>);

#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrBytes {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<TextOrBytes> for Text {
    fn from(given: TextOrBytes) -> Self {
        match given {
            TextOrBytes::Text(text) => Self(text.into()),
            TextOrBytes::Bytes(bytes) => Self(bytes),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// How the list of processes looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Processes {
    /// Right pids, right bytes.
    #[default]
    Own,
    /// Pids of another namespace, as in a container: shifted by [`HOST_PID_SHIFT`].
    Host,
    /// No row at all, `extra_processes` neither.
    None,
    /// As `Host`: the script's `extra_processes` are the others, ours is the one new row.
    OneNew,
    /// Right pids, but `NVML_VALUE_NOT_AVAILABLE` for bytes.
    Unavailable,
    /// The call fails with this `nvmlReturn_t`.
    Error(u32),
}

/// What is added to a pid to make it look like one of another namespace.
pub const HOST_PID_SHIFT: u32 = 1_000_000;

/// A row of the list of processes that stands for nobody here.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraProcess {
    pub pid: u32,
    /// Bytes.
    pub used: u64,
}

/// The 16 bytes of a UUID with its prefix; `None` if it is not one.
pub fn uuid_bytes(uuid: &str) -> Option<[u8; 16]> {
    let digits = uuid.strip_prefix("GPU-").or(uuid.strip_prefix("MIG-"))?;
    let groups: Vec<&str> = digits.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let number = u128::from_str_radix(&groups.concat(), 16).ok()?;
    Some(number.to_be_bytes())
}

impl Device {
    /// Fills what was not given, and looks at what was.
    fn complete(&mut self, gpu: usize, mig: Option<usize>) -> Result<(), String> {
        let (prefix, place) = match mig {
            None => ("GPU-", format!("devices[{gpu}]")),
            Some(mig) => ("MIG-", format!("devices[{gpu}].mig[{mig}]")),
        };
        if self.total == 0 {
            self.total = if mig.is_none() { 16 * GIB } else { 4 * GIB };
        }
        if self.name.0.is_empty() {
            self.name = match mig {
                None => "Fake GPU".into(),
                Some(_) => "Fake GPU MIG".into(),
            };
        } else if !self.name.0.starts_with(b"Fake") {
            self.name.0.splice(0..0, *b"Fake ");
        }
        if self.uuid.is_empty() {
            let instance = mig.map_or(0, |mig| mig + 1);
            self.uuid = format!("{prefix}fa4e{gpu:04x}-{instance:04x}-4000-8000-{gpu:012x}");
        }
        if !self.uuid.starts_with(prefix) || uuid_bytes(&self.uuid).is_none() {
            return Err(format!(
                "{place}.uuid {:?} is not {prefix}xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
                self.uuid
            ));
        }
        if mig.is_some() && self.mig.is_some() {
            return Err(format!("{place} is an instance and cannot have instances"));
        }
        let instances = self.mig.iter_mut().flatten();
        for (index, instance) in instances.enumerate() {
            instance.complete(gpu, Some(index))?;
        }
        if self.mig.as_ref().is_some_and(|mig| mig.len() > INSTANCES) {
            return Err(format!("{place} has more than {INSTANCES} instances"));
        }
        Ok(())
    }
}

impl Script {
    /// Reads a script from its JSON text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if script.devices.len() > GPUS {
            return Err(format!("more than {GPUS} devices"));
        }
        for (index, device) in script.devices.iter_mut().enumerate() {
            device.complete(index, None)?;
        }
        Ok(script)
    }
}

/// Tells whether a file is still the one that was read.
type Stamp = (PathBuf, u64, u64, i64, i64);

fn stamp(path: &Path) -> Result<Stamp, String> {
    let data = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (inode, size) = (data.ino(), data.size());
    Ok((
        path.to_owned(),
        inode,
        size,
        data.mtime(),
        data.mtime_nsec(),
    ))
}

/// The script as it is now; it is read again whenever the file has changed.
///
/// `None` if it is missing or broken; a line on stderr then says why.
pub fn load() -> Option<Arc<Script>> {
    static CACHE: Mutex<Option<(Stamp, Arc<Script>)>> = Mutex::new(None);
    let read = || {
        let path = crate::folder()?.join("script.json");
        let stamp = stamp(&path)?;
        let mut cache = CACHE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((known, script)) = &*cache
            && *known == stamp
        {
            return Ok(script.clone());
        }
        let text = fs::read_to_string(&path);
        let script = text
            .map_err(|error| error.to_string())
            .and_then(|text| Script::parse(&text))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let script = Arc::new(script);
        *cache = Some((stamp, script.clone()));
        Ok(script)
    };
    match read() {
        Ok(script) => Some(script),
        Err(message) => {
            let message: String = message;
            crate::complain(&message);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default() {
        let script = Script::parse("{}").unwrap();
        assert_eq!(script.driver_version, "570.00-fake".into());
        assert_eq!(script.devices.len(), 1);
        assert_eq!(script.devices[0].total, 16 * GIB);
        assert_eq!(script.devices[0].processes, Processes::Own);
        assert!(uuid_bytes(&script.devices[0].uuid).is_some());
    }

    #[test]
    fn names_are_fake_and_errors_are_told() {
        let script = Script::parse(r#"{"devices": [{"name": "T4"}, {"mig": [{}]}]}"#).unwrap();
        assert_eq!(script.devices[0].name, "Fake T4".into());
        let script = Script::parse(r#"{"devices": [{"name": [255, 60]}]}"#).unwrap();
        assert_eq!(script.devices[0].name.0, b"Fake \xff<");
        let script = Script::parse(r#"{"devices": [{"name": "T4"}, {"mig": [{}]}]}"#).unwrap();
        let instance = &script.devices[1].mig.as_ref().unwrap()[0];
        assert!(instance.uuid.starts_with("MIG-"), "{}", instance.uuid);
        assert!(Script::parse(r#"{"device": []}"#).is_err());
        assert!(Script::parse(r#"{"devices": [{"uuid": "GPU-1"}]}"#).is_err());
    }

    #[test]
    fn the_list_of_processes_can_fail() {
        let script = r#"{"devices": [{"processes": {"error": 4}}, {"processes": "one_new"}]}"#;
        let script = Script::parse(script).unwrap();
        assert_eq!(script.devices[0].processes, Processes::Error(4));
        assert_eq!(script.devices[1].processes, Processes::OneNew);
    }
}
