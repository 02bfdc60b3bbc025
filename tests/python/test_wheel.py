"""The wheel: what is in it, where it runs, and the kernel that it installs, also where Rust is missing.

Runs in an environment into which the wheel was installed.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
import urllib.request
import zipfile

import pytest

from kernel_session import BINARY, KERNEL, ROOT, MiB, Session

(WHEEL,) = (ROOT / "target" / "wheels").glob("*.whl")
INSTALLED = pathlib.Path(sys.prefix, "bin", "memtrack-kernel")
# What a process that was not started from a shell of the user has.
SYSTEM_PATH = "/usr/bin:/bin"
# The glibc of Ubuntu 22.04, which Google Colab's machines have.
COLAB_GLIBC = (2, 35)

without_system_rust = pytest.mark.skipif(
    shutil.which("cargo", path=SYSTEM_PATH) is not None,
    reason="this system has Rust in /usr/bin, so a machine without Rust cannot be acted",
)


def test_the_name_of_the_wheel_is_what_its_binary_needs():
    promised = re.search(r"-py3-none-manylinux_(\d+)_(\d+)_x86_64\.whl$", WHEEL.name)
    assert promised, f"not a wheel for any Python 3 on Linux: {WHEEL.name}"
    promised = tuple(map(int, promised.groups()))
    assert promised <= COLAB_GLIBC
    symbols = subprocess.check_output(["objdump", "-T", INSTALLED], text=True)
    # A weak symbol is one that the binary does without.
    needed = {
        tuple(map(int, version.split(".")[:2])): line
        for line in symbols.splitlines()
        for version in re.findall(r"\(GLIBC_([\d.]+)\)", line)
        if not re.match(r"[0-9a-f]+\s+w", line)
    }
    assert needed, "the binary needs no glibc at all: the check is broken"
    assert max(needed) <= promised, needed[max(needed)]


def test_the_wheel_holds_what_it_should():
    with zipfile.ZipFile(WHEEL) as wheel:
        names = set(wheel.namelist())
        assert wheel.testzip() is None
    entry = f"memtrack_kernel-0.1.0.data/data/share/jupyter/kernels/{KERNEL}/"
    assert {entry + "kernel.json", entry + "logo-svg.svg", "memtrack/__init__.py"} <= names
    assert not [name for name in names if "__pycache__" in name]
    assert INSTALLED.read_bytes() == BINARY.read_bytes()


def test_the_wheel_tells_what_the_kernel_is_made_of():
    with zipfile.ZipFile(WHEEL) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".cyclonedx.json"))
        bill = json.loads(wheel.read(name))
    assert name.startswith("memtrack_kernel-0.1.0.dist-info/sboms/")
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "memtrack-kernel")
    named = {(component["name"], component["version"]) for component in bill["components"]}
    with open(ROOT / "Cargo.lock", "rb") as file:
        locked = {(package["name"], package["version"]) for package in tomllib.load(file)["package"]}
    # All that is linked is locked; the lock file also has what other systems and the tests need.
    assert named <= locked, named - locked
    for package in ("evcxr", "zeromq", "nvml-wrapper", "memtrack"):
        assert package in {name for name, _ in named}
    without_license = [it["name"] for it in bill["components"] if not it.get("licenses")]
    assert not without_license


def test_jupyter_lists_the_kernel():
    command = [sys.executable, "-m", "jupyter", "kernelspec", "list", "--json"]
    listed = json.loads(subprocess.check_output(command, env={"PATH": SYSTEM_PATH, "HOME": "/"}))
    entry = listed["kernelspecs"][KERNEL]
    assert pathlib.Path(entry["resource_dir"]).is_relative_to(sys.prefix)
    assert entry["spec"]["display_name"] == "Rust (memtrack)"


def test_the_kernel_runs_where_neither_its_environment_nor_rust_is_in_path():
    with Session(env={"PATH": SYSTEM_PATH}) as session:
        record = session.ok("%memtrack\nlet held = vec![1u8; 16 << 20];").record
        assert 16 * MiB <= record.kept("heap") < 17 * MiB


@without_system_rust
def test_a_kernel_without_rust_explains_and_takes_rust_that_comes_later(tmp_path):
    rust = {name: shutil.which(name) for name in ("cargo", "rustc", "rustup")}
    home = os.environ.get("RUSTUP_HOME", os.path.expanduser("~/.rustup"))
    env = {"PATH": SYSTEM_PATH, "HOME": str(tmp_path), "RUSTUP_HOME": home, "CARGO_HOME": ""}
    with Session(env=env) as session:
        info = session.request(session.client.kernel_info())
        assert info["language_info"]["name"] == "rust"
        failed = session.execute("%memtrack\n1 + 1")
        assert failed.status == "error"
        assert f"{INSTALLED} install-rust" in failed.error
        folder = tmp_path / ".cargo" / "bin"
        folder.mkdir(parents=True)
        for name, program in rust.items():
            if program is not None:
                (folder / name).symlink_to(program)
        assert session.ok("1 + 1").results[0]["text/plain"] == "2"


def install_rust(home, *options, **variables):
    return subprocess.run(
        [INSTALLED, "install-rust", *options],
        env={"PATH": SYSTEM_PATH, "HOME": str(home), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@without_system_rust
def test_rust_is_not_installed_without_consent(tmp_path):
    refused = install_rust(tmp_path)
    assert refused.returncode == 1
    assert f"into {tmp_path}/.rustup" in refused.stdout and f"into {tmp_path}/.cargo" in refused.stdout
    assert "--yes" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@without_system_rust
def test_a_missing_network_is_told(tmp_path):
    failed = install_rust(tmp_path, "--yes", RUSTUP_UPDATE_ROOT="https://127.0.0.1:9/rustup")
    assert failed.returncode == 1
    assert "is the network reachable?" in failed.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_complete_rust_is_left_alone():
    command = [INSTALLED, "install-rust"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Rust is complete: rustc 1.")


@without_system_rust
def test_rust_is_installed(tmp_path):
    server = "https://static.rust-lang.org"
    try:
        urllib.request.urlopen(f"{server}/rustup/release-stable.toml", timeout=10)
    except OSError as error:
        pytest.skip(f"{server}, from which Rust is installed, cannot be reached: {error}")
    done = install_rust(tmp_path, "--yes")
    assert done.returncode == 0, done.stderr
    assert "Rust is complete: rustc 1." in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cargo", ".rustup"]
    # What is lost afterwards is completed by the rustup that is there now.
    shutil.rmtree(tmp_path / ".rustup" / "toolchains")
    again = install_rust(tmp_path)
    assert again.returncode == 1
    assert f"{tmp_path}/.cargo/bin/rustup toolchain install stable" in again.stdout
