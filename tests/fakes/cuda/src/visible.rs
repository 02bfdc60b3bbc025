//! `CUDA_VISIBLE_DEVICES`: which GPUs CUDA shows, and in which order.

use fake_gpu::Unit;
use fake_gpu::script::Script;

/// The units that CUDA shows under this value of `CUDA_VISIBLE_DEVICES` (`None`: not set).
///
/// An entry is an index, or a UUID (`GPU-…`, `MIG-…`) or the beginning of one that fits only one
/// device. The first entry that names nothing ends the list; an entry that comes twice empties it.
/// A GPU with MIG on stands for its first instance, and no second instance is ever shown.
pub fn visible(script: &Script, variable: Option<&str>) -> Vec<Unit> {
    let all = || (0..script.devices.len()).collect::<Vec<_>>();
    let mut units: Vec<Unit> = Vec::new();
    match variable {
        None => units.extend(all().into_iter().filter_map(|gpu| whole(script, gpu))),
        Some(list) => {
            for entry in list.split(',') {
                let Some(unit) = named(script, entry.trim()) else {
                    break;
                };
                if units.contains(&unit) {
                    return Vec::new();
                }
                units.push(unit);
            }
        }
    }
    let mut instances = 0;
    units.retain(|unit| {
        instances += usize::from(unit.mig.is_some());
        unit.mig.is_none() || instances == 1
    });
    units
}

/// What a GPU is for CUDA: itself, its first instance, or nothing where MIG has no instances.
fn whole(script: &Script, gpu: usize) -> Option<Unit> {
    match &script.devices.get(gpu)?.mig {
        None => Some(Unit { gpu, mig: None }),
        Some(instances) if instances.is_empty() => None,
        Some(_) => Some(Unit { gpu, mig: Some(0) }),
    }
}

fn named(script: &Script, entry: &str) -> Option<Unit> {
    let uuids = script.devices.iter().enumerate().flat_map(|(gpu, device)| {
        let instances = device.mig.iter().flatten().enumerate();
        let instances = instances.map(move |(mig, instance)| {
            (
                &instance.uuid,
                Unit {
                    gpu,
                    mig: Some(mig),
                },
            )
        });
        std::iter::once((&device.uuid, Unit { gpu, mig: None })).chain(instances)
    });
    if entry.starts_with("GPU-") || entry.starts_with("MIG-") {
        let mut fit = uuids.filter(|(uuid, _)| uuid.starts_with(entry));
        let (_, unit) = fit.next().filter(|_| fit.next().is_none())?;
        return if unit.mig.is_some() {
            Some(unit)
        } else {
            whole(script, unit.gpu)
        };
    }
    whole(script, entry.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(script: &str, variable: Option<&str>) -> Vec<(usize, Option<usize>)> {
        let units = visible(&Script::parse(script).unwrap(), variable);
        units.iter().map(|unit| (unit.gpu, unit.mig)).collect()
    }

    const THREE: &str = r#"{"devices": [
        {"uuid": "GPU-aaaa0000-0000-4000-8000-000000000001"},
        {"uuid": "GPU-aaaa0000-0000-4000-8000-000000000002"},
        {"uuid": "GPU-bbbb0000-0000-4000-8000-000000000003"}]}"#;

    #[test]
    fn indices_choose_and_order() {
        assert_eq!(indices(THREE, None), [(0, None), (1, None), (2, None)]);
        assert_eq!(indices(THREE, Some("2, 0")), [(2, None), (0, None)]);
        assert_eq!(indices(THREE, Some("1,9,0")), [(1, None)]);
        assert_eq!(indices(THREE, Some("-1,0")), []);
        assert_eq!(indices(THREE, Some("")), []);
        assert_eq!(indices(THREE, Some("0,0")), []);
    }

    #[test]
    fn the_beginning_of_a_uuid_is_enough_if_it_fits_one() {
        assert_eq!(indices(THREE, Some("GPU-b")), [(2, None)]);
        assert_eq!(indices(THREE, Some("GPU-b,GPU-a")), [(2, None)]);
        let second = "GPU-aaaa0000-0000-4000-8000-000000000002";
        assert_eq!(indices(THREE, Some(second)), [(1, None)]);
    }

    #[test]
    fn one_instance_is_shown() {
        let script = r#"{"devices": [{"mig": [
            {"uuid": "MIG-cccc0000-0000-4000-8000-000000000001"},
            {"uuid": "MIG-dddd0000-0000-4000-8000-000000000002"}]}, {"mig": []}, {}]}"#;
        assert_eq!(indices(script, None), [(0, Some(0)), (2, None)]);
        assert_eq!(indices(script, Some("MIG-d")), [(0, Some(1))]);
        assert_eq!(indices(script, Some("MIG-d,MIG-c")), [(0, Some(1))]);
        assert_eq!(indices(script, Some("0")), [(0, Some(0))]);
    }
}
