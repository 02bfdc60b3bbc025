"""VRAM's numbers on a real GPU, against cells that hold a known number of bytes for a known time.

    truth.py device < DOCTOR     the name of the first GPU, as a folder's name; fails without one
    truth.py notebook            the notebook of those cells, on stdout
    truth.py judge FOLDER [FAILED NOTEBOOK ...]
                                 reads FOLDER/truth.ipynb as executed, writes FOLDER/results.json

Needs Python's standard library only: there may be no network where it runs.
"""

import json
import pathlib
import re
import subprocess
import sys
import time

RECORD = "application/vnd.memtrack.v1+json"
MIB = 1 << 20
SIZES = [64 * MIB, 256 * MIB, 1024 * MIB, 4096 * MIB]
TIMES_MS = [1, 10, 100]

SETUP = """
%use cudarc
%use workloads
fn hold(ms: u64) { std::thread::sleep(std::time::Duration::from_millis(ms)); }
"""
CONTEXT = """
let context = cudarc::driver::CudaContext::new(0)?;
let stream = context.default_stream();
stream.synchronize()?;
"""
POOL = """{{ let block = unsafe {{ stream.alloc::<u8>({size})? }}; stream.synchronize()?; hold({ms});
drop(block); stream.synchronize()?; }}"""
PLAIN = """{{ let block = unsafe {{ cudarc::driver::result::malloc_sync({size})? }}; hold({ms});
unsafe {{ cudarc::driver::result::free_sync(block)? }}; }}"""
RELEASED = """drop((context, stream));
{ let context = cudarc::driver::CudaContext::new(0)?; let stream = context.default_stream();
  let block = unsafe { stream.alloc::<u8>(256 << 20)? }; stream.synchronize()?; hold(100); }"""
SPEED = """
let device = workloads::Device::gpu(0)?;
let cube = workloads::fitting_cube(&device, 1024)?;
let tensor = device.rand([cube.n; 3], 1)?;
let mut seconds = Vec::new();
for _ in 0..7 {
    let start = std::time::Instant::now();
    let product = tensor.matmul(&tensor.transpose())?;
    device.synchronize()?;
    seconds.push(start.elapsed().as_secs_f64());
    drop(product);
    device.synchronize()?;
}
println!("speed n={} seconds={seconds:?}", cube.n);
"""
# The same call from PyTorch: a batched product with a transposed view, f32 without TF32.
TORCH = """
import time, torch
n = {n}
a = torch.rand(n, n, n, device="cuda")
for _ in range(7):
    torch.cuda.synchronize(); t = time.perf_counter()
    b = a.matmul(a.transpose(1, 2)); torch.cuda.synchronize()
    print(time.perf_counter() - t)
    del b
"""


def cells():
    """The labels and the code of the tracked cells."""
    yield "context", CONTEXT
    for size in SIZES:
        for ms in TIMES_MS:
            yield f"pool {size} {ms}", POOL.format(size=size, ms=ms)
    for size in SIZES:
        for ms in TIMES_MS:
            yield f"plain {size} {ms}", PLAIN.format(size=size, ms=ms)
    for number in range(20):
        yield f"empty {number}", f"let empty_{number} = {number};"
    yield "released 268435456 100", RELEASED


def notebook():
    sources = [SETUP, *(f'%memtrack --label "{label}"\n{code}' for label, code in cells()), SPEED]
    code = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source.strip(),
        }
        for number, source in enumerate(sources)
    ]
    spec = {"name": "rust-memtrack", "display_name": "Rust (memtrack)", "language": "rust"}
    return {"cells": code, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def device(doctor):
    """The first GPU's name in what doctor prints, fit for a folder."""
    found = re.search(r"^ ok +GPU \d+ +([^,\n]+),", doctor, re.MULTILINE)
    if found and found[1].startswith("Fake"):
        return None
    return re.sub(r"[^a-z0-9]+", "-", found[1].lower()).strip("-") if found else None


def records(executed):
    """The records of an executed notebook by label."""
    outputs = (output for cell in executed["cells"] for output in cell.get("outputs", []))
    found = (output["data"][RECORD] for output in outputs if RECORD in output.get("data", {}))
    return {record["cell"]["label"]: record for record in found}


def row(record, scope):
    return next((r for r in record["rows"] if (r["memory"], r["scope"]) == ("vram", scope)), None)


def checks(found):
    """What must hold, each with what was measured."""
    for label, record in found.items():
        kind, _, rest = label.partition(" ")
        measured = {scope: row(record, scope) for scope in ("process", "pool_used", "device")}
        rises = {
            scope: r["peak"] - r["before"]
            for scope, r in measured.items()
            if r and None not in (r["peak"], r["before"])
        }
        if kind == "pool":
            size, ms = map(int, rest.split())
            used = measured["pool_used"]
            yield label, "pool peak exact to the byte", rises.get("pool_used") == size, rises
            yield label, "pool peak marked exact", bool(used and used["exact"]), used
        if kind in ("pool", "plain") and rest.endswith(" 100"):
            size = int(rest.split()[0])
            yield label, "device peak of 100 ms seen", rises.get("device", -1) >= size, rises
        if kind == "context":
            yield label, "the context says what it cost", bool(record["cuda_context"]), record["cuda_context"]
        if kind == "released":
            used = measured["pool_used"]
            # Tells whether the pool can be read on a thread without a current context.
            ok = bool(used and used["peak"])
            yield label, "the pool is read on a thread without a context", ok, used
    costs = sorted(r["overhead"]["tracking_s"] for label, r in found.items() if label.startswith("empty"))
    if costs:
        median = costs[len(costs) // 2]
        yield "empty", "tracking adds under 1 ms (median)", median < 0.001, costs


def speed(executed):
    """The product's seconds, beside PyTorch's where it is installed."""
    text = json.dumps(executed)
    found = re.search(r"speed n=(\d+) seconds=\[([^\]]*)\]", text)
    if not found:
        return None
    ours = [float(value) for value in found[2].split(",")]
    result = {"n": int(found[1]), "ours_s": ours, "pytorch_s": None}
    script = TORCH.format(n=found[1])
    try:
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return {**result, "pytorch": "took more than 300 s"}
    if run.returncode == 0:
        theirs = [float(line) for line in run.stdout.split()]
        result["pytorch_s"] = theirs
        result["ratio_of_medians"] = sorted(theirs)[3] / sorted(ours)[3]
    else:
        result["pytorch"] = (run.stderr.strip().splitlines() or ["failed"])[-1]
    return result


def judge(folder, failed):
    folder = pathlib.Path(folder)
    file = folder / "truth.ipynb"
    executed = json.loads(file.read_text()) if file.exists() else None
    results = {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "on_a_gpu": executed is not None,
        "notebooks_with_failed_cells": failed,
        "checks": [],
        "speed": speed(executed) if executed else None,
    }
    found = records(executed) if executed else {}
    if executed:
        expected = {label for label, _ in cells()}
        missing = sorted(expected - set(found))
        results["checks"].append(
            {"cell": "all", "what": "each cell has a record", "ok": not missing, "measured": missing}
        )
    for label, what, ok, measured in checks(found):
        results["checks"].append({"cell": label, "what": what, "ok": ok, "measured": measured})
        measured = results["speed"]
        results["checks"].append(
            {"cell": "speed", "what": "the product ran on the GPU", "ok": bool(measured), "measured": measured}
        )
    ratio = (results["speed"] or {}).get("ratio_of_medians")
    if ratio is not None:
        what = "the product at 90 % or more of PyTorch's speed"
        results["checks"].append({"cell": "speed", "what": what, "ok": ratio >= 0.9, "measured": ratio})
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    wrong = [check for check in results["checks"] if not check["ok"]]
    for check in wrong:
        print(f"WRONG {check['cell']}: {check['what']}: {json.dumps(check['measured'])[:300]}")
    passed = len(results["checks"]) - len(wrong)
    print(f"{folder}: {passed} checks passed, {len(wrong)} failed")
    return 1 if wrong or failed else 0


def main(arguments):
    match arguments:
        case ["device"]:
            name = device(sys.stdin.read())
            if not name:
                return 1
            print(name)
        case ["notebook"]:
            json.dump(notebook(), sys.stdout, indent=1)
        case ["judge", folder, *failed]:
            return judge(folder, failed)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
