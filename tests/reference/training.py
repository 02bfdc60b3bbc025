"""Makes training.json: what PyTorch's own Linear, MSELoss and Adam give on memtrack's seeded data.

    python tests/reference/training.py [--check]

Needs torch and numpy; runs on the CPU in a few seconds. The training notebook and the tests of
notebooks/workloads compare with the file, so neither needs PyTorch. --check compares a fresh run
with the file instead of writing it.

The data is made here in numpy by the recipe in notebooks/workloads/src/random.rs, not by any code
of the project, so that the two implementations check each other.
"""

import argparse
import json
import pathlib
import platform
import sys
import zlib

import numpy as np
import torch

FILE = pathlib.Path(__file__).with_suffix(".json")
SEEDS = {"inputs": 1, "targets": 2, "linear": 3}
SAMPLES, INPUTS, OUTPUTS, EPOCHS, LEARNING_RATE = 1000, 100, 10, 10, 1e-3


def splitmix64(seed: int, count: int) -> np.ndarray:
    """The first `count` 64-bit numbers of the seed."""
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def units(seed: int, count: int) -> np.ndarray:
    """Uniform in [0, 1), 53 bits."""
    return (splitmix64(seed, count) >> np.uint64(11)).astype(np.float64) / 2.0**53


def normal(seed: int, count: int) -> np.ndarray:
    """Standard normal by Box-Muller, computed in float64, rounded to float32."""
    u = units(seed, count + count % 2).reshape(-1, 2)
    radius = np.sqrt(-2.0 * np.log(1.0 - u[:, 0]))
    angle = 2.0 * np.pi * u[:, 1]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[:count].astype(np.float32)


def linear(seed: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (outputs x inputs) and bias, uniform in +-1/sqrt(inputs)."""
    u = units(seed, inputs * outputs + outputs)
    values = ((2.0 * u - 1.0) * (1.0 / np.sqrt(float(inputs)))).astype(np.float32)
    return values[: inputs * outputs].reshape(outputs, inputs), values[inputs * outputs :]


def train(data: dict[str, np.ndarray], dtype: torch.dtype) -> list[float]:
    """The article's loop; the loss of each epoch before its optimizer step."""
    model = torch.nn.Linear(INPUTS, OUTPUTS).to(dtype)
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(data["weight"]))
        model.bias.copy_(torch.from_numpy(data["bias"]))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_fn = torch.nn.MSELoss()
    inputs = torch.from_numpy(data["inputs"]).to(dtype)
    targets = torch.from_numpy(data["targets"]).to(dtype)
    losses = []
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def fingerprint(values: np.ndarray) -> dict:
    """Enough to tell whether another implementation made the same bits."""
    flat = np.ascontiguousarray(values.reshape(-1), dtype="<f4")
    return {
        "shape": list(values.shape),
        "first": [float(value) for value in flat[:8]],
        "crc32_of_f32_little_endian": zlib.crc32(flat.tobytes()),
    }


def main() -> int:
    """Writes the file, or compares with it."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true", help="compare, write nothing")
    check = arguments.parse_args().check

    weight, bias = linear(SEEDS["linear"], INPUTS, OUTPUTS)
    data = {
        "inputs": normal(SEEDS["inputs"], SAMPLES * INPUTS).reshape(SAMPLES, INPUTS),
        "targets": normal(SEEDS["targets"], SAMPLES * OUTPUTS).reshape(SAMPLES, OUTPUTS),
        "weight": weight,
        "bias": bias,
    }
    made = {
        "how": "python tests/reference/training.py: numpy makes the data, PyTorch trains "
        "torch.nn.Linear with torch.nn.MSELoss and torch.optim.Adam (betas 0.9 and 0.999, "
        "eps 1e-8, no weight decay), full batch, on the CPU",
        "loss": "of each epoch, before its optimizer step; mean over samples and outputs",
        "versions": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "model": {"inputs": INPUTS, "outputs": OUTPUTS},
        "samples": SAMPLES,
        "epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "seeds": SEEDS,
        "data": {name: fingerprint(values) for name, values in data.items()},
        "losses": {
            "float32": train(data, torch.float32),
            "float64": train(data, torch.float64),
        },
    }
    if not check:
        FILE.write_text(json.dumps(made, indent=2) + "\n")
        return 0
    stored = json.loads(FILE.read_text())
    same_data = stored["data"] == made["data"]
    close = all(
        abs(a - b) <= 1e-6 * abs(b)
        for kind in ("float32", "float64")
        for a, b in zip(made["losses"][kind], stored["losses"][kind], strict=True)
    )
    print(f"data {'equal' if same_data else 'DIFFER'}, losses {'agree' if close else 'DIFFER'}")
    return 0 if same_data and close else 1


if __name__ == "__main__":
    sys.exit(main())
