"""The fakes do what a script says: what a test of memtrack's GPU rows stands on.

They are asked in a process of their own, through the loader, as a real program would ask.
"""

import os
import subprocess
import sys

import pytest

from fake_gpu import GPU_IS_LOST, HOST_PID_SHIFT, FakeGpu

MiB = 1 << 20
GiB = 1 << 30

# A program that keeps both libraries open and runs lines of Python that the test sends.
PROGRAM = r"""
import ctypes as c, os, sys
nvml, cuda = c.CDLL("libnvidia-ml.so.1"), c.CDLL("libcuda.so.1")
handle, context, pool = c.c_void_p(), c.c_void_p(), c.c_void_p()

def memory():
    info = (c.c_uint64 * 5)(5 * 8 | 2 << 24)
    assert nvml.nvmlDeviceGetHandleByIndex_v2(0, c.byref(handle)) in (0, 15)
    return nvml.nvmlDeviceGetMemoryInfo_v2(handle, info) or tuple(info[1:])

def processes():
    count, rows = c.c_uint(9), (c.c_uint64 * 27)()
    failed = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, c.byref(count), rows)
    return failed or [(rows[3 * i] % 2**32, rows[3 * i + 1]) for i in range(count.value)]

def start(device=0):
    return (cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(c.byref(context), device)
            or cuda.cuCtxSetCurrent(context) or cuda.cuDeviceGetMemPool(c.byref(pool), device))

def allocate(function, size, *stream):
    address = c.c_uint64()
    return function(c.byref(address), c.c_size_t(size), *stream) or address

def marks():
    value, found = c.c_uint64(), []
    for attribute in (5, 6, 7, 8):
        failed = cuda.cuMemPoolGetAttribute(pool, attribute, c.byref(value))
        found.append(failed or value.value)
    return found

def reset(attribute, to=0):
    return cuda.cuMemPoolSetAttribute(pool, attribute, c.byref(c.c_uint64(to)))

assert nvml.nvmlInit_v2() == 0
for line in sys.stdin:
    try:
        print(repr(eval(line)), flush=True)
    except SyntaxError:
        exec(line)
        print(None, flush=True)
"""


class Program:
    def __init__(self, gpu, **env):
        env = {**os.environ, **gpu.env, **env}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the program ended at: {line}"
        return eval(answer)


@pytest.fixture
def start():
    """Starts programs, and ends them after the test."""
    started = []

    def start(gpu, **env):
        started.append(Program(gpu, **env))
        return started[-1]

    yield start
    for program in started:
        program.process.kill()
        program.process.wait()
        program.process.stdin.close()
        program.process.stdout.close()


@pytest.fixture
def gpu(tmp_path):
    device = {"total": GiB, "reserved": 100 * MiB, "base_used": 50 * MiB}
    return FakeGpu(tmp_path, devices=[device], context_vram=200 * MiB)


def used(program):
    total, reserved, free, in_use = program("memory()")
    assert total == reserved + free + in_use
    return in_use


def test_nvml_sees_contexts_pools_and_plain_memory_of_other_processes(gpu, start):
    program, other = start(gpu), start(gpu)
    assert used(other) == 50 * MiB
    assert program("start()") == 0
    assert used(other) == 250 * MiB
    program("a = allocate(cuda.cuMemAllocAsync, 3 << 20, None)")
    assert used(other) == 254 * MiB
    program("b = allocate(cuda.cuMemAlloc_v2, 12345)")
    assert used(other) == 254 * MiB + 12345
    assert other("processes()") == [(program.process.pid, 204 * MiB + 12345)]
    assert program("cuda.cuMemFree_v2(b)") == 0
    assert program("cuda.cuMemFreeAsync(a, None) or cuda.cuCtxSynchronize()") == 0
    assert used(other) == 250 * MiB
    program.process.kill()
    os.waitid(os.P_PID, program.process.pid, os.WEXITED | os.WNOWAIT)
    assert (used(other), other("processes()")) == (50 * MiB, [])


def test_the_pool_counts_to_the_byte_and_its_marks_can_be_reset(gpu, start):
    program = start(gpu)
    assert program("start()") == 0
    program("a = allocate(cuda.cuMemAllocAsync, 5000001, None)")
    program("b = allocate(cuda.cuMemAllocAsync, 7, None)")
    assert program("cuda.cuMemFreeAsync(a, None)") == 0
    assert program("marks()") == [6 * MiB, 6 * MiB, 7, 5000008]
    assert program("reset(8, 1)") == 1, "a mark can only be set to 0"
    assert program("reset(8) or reset(6)") == 0
    assert program("marks()") == [6 * MiB, 6 * MiB, 7, 7]
    assert program("cuda.cuStreamSynchronize(None)") == 0
    assert program("marks()") == [2 * MiB, 6 * MiB, 7, 7]
    assert program("cuda.cuDevicePrimaryCtxRelease_v2(0) or marks()") == [0, 0, 0, 0]


def test_a_pool_can_need_a_context(gpu, start):
    program = start(gpu)
    assert program("start()") == 0
    program("cuda.cuCtxSetCurrent(None)")
    assert program("marks()") == [0, 0, 0, 0]
    gpu.pool_needs_context = True
    assert program("marks()") == [201] * 4


def test_device_memory_ends(gpu, start):
    program = start(gpu)
    assert program("start()") == 0
    free = GiB - 350 * MiB
    assert program(f"allocate(cuda.cuMemAlloc_v2, {free} + 1)") == 2
    assert program(f"allocate(cuda.cuMemAllocAsync, {free} + 1, None)") == 2
    assert program(f"type(allocate(cuda.cuMemAlloc_v2, {free})) is c.c_uint64") is True
    assert used(program) == GiB - 100 * MiB


def test_the_list_of_processes_is_what_the_script_makes_of_it(gpu, start):
    program = start(gpu)
    assert program("start() or memory() and None") is None
    pid, held = program.process.pid, 200 * MiB
    gpu[0].processes = "host"
    assert program("processes()") == [(pid + HOST_PID_SHIFT, held)]
    gpu[0].processes, gpu[0].extra_processes = "one_new", [{"pid": 5, "used": 6}]
    assert program("processes()") == [(5, 6), (pid + HOST_PID_SHIFT, held)]
    gpu[0].processes = "unavailable"
    assert (pid, 2**64 - 1) in program("processes()")
    gpu[0].processes = "none"
    assert program("processes()") == []
    gpu[0].processes = {"error": 4}
    assert program("processes()") == 4
    assert used(program) == 250 * MiB


def test_a_gpu_can_be_lost_and_come_back(gpu, start):
    program = start(gpu)
    assert program("start()") == 0
    assert used(program) == 250 * MiB
    gpu[0].error, gpu[0].cuda_error = GPU_IS_LOST, 719
    assert (program("memory()"), program("processes()")) == (15, 15)
    assert program("allocate(cuda.cuMemAllocAsync, 1, None)") == 719
    gpu[0].error = gpu[0].cuda_error = None
    assert used(program) == 250 * MiB
    assert program("cuda.cuCtxSynchronize()") == 0


def test_a_broken_script_is_an_unknown_error(gpu, start):
    program = start(gpu)
    assert used(program) == 50 * MiB
    (gpu.folder / "script.json").write_text('{"driver": 1}')
    assert program("nvml.nvmlInit_v2()") == 999
    assert program("cuda.cuInit(0)") == 999


def test_visible_devices_are_cudas_and_not_nvmls(tmp_path, start):
    gpu = FakeGpu(tmp_path, devices=[{}, {"base_used": 3}], context_vram=5)
    program = start(gpu, CUDA_VISIBLE_DEVICES="1")
    assert program("start()") == 0
    assert program("start(1)") == 101
    assert program("memory()[3]") == 0
    assert program("nvml.nvmlDeviceGetHandleByIndex_v2(1, c.byref(handle)) or processes()") == [
        (program.process.pid, 5)
    ]
    hidden = start(gpu, CUDA_VISIBLE_DEVICES="")
    assert hidden("cuda.cuInit(0)") == 100
