//! What can be believed of the driver's answers: a library that is broken, or is none of NVIDIA's,
//! may answer anything, and what is not known must be neither zero nor absurd.

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::struct_wrappers::device::{MemoryInfo, ProcessInfo};

use super::{GpuMemory, GpuProcess};
use crate::table::clean;

/// More GPUs than a machine has, and more instances than a GPU has (7).
pub const MOST_DEVICES: u32 = 256;
/// More processes than a GPU has. For each there must be room before the list is asked for.
pub const MOST_PROCESSES: u32 = 100_000;

/// A name or a version, in one line; `None` where nothing is left of it.
pub fn text(text: &str) -> Option<String> {
    Some(clean(text)).filter(|text| !text.is_empty())
}

/// A UUID: letters, digits and what stands between them.
pub fn uuid(text: String) -> Option<String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-/".contains(&byte);
    (!text.is_empty() && text.bytes().all(is_known)).then_some(text)
}

/// CUDA's version as (major, minor), out of 1000 × major + 10 × minor.
pub fn cuda_version(number: i32) -> Option<(u32, u32)> {
    let number = u32::try_from(number).ok()?;
    (1000..100_000)
        .contains(&number)
        .then_some((number / 1000, number % 1000 / 10))
}

/// A device's memory, unless its parts do not fit into the whole.
pub fn memory(told: &MemoryInfo) -> Result<GpuMemory, String> {
    let in_use = told.used.checked_add(told.reserved);
    match in_use {
        Some(in_use) if in_use <= told.total && (1..NOT_AVAILABLE).contains(&told.total) => {
            Ok(GpuMemory {
                used: told.used,
                reserved: told.reserved,
                total: told.total,
            })
        }
        _ => Err(format!(
            "the driver tells of this GPU's memory what cannot be ({} bytes used and {} reserved of \
             {}): see what nvidia-smi says",
            told.used, told.reserved, told.total
        )),
    }
}

/// `NVML_VALUE_NOT_AVAILABLE`.
const NOT_AVAILABLE: u64 = u64::MAX;

/// The rows of a list, of which none may hold more than there is. `total`: of the device, if known.
pub fn processes(rows: Vec<ProcessInfo>, total: Option<u64>) -> Vec<GpuProcess> {
    // Where the driver counts more rows than it writes, the rest is zeros; no process has number 0.
    rows.into_iter()
        .filter(|row| row.pid != 0)
        .map(|row| GpuProcess {
            pid: row.pid,
            used: match row.used_gpu_memory {
                UsedGpuMemory::Used(bytes) => {
                    Some(bytes).filter(|bytes| total.is_none_or(|total| *bytes <= total))
                }
                UsedGpuMemory::Unavailable => None,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_line_and_something() {
        assert_eq!(text(" Test\n\u{1b}[31mGPU\t").unwrap(), "Test [31mGPU");
        assert_eq!(text("<b>GPU</b>").unwrap(), "<b>GPU</b>");
        assert_eq!(text(" \n\u{7}"), None);
        let known = ["GPU-00112233-4455", "MIG-GPU-0011/1/0"];
        assert!(known.iter().all(|it| uuid((*it).into()).is_some()));
        let wrong = ["", "GPU-<b>", "GPU-\n", "GPU-é"];
        assert!(wrong.iter().all(|it| uuid((*it).into()).is_none()));
    }

    #[test]
    fn versions_of_cuda_have_a_range() {
        assert_eq!(cuda_version(12_080), Some((12, 8)));
        for wrong in [0, -1, 999, i32::MAX, i32::MIN] {
            assert_eq!(cuda_version(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_believed() {
        let told = |total, reserved, used| {
            memory(&MemoryInfo {
                free: 0,
                total,
                reserved,
                used,
                version: 2,
            })
        };
        assert_eq!(told(100, 10, 90).unwrap().used, 90);
        assert_eq!(told(100, 0, 0).unwrap().used, 0);
        for (total, reserved, used) in [
            (0, 0, 0),
            (100, 0, 101),
            (100, 11, 90),
            (100, 0, u64::MAX),
            (100, u64::MAX, 1),
            (u64::MAX, 0, 1),
            (u64::MAX, 0, u64::MAX),
        ] {
            let reason = told(total, reserved, used).unwrap_err();
            assert!(reason.contains("nvidia-smi"), "{reason}");
        }
    }

    #[test]
    fn no_process_holds_more_than_there_is() {
        let row = |pid, used| ProcessInfo {
            pid,
            used_gpu_memory: UsedGpuMemory::Used(used),
            gpu_instance_id: None,
            compute_instance_id: None,
        };
        let used = |total| -> Vec<Option<u64>> {
            let rows = vec![row(1, 5), row(2, 101), row(0, 0)];
            let listed = processes(rows, total).into_iter();
            listed.map(|process| process.used).collect()
        };
        assert_eq!(used(Some(100)), [Some(5), None]);
        assert_eq!(used(None), [Some(5), Some(101)]);
    }
}
