"""A part of `speed.py`: packages that an earlier session compiled."""

import tempfile

from measure import OURS, PEER, cache_in, interleaved, median, seconds_of

PACKAGES = {
    "regex": ':dep regex = "1"\nregex::Regex::new("[0-9]+").unwrap().find("abc 123").unwrap().as_str().len()',
    "ndarray": ':dep ndarray = "0.16"\nndarray::Array2::<f64>::ones((3, 4)).sum()',
    "candle": ':dep candle-core = "0.9"\ncandle_core::Tensor::ones((3, 4), candle_core::DType::F32, '
    "&candle_core::Device::Cpu).unwrap().elem_count()",
}

# evcxr_jupyter keeps what it compiled only if the user asks for it in each session.
WITH_CACHE = f"{PEER}, :cache"
PREPARE = {OURS: "1+1", PEER: "1+1", WITH_CACHE: ":cache 500"}


def _one(start_kernel, prepare, code, cache):
    """Seconds of the cell with `:dep` in a session that has run a cell before."""
    with start_kernel(env=cache_in(cache)) as session:
        session.ok(prepare)
        session.ok("2+2")
        seconds = seconds_of(session, code)[0]
    print(f"    {seconds:.2f} s", flush=True)
    return seconds


def dep(starts, options, runs):
    """Figures by kernel: the first session compiles, the following ones are measured."""
    starts = {**starts, WITH_CACHE: starts[PEER]}
    figures = {name: {} for name in starts}
    names = [name for name in PACKAGES if name != "candle" or options.candle]
    for package in names:
        code = PACKAGES[package]
        with tempfile.TemporaryDirectory(prefix="mtcache") as base:
            for name, start in starts.items():
                print(f"  {package} for the first time: {name}", flush=True)
                # evcxr_jupyter without `:cache` keeps nothing, so its first session is one of many.
                if name != PEER:
                    figures[name][f"dep_{package}_first_s"] = _one(
                        start, PREPARE[name], code, f"{base}/{name}"
                    )
                figures[name][f"dep_{package}_runs_s"] = []
            for number, name in interleaved(list(starts), runs):
                print(f"  {package} again, run {number + 1}: {name}", flush=True)
                figures[name][f"dep_{package}_runs_s"].append(
                    _one(starts[name], PREPARE[name], code, f"{base}/{name}")
                )
        for of_kernel in figures.values():
            of_kernel[f"dep_{package}_s"] = median(of_kernel[f"dep_{package}_runs_s"])
    return figures
