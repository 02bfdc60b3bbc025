"""GPU memory, on fake NVIDIA libraries: what the rows say of each kind of machine.

The fakes stand where the driver's libraries stand; all else is real: the loader, NVML's wrapper in
the kernel, unmodified cudarc in the cells. That no byte is missed on a real GPU they cannot show.
"""

import os

import pytest

from fake_gpu import DRIVER_NOT_LOADED, GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, FakeGpu
from jupyter_client.manager import KernelManager

from kernel_session import KERNEL, SHARED_CACHE, GiB, MiB, Session

CUDARC = (
    ':dep cudarc = { version = "=0.19.10", default-features = false, '
    'features = ["std", "driver", "dynamic-loading", "cuda-12080"] }'
)
TOTAL, CONTEXT = 16 * GiB, 256 * MiB

# One GPU's rows, in the order of the table.
SCOPES = ["process", "pool_used", "pool_reserved", "device"]


def vram(record, index=0):
    """The rows of one GPU by scope."""
    return {
        row["scope"]: row
        for row in record.json["rows"]
        if row["memory"] == "vram" and (row["device"] or {"index": index})["index"] == index
    }


def scopes(record):
    return [row["scope"] for row in record.json["rows"] if row["memory"] == "vram"]


def values(row):
    return [row["before"], row["peak"], row["after"]]


class ContainedManager(KernelManager):
    """Starts the kernel with a pid namespace and a /proc of its own, as a container has."""

    def format_kernel_cmd(self, extra_arguments=None):
        unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if os.geteuid() != 0:
            unshare += ["--user", "--map-root-user"]
        return [*unshare, *super().format_kernel_cmd(extra_arguments)]


class Machine:
    """A kernel on a fake machine, with a CUDA context made by its cells if it is asked for."""

    def __init__(self, folder, env=None, contained=False, **fields):
        self.manager = ContainedManager(kernel_name=KERNEL) if contained else None
        self.gpu = FakeGpu(folder, **fields)
        cache = {"MEMTRACK_CACHE_DIR": str(SHARED_CACHE)}
        self.env = {**self.gpu.env, **cache, **(env or {})}

    def __enter__(self):
        self.session = Session(env=self.env, manager=self.manager)
        self.ok, self.execute = self.session.ok, self.session.execute
        self.ok("let ready = 1;")
        return self

    def __exit__(self, *exception):
        self.session.stop()

    def with_cudarc(self):
        self.ok(CUDARC, timeout=400)
        return self

    def with_context(self):
        """Makes a context; the record of the cell that made it."""
        self.with_cudarc()
        result = self.ok(
            "%memtrack --label context\n"
            "let context = cudarc::driver::CudaContext::new(0)?;\n"
            "let stream = context.default_stream();"
        )
        self.context_result = result
        return self

    def tracked(self, code):
        return self.ok("%memtrack\n" + code).record


DEVICE = {"name": "Fake T4", "total": TOTAL, "base_used": 1 * GiB}


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine with one GPU, on which a cell has made a context."""
    with Machine(tmp_path_factory.mktemp("gpu"), devices=[DEVICE]) as machine:
        yield machine.with_context()


def test_the_context_says_what_it_cost(machine):
    record = machine.context_result.record
    assert scopes(record) == SCOPES
    context = record.json["cuda_context"]
    assert context["device"] == 0
    assert context["vram"] == CONTEXT
    assert context["vram_source"] == "this process"
    # The fake touches 32 MiB; loading the library and the cell's own values add a little.
    assert 32 * MiB <= context["ram_anon"] < 40 * MiB
    text = machine.context_result.bundles[0]["text/plain"]
    assert "made the CUDA context of GPU 0: VRAM 256 MiB" in text
    process = vram(record)["process"]
    assert [process["before"], process["after"]] == [0, CONTEXT]


def test_the_context_is_told_of_once(machine):
    assert machine.tracked("let two = 2;").json["cuda_context"] is None


@pytest.mark.parametrize("size", [64 * MiB, 1 * GiB, 4 * GiB])
@pytest.mark.parametrize("ms", [0, 1, 100])
def test_a_spike_in_the_pool_is_exact(machine, size, ms):
    record = machine.tracked(
        f"{{ let block = stream.alloc_zeros::<u8>({size})?;"
        f" std::thread::sleep(std::time::Duration::from_millis({ms}));"
        " drop(block); stream.synchronize()?; }"
    )
    used = vram(record)["pool_used"]
    assert values(used) == [0, size, 0]
    assert used["exact"] and used["peak_method"] == "pool high-water mark"
    reserved = vram(record)["pool_reserved"]
    assert reserved["peak"] >= size and reserved["exact"]
    device = vram(record)["device"]
    assert device["peak_method"] == "sampled every 5 ms" and not device["exact"]
    if ms == 100:
        assert device["peak"] - device["before"] >= size
    process = vram(record)["process"]
    assert process["peak"] == process["after"] + size
    assert process["peak_method"].startswith("inferred")


def test_what_a_cell_keeps_is_kept(machine):
    record = machine.tracked("let kept = stream.alloc_zeros::<f32>(1 << 20)?;")
    rows = vram(record)
    assert values(rows["pool_used"]) == [0, 4 * MiB, 4 * MiB]
    assert rows["device"]["after"] - rows["device"]["before"] == 4 * MiB
    assert rows["process"]["after"] - rows["process"]["before"] == 4 * MiB
    # The mark of an earlier cell is not this one's.
    record = machine.tracked("drop(kept); stream.synchronize()?;")
    assert values(vram(record)["pool_used"]) == [4 * MiB, 4 * MiB, 0]


def test_plain_allocations_are_in_the_process_but_not_in_the_pool(machine):
    record = machine.tracked(
        "let plain = unsafe { cudarc::driver::result::malloc_sync(64 << 20)? };"
    )
    rows = vram(record)
    assert values(rows["pool_used"]) == [0, 0, 0]
    assert rows["process"]["after"] - rows["process"]["before"] == 64 * MiB
    machine.ok("unsafe { cudarc::driver::result::free_sync(plain)? };")


def test_a_cell_that_panics_or_does_not_compile_has_its_rows(machine):
    result = machine.execute(
        "%memtrack\n{ let block = stream.alloc_zeros::<u8>(8 << 20)?; panic!(\"x\"); }"
    )
    assert result.record.status == "panic"
    assert vram(result.record)["pool_used"]["peak"] == 8 * MiB
    machine.ok("stream.synchronize()?;")
    result = machine.execute("%memtrack\nlet wrong: u32 = \"x\";")
    assert result.record.status == "error"
    assert scopes(result.record) == ["process", "device"]
    assert vram(result.record)["device"]["peak_method"] == "the code did not run"
    assert vram(result.record)["process"]["after"] >= CONTEXT


@pytest.mark.parametrize(
    ("mode", "process", "words"),
    [
        ({"processes": "own"}, "known", "inferred: after"),
        ({"processes": "unavailable"}, None, "does not tell what one process holds"),
        ({"processes": "none"}, None, "does not list this process"),
        ({"processes": {"error": NO_PERMISSION}}, None, "not permitted"),
        ({"processes": {"error": NOT_SUPPORTED}}, None, "does not tell this"),
    ],
)
def test_the_process_is_known_or_says_why_not(machine, mode, process, words):
    (field,) = mode
    setattr(machine.gpu[0], field, mode[field])
    try:
        row = vram(machine.tracked("let _ = stream.alloc_zeros::<u8>(2 << 20)?;"))["process"]
    finally:
        machine.gpu[0].processes = "own"
    if process:
        assert row["after"] >= CONTEXT and words in row["peak_method"]
    else:
        assert values(row) == [None, None, None]
        assert words in row["unavailable"]


def test_an_exhausted_gpu_is_an_error_of_the_cell_alone(machine):
    result = machine.execute("%memtrack\nlet much = stream.alloc_zeros::<u8>(64 << 30)?;")
    assert result.status == "error" and "OUT_OF_MEMORY" in result.error
    assert vram(result.record)["pool_used"]["peak"] == 0
    machine.ok("stream.synchronize()?;")


def test_a_gpu_lost_in_a_cell_does_not_break_it(tmp_path):
    with Machine(tmp_path, devices=[DEVICE]) as machine:
        machine.with_context()
        cell = machine.session.begin(
            '%memtrack\nprintln!("in"); std::thread::sleep(std::time::Duration::from_secs(1));'
        )
        cell.wait_for_stdout("in")
        machine.gpu[0].error = GPU_IS_LOST
        result = cell.finish()
        assert result.status == "ok"
        device = vram(result.record)["device"]
        assert device["after"] is None and device["peak"] is not None
        assert "lost" in device["unavailable"] and "restart the machine" in device["unavailable"]
        # And the session goes on.
        device = vram(machine.tracked("let next = 1;"))["device"]
        assert values(device) == [None, None, None] and "lost" in device["unavailable"]
        machine.gpu[0].error = None
        assert vram(machine.tracked("let after = 1;"))["device"]["peak"] >= 1 * GiB


def test_in_a_container_pids_of_the_host_are_inferred_from_the_one_new_row(tmp_path):
    other = {**DEVICE, "processes": "host", "extra_processes": [{"pid": 77, "used": 1 * GiB}]}
    with Machine(tmp_path, contained=True, devices=[other]) as machine:
        # Before CUDA the list is seen; after it one row is new.
        machine.tracked("let before = 1;")
        machine.with_context()
        row = vram(machine.context_result.record)["process"]
        assert [row["before"], row["after"]] == [0, CONTEXT]
        assert "inferred: the one new process" in row["peak_method"]
        # Two new ones: it cannot be told which.
        machine.gpu[0].extra_processes = [{"pid": 77, "used": 1 * GiB}, {"pid": 78, "used": 5}]
        row = vram(machine.tracked("let x = 1;"))["process"]
        assert row["after"] is None and "another pid namespace" in row["unavailable"]
        machine.gpu[0].processes = "none"
        machine.gpu[0].extra_processes = []
        row = vram(machine.tracked("let y = 1;"))["process"]
        assert row["after"] is None and "--pid=host" in row["unavailable"]
        doctor = machine.ok("%memtrack doctor").displays[0]["text/plain"]
        assert "docker run --pid=host" in " ".join(doctor.split())


def test_a_stranger_with_this_pid_is_not_this_process(tmp_path):
    # The first processes of a pid namespace have small numbers, as have those of a machine.
    strangers = [{"pid": pid, "used": 3 * GiB} for pid in range(1, 2000)]
    device = {**DEVICE, "processes": "host", "extra_processes": strangers}
    with Machine(tmp_path, contained=True, devices=[device]) as machine:
        machine.tracked("let before = 1;")
        machine.with_context()
        row = vram(machine.context_result.record)["process"]
        assert row["after"] == CONTEXT and "inferred" in row["peak_method"]


def test_another_pool_in_a_cell_is_never_called_exact(tmp_path):
    with Machine(tmp_path, devices=[DEVICE]) as machine:
        machine.with_context()
        record = machine.tracked(
            "drop((context, stream));"
            " let context = cudarc::driver::CudaContext::new(0)?;"
            " let stream = context.default_stream();"
            " drop(stream.alloc_zeros::<u8>(512 << 20)?); stream.synchronize()?;"
            " drop((context, stream));"
            " let context = cudarc::driver::CudaContext::new(0)?;"
            " let stream = context.default_stream();"
        )
        used = vram(record)["pool_used"]
        assert not used["exact"] and used["peak_method"].startswith("at least")


def test_a_cell_that_hides_its_gpu_from_the_kernel_still_has_its_pool(tmp_path):
    with Machine(tmp_path, env={"CUDA_VISIBLE_DEVICES": ""}, devices=[DEVICE]) as machine:
        machine.ok('unsafe { std::env::remove_var("CUDA_VISIBLE_DEVICES") };')
        machine.with_context()
        record = machine.tracked("{ let block = stream.alloc_zeros::<u8>(64 << 20)?; }")
        used = vram(record)["pool_used"]
        assert used["peak"] == 64 * MiB and used["device"]["name"] == "CUDA device 0"


def test_a_pool_that_wants_a_context_on_the_thread_is_read_on_the_cells_own(tmp_path):
    with Machine(tmp_path, devices=[DEVICE], pool_needs_context=True) as machine:
        machine.with_context()
        record = machine.tracked(
            "{ let block = stream.alloc_zeros::<u8>(64 << 20)?; drop(block); }"
        )
        assert vram(record)["pool_used"]["peak"] == 64 * MiB
        assert vram(record)["pool_used"]["exact"]


def test_a_context_released_in_the_cell_leaves_what_was_seen(tmp_path):
    with Machine(tmp_path, devices=[DEVICE]) as machine:
        machine.with_cudarc()
        record = machine.tracked(
            "{ let context = cudarc::driver::CudaContext::new(0)?;"
            " let block = context.default_stream().alloc_zeros::<u8>(64 << 20)?;"
            " std::thread::sleep(std::time::Duration::from_millis(100)); }"
        )
        used = vram(record)["pool_used"]
        assert values(used) == [0, 64 * MiB, 0]
        assert not used["exact"] and "released" in used["peak_method"]
        assert record.json["cuda_context"] is None


def test_a_killed_cell_leaves_the_pools_last_mark(tmp_path):
    with Machine(tmp_path, devices=[DEVICE]) as machine:
        machine.with_context()
        result = machine.execute(
            "%memtrack\nlet block = stream.alloc_zeros::<u8>(64 << 20)?;"
            " std::thread::sleep(std::time::Duration::from_millis(100)); std::process::abort();"
        )
        assert result.record.status == "killed"
        used = vram(result.record)["pool_used"]
        assert used["peak"] == 64 * MiB and used["after"] is None and not used["exact"]


def test_several_gpus_and_the_visible_ones(tmp_path):
    names = [{**DEVICE, "name": f"Fake T4 {i}"} for i in range(3)]
    uuids = [f"GPU-0000000{i}-0000-0000-0000-000000000001" for i in range(3)]
    devices = [{**device, "name": "Fake T4", "uuid": uuid} for device, uuid in zip(names, uuids)]
    env = {"CUDA_VISIBLE_DEVICES": "GPU-00000002,GPU-00000000"}
    with Machine(tmp_path, env=env, devices=devices) as machine:
        machine.with_context()
        record = machine.context_result.record
        seen = {row["device"]["index"] for row in record.json["rows"] if row["memory"] == "vram"}
        assert seen == {0, 2}
        # CUDA's device 0 is NVML's number 2.
        assert record.json["cuda_context"]["device"] == 2
        assert set(vram(record, 2)) == set(SCOPES)
        assert set(vram(record, 0)) == {"process", "device"}
        assert vram(record, 2)["process"]["after"] == CONTEXT


def test_instances_of_a_gpu_in_mig_mode(tmp_path):
    instance = {
        "uuid": "MIG-11111111-2222-3333-4444-555555555555",
        "name": "Fake A100 MIG 1g.5gb",
        "total": 5 * GiB,
        "processes": "unavailable",
    }
    with Machine(tmp_path, devices=[{**DEVICE, "mig": [instance]}]) as machine:
        machine.with_context()
        record = machine.tracked("{ let block = stream.alloc_zeros::<u8>(64 << 20)?; }")
        rows = vram(record)
        assert rows["device"]["device"]["uuid"] == instance["uuid"]
        assert rows["device"]["limit"] == 5 * GiB
        assert rows["pool_used"]["peak"] == 64 * MiB and rows["pool_used"]["exact"]
        assert "MIG" in rows["process"]["unavailable"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"devices": []}, "shows no GPU"),
        ({"init_error": DRIVER_NOT_LOADED}, "no NVIDIA driver is loaded"),
        ({"init_error": NO_PERMISSION}, "not permitted"),
    ],
)
def test_a_machine_that_cannot_be_read_says_what_to_do(tmp_path, fields, words):
    with Machine(tmp_path, **fields) as machine:
        result = machine.ok("%memtrack\nlet x = 1;")
        (row,) = [row for row in result.record.json["rows"] if row["memory"] == "vram"]
        assert row["scope"] == "device" and values(row) == [None, None, None]
        assert words in row["unavailable"]
        doctor = machine.ok("%memtrack doctor").displays[0]["text/plain"]
        assert words in " ".join(doctor.split())


def test_a_machine_without_nvidia_has_no_rows(kernel):
    result = kernel.ok("%memtrack\nlet no_gpu = 1;")
    if any(row["memory"] == "vram" for row in result.record.json["rows"]):
        pytest.skip("this machine has an NVIDIA GPU or driver")
    doctor = kernel.ok("%memtrack doctor").displays[0]["text/plain"]
    assert "no NVIDIA GPU and no NVIDIA driver on this machine" in doctor


def test_doctor_names_the_fake_gpu(machine):
    doctor = machine.ok("%memtrack doctor").displays[0]["text/plain"]
    for words in ("Fake T4", "GiB in use", "CUDA up to 12.8", "nvcc not found", "virtualization"):
        assert words in " ".join(doctor.split()), doctor
