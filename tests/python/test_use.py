"""`%use`: packages in the form that fits the machine."""

import re

import pytest

from kernel_session import SHARED_CACHE, Session

# CUDA as if of a machine with this version, whatever this one has.
CUDA_12_6 = {"CUDARC_CUDA_VERSION": "12060"}

CUDARC_LINE = (
    ':dep cudarc = { version = "=0.19.10", default-features = false, features = ["std", "driver", '
    '"cublas", "curand", "nvrtc", "dynamic-loading", "cuda-12060"] }'
)


def plain(result):
    """The text of all displays."""
    return "\n".join(data["text/plain"] for data in result.displays)


@pytest.fixture(scope="module")
def kernel():
    with Session(env={**CUDA_12_6, "MEMTRACK_CACHE_DIR": str(SHARED_CACHE)}) as session:
        yield session.warm_up()


def test_cudarc_is_there_for_the_code_below(kernel):
    result = kernel.ok(
        "%use cudarc\n%memtrack\nlet present = unsafe { cudarc::driver::sys::is_culib_present() };"
        ' println!("{present}");'
    )
    text = plain(result)
    assert CUDARC_LINE in text.splitlines()
    assert "CUDARC_CUDA_VERSION says so" in text
    assert result.stdout in ("true\n", "false\n")
    assert ("panics when it is first called" in text) == (result.stdout == "false\n")
    assert result.record.status == "ok"

    again = kernel.ok("%use cudarc\nprintln!(\"{present}\");")
    assert plain(again) == "cudarc 0.19.10 for CUDA 12.6 is already there."
    assert again.stdout == result.stdout, "the variable is lost"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("%use candel", ["did you mean `candle`?", "usage: %use candle|cudarc|workloads"]),
        ("%use", ["NAME", "usage: %use"]),
        ("%use candle@1", ["not an exact version"]),
        ("%use candle --cpu --cuda", ["exclude each other"]),
        ("%use cudarc@0.0.9999", ["There is no cudarc 0.0.9999 on crates.io"]),
        ("%use candle@0.0.9999 --cpu", ["There is no candle 0.0.9999 on crates.io"]),
    ],
)
def test_what_is_wrong_is_told_and_nothing_runs(kernel, line, words):
    result = kernel.execute(f'{line}\nprintln!("ran");')
    assert result.status == "error"
    assert result.stdout == ""
    for word in words:
        assert word in result.error
    assert kernel.ok("2 * 3").results[0]["text/plain"] == "6"


def test_completion_knows_the_packages(kernel):
    reply = kernel.request(kernel.client.complete("%use c", 6))
    assert reply["matches"] == ["candle", "cudarc"]
    reply = kernel.request(kernel.client.complete("%use candle --c", 15))
    assert reply["matches"] == ["--cpu", "--cuda"]


def test_without_a_network_it_is_said_what_to_do(tmp_path):
    env = {"CARGO_HOME": str(tmp_path), "CARGO_NET_OFFLINE": "true", **CUDA_12_6}
    with Session(env=env) as session:
        result = session.execute("%use cudarc\nprintln!(\"ran\");")
        assert result.status == "error" and result.stdout == ""
        assert "crates.io, which was not reached" in result.error
        assert CUDARC_LINE in plain(result)
        assert session.ok("1 + 1").results[0]["text/plain"] == "2"


def test_a_crate_that_cells_do_not_share_is_told_once(kernel, tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib.rs").write_text("pub const ONE: u32 = 1;")
    manifest = '[package]\nname = "candle-nn"\nversion = "0.1.0"\nedition = "2024"\n[workspace]\n'
    (tmp_path / "Cargo.toml").write_text(manifest)
    line = f':dep candle-nn = {{ path = "{tmp_path}" }}\nprintln!("{{}}", candle_nn::ONE);'
    first = kernel.ok(line)
    assert first.stdout == "1\n"
    assert first.stderr.count("warning: candle-nn") == 1 and "`%use candle`" in first.stderr
    assert "warning" not in kernel.ok(line).stderr


MODEL = """
use candle_core::{Device, Module, Tensor, Var};
use candle_nn::{AdamW, Linear, Optimizer, ParamsAdamW, loss};
fn numbers(count: usize, seed: f32) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 * seed).sin() * 1000.0).fract()).collect()
}
let device = Device::Cpu;
let weight = Var::from_tensor(&Tensor::from_vec(numbers(1000, 0.37), (10, 100), &device)?)?;
let bias = Var::from_tensor(&Tensor::from_vec(numbers(10, 0.71), 10, &device)?)?;
let model = Linear::new(weight.as_tensor().clone(), Some(bias.as_tensor().clone()));
let inputs = Tensor::from_vec(numbers(100_000, 0.113), (1000, 100), &device)?;
let targets = Tensor::from_vec(numbers(10_000, 0.219), (1000, 10), &device)?;
"""
TRAINING = """
let parameters = ParamsAdamW { lr: 0.01, weight_decay: 0.0, ..Default::default() };
let mut optimizer = AdamW::new(vec![weight.clone(), bias.clone()], parameters)?;
for _ in 0..10 {
    let loss = loss::mse(&model.forward(&inputs)?, &targets)?;
    optimizer.backward_step(&loss)?;
    println!("{:.7}", loss.to_scalar::<f32>()?);
}
"""


def losses(result):
    return [float(line) for line in result.stdout.splitlines()]


@pytest.mark.heavy
@pytest.mark.timeout(1500)
def test_a_candle_model_of_one_cell_trains_in_the_next():
    env = {"MEMTRACK_CACHE_DIR": str(SHARED_CACHE)}
    with Session(env=env) as session:
        # Compiles candle, unless an earlier run has done so.
        first = session.ok("%use candle@0.11.1 --cpu", timeout=1400)
        lines = re.findall(r"^:dep .*", plain(first), re.MULTILINE)
        assert len(lines) == 3 and "--cpu was asked for" in plain(first)
        assert "already there" in plain(session.ok("%use candle@0.11.1 --cpu"))
        in_one = losses(session.ok(f"{{ {MODEL} {TRAINING} }}"))
        assert len(in_one) == 10
        assert in_one == sorted(in_one, reverse=True) and in_one[-1] < 0.9 * in_one[0]

        session.ok(MODEL)
        assert losses(session.ok(TRAINING)) == in_one
        # Goes on from the weights that it has got.
        assert losses(session.ok(TRAINING))[0] < in_one[-1]
        # The names also hold inside functions and modules, macros too.
        session.ok(
            "fn failing() -> candle_core::Result<()> { candle_core::bail!(\"as told\") }\n"
            "mod inner { pub fn kind() -> candle_core::DType { candle_core::DType::F32 } }\n"
            "assert!(failing().is_err() && inner::kind().size_in_bytes() == 4);"
        )

        killed = session.execute("std::process::abort();")
        assert killed.status == "error"
        session.ok(MODEL)
        assert losses(session.ok(TRAINING)) == in_one

    with Session(env=env) as session:
        second = session.ok("%use candle@0.11.1 --cpu")
        assert re.findall(r"^:dep .*", plain(second), re.MULTILINE) == lines
        assert second.seconds < 60, "the second session compiles candle again"
        session.ok(MODEL)
        assert losses(session.ok(TRAINING)) == in_one
