//! Which GPUs the user's code can see: `CUDA_VISIBLE_DEVICES`, as CUDA reads it (CUDA C++
//! Programming Guide, "CUDA Environment Variables").

use crate::probe::nvml::Gpu;

/// What must be known of a GPU.
struct Identity<'a> {
    index: u32,
    uuid: Option<&'a str>,
    name: &'a str,
}

/// Places in `gpus` of those that the environment lets CUDA see.
pub(super) fn of_environment(gpus: &[Gpu]) -> Vec<usize> {
    let identities: Vec<Identity> = gpus
        .iter()
        .map(|gpu| Identity {
            index: gpu.device.index,
            uuid: gpu.device.uuid.as_deref(),
            name: &gpu.device.name,
        })
        .collect();
    let variable = |name| std::env::var(name).ok();
    let by_bus = variable("CUDA_DEVICE_ORDER").as_deref() == Some("PCI_BUS_ID");
    visible(
        &identities,
        variable("CUDA_VISIBLE_DEVICES").as_deref(),
        by_bus,
    )
}

/// The places of the GPUs that `list` names, in its order. The first entry that names none ends the
/// list, as in CUDA.
///
/// A number is CUDA's own, by speed unless `by_bus`. Between GPUs of different kinds it cannot be
/// translated to NVML's, which go by the bus: then all are visible, rather than a wrong one.
fn visible(gpus: &[Identity], list: Option<&str>, by_bus: bool) -> Vec<usize> {
    let all = || (0..gpus.len()).collect();
    let Some(list) = list else { return all() };
    let same_order = by_bus || gpus.windows(2).all(|pair| pair[0].name == pair[1].name);
    let mut places = Vec::new();
    for entry in list.split(',').map(str::trim) {
        let place = match entry.parse::<u32>() {
            Ok(_) if !same_order => return all(),
            Ok(index) => gpus.iter().position(|gpu| gpu.index == index),
            // A UUID may be cut short as long as it means one GPU only.
            Err(_) if entry.starts_with("GPU-") || entry.starts_with("MIG-") => {
                let mut matching = gpus
                    .iter()
                    .enumerate()
                    .filter(|(_, gpu)| gpu.uuid.is_some_and(|uuid| uuid.starts_with(entry)));
                match (matching.next(), matching.next()) {
                    (Some((place, _)), None) => Some(place),
                    _ => None,
                }
            }
            Err(_) => None,
        };
        match place {
            Some(place) if !places.contains(&place) => places.push(place),
            // Twice the same makes CUDA see none at all.
            Some(_) => return Vec::new(),
            None => break,
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(list: Option<&str>, by_bus: bool, names: [&str; 3]) -> Vec<usize> {
        let uuids = ["GPU-aa11", "GPU-aa22", "GPU-bb33"];
        let gpus: Vec<Identity> = (0..3)
            .map(|place| Identity {
                index: place as u32,
                uuid: Some(uuids[place]),
                name: names[place],
            })
            .collect();
        visible(&gpus, list, by_bus)
    }

    #[test]
    fn the_list_is_read_as_cuda_reads_it() {
        const T4: [&str; 3] = ["T4"; 3];
        let cases: [(Option<&str>, &[usize]); 10] = [
            (None, &[0, 1, 2]),
            (Some(""), &[]),
            (Some("-1"), &[]),
            (Some("1"), &[1]),
            (Some("2, 0"), &[2, 0]),
            (Some("0,7,1"), &[0]),
            (Some("1,1"), &[]),
            (Some("GPU-bb"), &[2]),
            (Some("GPU-aa"), &[]),
            (Some("GPU-aa22,0"), &[1, 0]),
        ];
        for (list, expected) in cases {
            assert_eq!(seen(list, false, T4), expected, "{list:?}");
        }
    }

    #[test]
    fn numbers_of_mixed_gpus_need_the_order_of_the_bus() {
        let mixed = ["T4", "A100", "T4"];
        assert_eq!(seen(Some("1"), false, mixed), [0, 1, 2]);
        assert_eq!(seen(Some("1"), true, mixed), [1]);
        assert_eq!(seen(Some("GPU-bb33"), false, mixed), [2]);
    }
}
