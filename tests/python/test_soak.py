"""The short form of `tests/soak`: each of its scenarios once."""

import soak


def test_load_and_faults_are_survived():
    done = soak.run(minutes=0, seed=1)
    assert done.counts["processes killed"] and done.counts["kernels side by side"] == 8
    for (what, _unit), values in done.figures.items():
        if what.startswith("growth per tracked cell"):
            # A cell's library stays loaded: some 20 KiB.
            assert max(values) < 150, f"{what}: {values} KiB"
