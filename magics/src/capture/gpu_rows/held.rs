//! What the driver's list of processes says of one process, and how far it can be believed.

use crate::probe::nvml::{GpuProcess, ProcessList};

/// What a process holds on a device, by the driver's list of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing: it has no library of the driver, or the list is complete and does not name it.
    Nothing,
    /// The list has a row with its pid. Bytes.
    Listed(u64),
    /// The list has one row that was not there before the process used a GPU. Bytes.
    Inferred(u64),
    /// Not known, and why.
    Unknown(String),
}

impl Held {
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Held::Nothing => Some(0),
            Held::Listed(bytes) | Held::Inferred(bytes) => Some(*bytes),
            Held::Unknown(_) => None,
        }
    }

    pub fn reason(&self) -> Option<String> {
        match self {
            Held::Unknown(reason) => Some(reason.clone()),
            Held::Nothing | Held::Listed(_) | Held::Inferred(_) => None,
        }
    }
}

/// How far a list of processes can be believed.
pub(super) struct Trust<'a> {
    pub pid: u32,
    /// Whether the process has a library of the driver; `None`: not known.
    pub driver: Option<bool>,
    /// Whether it is known to have a CUDA context on the device.
    pub has_context: bool,
    /// Whether pids are those of the whole machine, as the driver's are.
    pub pids_are_global: bool,
    /// The list before the process used a GPU.
    pub baseline: Option<&'a [GpuProcess]>,
}

pub(super) fn held(list: &Result<ProcessList, String>, trust: &Trust) -> Held {
    if trust.driver == Some(false) {
        return Held::Nothing;
    }
    let list = match list {
        Ok(list) => list,
        Err(reason) => {
            return Held::Unknown(format!(
                "the processes on this GPU cannot be listed: {reason}"
            ));
        }
    };
    let not_told = || {
        Held::Unknown(
            "the driver does not tell what one process holds here (an instance of a GPU in MIG \
             mode, WSL2, or a container); see the pool and device rows"
                .into(),
        )
    };
    // A context takes memory, so nothing means that the driver hides it.
    let told = |used: Option<u64>| used.filter(|bytes| *bytes > 0 || !trust.has_context);
    // One that was on the GPU before this process used it is another of the same number: pids of
    // the machine can be those of a container too.
    let is_new = |row: &&GpuProcess| {
        trust
            .baseline
            .is_some_and(|baseline| baseline.iter().all(|known| known.pid != row.pid))
    };
    let own = list
        .rows
        .iter()
        .find(|row| row.pid == trust.pid)
        .filter(|row| trust.pids_are_global || trust.baseline.is_none() || is_new(row));
    if let Some(row) = own {
        return told(row.used).map_or_else(not_told, Held::Listed);
    }
    if trust.pids_are_global {
        return match (trust.has_context, list.complete) {
            (false, true) => Held::Nothing,
            (false, false) => Held::Unknown(
                "the driver lists processes with CUDA only, and this one may use the GPU in another \
                 way (OpenGL, Vulkan); see the device row"
                    .into(),
            ),
            (true, _) => Held::Unknown(
                "the driver does not list this process, as under CUDA's multi-process service; see \
                 the pool and device rows"
                    .into(),
            ),
        };
    }
    let new: Vec<&GpuProcess> = list.rows.iter().filter(is_new).collect();
    match (&new[..], list.rows.is_empty()) {
        ([one], _) if trust.has_context => told(one.used).map_or_else(not_told, Held::Inferred),
        (_, true) => Held::Unknown(
            "the driver lists no process here, as in most containers: start the container with \
             --pid=host to have this process told apart; see the pool and device rows"
                .into(),
        ),
        _ => Held::Unknown(
            "the driver lists processes by numbers of another pid namespace, and which one is this \
             process cannot be told: start the container with --pid=host; see the pool and device \
             rows"
                .into(),
        ),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const WORKER: u32 = 4242;

    pub fn process(pid: u32, used: u64) -> GpuProcess {
        GpuProcess {
            pid,
            used: Some(used),
        }
    }

    pub fn complete(rows: Vec<GpuProcess>) -> Result<ProcessList, String> {
        Ok(ProcessList {
            rows,
            complete: true,
        })
    }

    fn trust(baseline: &[GpuProcess]) -> Trust<'_> {
        Trust {
            pid: WORKER,
            driver: Some(true),
            has_context: true,
            pids_are_global: false,
            baseline: Some(baseline),
        }
    }

    #[test]
    fn a_process_is_believed_by_its_pid_only() {
        let list = complete(vec![process(1, 5), process(WORKER, 9)]);
        assert_eq!(held(&list, &trust(&[])), Held::Listed(9));
        let hidden = complete(vec![GpuProcess {
            pid: WORKER,
            used: None,
        }]);
        assert!(
            matches!(held(&hidden, &trust(&[])), Held::Unknown(reason) if reason.contains("MIG"))
        );
    }

    #[test]
    fn one_new_row_is_inferred_and_two_are_not() {
        let old = [process(1, 5)];
        let one = complete(vec![process(1, 5), process(900, 7)]);
        let two = complete(vec![process(1, 5), process(900, 7), process(901, 8)]);
        assert_eq!(held(&one, &trust(&old)), Held::Inferred(7));
        assert!(matches!(held(&two, &trust(&old)), Held::Unknown(_)));
        // Without a context of this process the new row is another's.
        let without = Trust {
            has_context: false,
            ..trust(&old)
        };
        assert!(matches!(held(&one, &without), Held::Unknown(_)));
        let unseen = Trust {
            baseline: None,
            ..trust(&old)
        };
        assert!(matches!(held(&one, &unseen), Held::Unknown(_)));
    }

    #[test]
    fn nothing_is_said_only_where_it_is_known() {
        let without_driver = Trust {
            driver: Some(false),
            ..trust(&[])
        };
        assert_eq!(held(&Err("x".into()), &without_driver), Held::Nothing);
        let empty = complete(Vec::new());
        assert!(
            matches!(held(&empty, &trust(&[])), Held::Unknown(reason) if reason.contains("--pid=host"))
        );
        let global = Trust {
            pids_are_global: true,
            has_context: false,
            ..trust(&[])
        };
        assert_eq!(held(&empty, &global), Held::Nothing);
        // Nothing is known of those that the driver did not list.
        let partial = Ok(ProcessList::default());
        assert!(matches!(held(&partial, &global), Held::Unknown(_)));
        // A list that does not name a process with a context hides it, and a new row is a stranger's.
        let stranger = complete(vec![process(900, 7)]);
        let with_context = Trust {
            pids_are_global: true,
            ..trust(&[])
        };
        assert!(matches!(held(&stranger, &with_context), Held::Unknown(_)));
        let hidden = Trust {
            has_context: true,
            ..global
        };
        assert!(matches!(held(&empty, &hidden), Held::Unknown(_)));
        assert!(
            matches!(held(&Err("denied".into()), &trust(&[])), Held::Unknown(reason) if reason.contains("denied"))
        );
    }
}
