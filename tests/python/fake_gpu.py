"""Fake NVIDIA libraries for a kernel under test, so that a test reads as a script.

    gpu = FakeGpu(tmp_path, devices=[{"name": "Fake T4", "total": 16 * GiB}])
    with Session(env=gpu.env) as session:
        session.ok(...)
        gpu[0].error = GPU_IS_LOST          # seen by the next call of NVML
        gpu[0].processes = "host"
        gpu.pool_needs_context = True

The libraries are those of `tests/fakes/`, built by cargo and found by the loader. What a field
means is written in `tests/fakes/common/src/script.rs`; a field that is not given has the default
of there. All sizes are bytes. A process keeps the devices that CUDA showed it when it started CUDA;
everything else may be changed while it runs.

No number that comes from here says anything about a real GPU.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The libraries' files, named as a driver's installation names them, and the names by which programs
# ask the loader for them. The files' own names matter: they are what /proc/PID/maps shows.
FILES = {"libnvidia-ml.so.570.00": "libfake_nvml.so", "libcuda.so.570.00": "libfake_cuda.so"}
LINKS = {
    "libnvidia-ml.so.1": "libnvidia-ml.so.570.00",
    "libcuda.so.1": "libcuda.so.570.00",
    "libcuda.so": "libcuda.so.1",
}

SCRIPT_FIELDS = {
    "driver_version",
    "cuda_version",
    "init_error",
    "cuda_init_error",
    "devices",
    "claimed_devices",
    "pool_needs_context",
    "context_vram",
    "context_ram",
}
DEVICE_FIELDS = {
    "name",
    "uuid",
    "total",
    "reserved",
    "base_used",
    "claimed_memory",
    "claimed_processes",
    "error",
    "cuda_error",
    "virtualization",
    "processes",
    "extra_processes",
    "mig",
}

# nvmlReturn_t, for `error`, `init_error` and `processes={"error": …}`.
NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 4, 9, 15

# What is added to a pid in the lists of `processes="host"` and `"one_new"`.
HOST_PID_SHIFT = 1_000_000


@functools.lru_cache(maxsize=1)
def build():
    """Builds the libraries once a run; returns the folder that they are in."""
    command = ["cargo", "build", "--release", "--locked", "-p", "fake-nvml", "-p", "fake-cuda"]
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"the fake libraries cannot be built:\n{done.stderr}"
    return pathlib.Path(ROOT, target) / "release"


class FakeGpu:
    """The script of a fake machine, and the environment in which a program sees that machine.

    `FakeGpu(folder, **fields)` makes `folder/fake-gpu`. Without `devices` there is one GPU with all
    defaults; `devices=[]` is a driver without a GPU. Each setting of a field of the script, and
    each of a device (`gpu[0].field = …`), is written at once, and whole.
    """

    def __init__(self, folder, **fields):
        self.folder = pathlib.Path(folder) / "fake-gpu"
        self.libraries = self.folder / "lib"
        self.libraries.mkdir(parents=True)
        for file, library in FILES.items():
            shutil.copy(build() / library, self.libraries / file)
        for link, file in LINKS.items():
            (self.libraries / link).symlink_to(file)
        self.script = {"devices": [{}]}
        self.write(**fields)

    def write(self, **fields):
        """Sets these fields of the script, keeps the others, and writes it."""
        unknown = fields.keys() - SCRIPT_FIELDS
        assert not unknown, f"a script has no field {unknown}"
        self.script.update(fields)
        # The libraries may read at any time: they must see the old script or the new one.
        new = self.folder / "script.new"
        new.write_text(json.dumps(self.script, indent=1))
        new.replace(self.folder / "script.json")

    def __setattr__(self, name, value):
        if name in SCRIPT_FIELDS:
            self.write(**{name: value})
        else:
            assert name in ("folder", "libraries", "script"), f"a script has no field {name}"
            super().__setattr__(name, value)

    def __getitem__(self, index):
        """The device of this NVML index, with its fields as attributes."""
        return FakeDevice(self, self.script["devices"][index])

    @property
    def env(self):
        """Variables for a program that shall see the fake machine."""
        paths = [str(self.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "LD_LIBRARY_PATH": ":".join(path for path in paths if path),
            "MEMTRACK_FAKE_GPU": str(self.folder),
        }


class FakeDevice:
    """A device of a script; see `FakeGpu`. `device.instance(0)` is its first MIG device."""

    def __init__(self, gpu, fields):
        self.__dict__.update(_gpu=gpu, _fields=fields)

    def __setattr__(self, name, value):
        assert name in DEVICE_FIELDS, f"a device has no field {name}"
        self._fields[name] = value
        self._gpu.write()

    def __getattr__(self, name):
        """What the script gives for this field; an error if it leaves it at the default."""
        try:
            return self._fields[name]
        except KeyError:
            raise AttributeError(f"the script does not give {name}") from None

    def instance(self, index):
        """The MIG device of this index."""
        return FakeDevice(self._gpu, self._fields["mig"][index])
