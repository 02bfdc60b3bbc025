"""What Linux says of processes."""

import contextlib
import pathlib


def resident(pid):
    """Resident bytes of a process. ProcessLookupError or FileNotFoundError for one that has ended."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"{pid} has ended")


def is_alive(pid):
    """A process that ended but was not waited for yet is not alive."""
    with contextlib.suppress(OSError):
        return _fields(pid)[0] != "Z"
    return False


def descendants(root):
    """The processes that `root` has started, and those that they have."""
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(_fields(folder.name)[1])
    found = [root]
    for one in found:
        found += [process for process, parent in parents.items() if parent == one]
    return found[1:]


def _fields(pid):
    """The fields of `stat` behind the name, which may have brackets and spaces of its own."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
