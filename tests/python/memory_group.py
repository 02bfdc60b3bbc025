"""A memory cgroup of the test's own: what a container with a limit is to the programs in it.

It takes the right to make one, which root has on most machines, and a container has not.
"""

from __future__ import annotations

import os
import pathlib
import time
import uuid

import pytest


class MemoryGroup:
    """A group below this process's own. `with group:` starts processes in it.

    Skips the test, with the reason, where no group can be made.
    """

    def __init__(self, limit):
        version, self._home = _own_group()
        self.folder = self._home / f"memtrack-test-{uuid.uuid4().hex[:8]}"
        limit_file = {1: "memory.limit_in_bytes", 2: "memory.max"}[version]
        try:
            self.folder.mkdir()
        except OSError as error:
            pytest.skip(f"no memory cgroup can be made in {self._home}: {error}")
        try:
            (self.folder / limit_file).write_text(str(limit))
            (self.folder / "cgroup.procs").read_text()
        except OSError as error:
            self.folder.rmdir()
            pytest.skip(f"a cgroup below {self._home} gets no memory limit: {error}")

    def __enter__(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def __exit__(self, *exception):
        (self._home / "cgroup.procs").write_text(str(os.getpid()))

    def remove(self):
        """Removes the group, once the last process in it has ended."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


def _own_group():
    """The version of the memory controller's hierarchy, and this process's group in it."""
    groups = [line.split(":", 2) for line in open("/proc/self/cgroup").read().splitlines()]
    for _, controllers, path in groups:
        if "memory" in controllers.split(","):
            home = pathlib.Path("/sys/fs/cgroup/memory" + path)
            if home.is_dir():
                return 1, home
    for number, controllers, path in groups:
        home = pathlib.Path("/sys/fs/cgroup" + path)
        if (number, controllers) == ("0", "") and (home / "cgroup.controllers").exists():
            return 2, home
    pytest.skip("no memory cgroup is mounted at /sys/fs/cgroup")
