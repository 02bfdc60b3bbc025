"""`warm`, `bundle`, `unbundle`: dependencies compiled ahead, for other users and without a network."""

import os
import pathlib
import shutil
import subprocess
import tomllib

import nbformat
import pytest

from kernel_session import BINARY
from test_notebook_run import notebook

# Two lines, since evcxr looks at each alone before it compiles both.
DEPENDENCIES = ':dep itoa = "=1.0.10"\n:dep itertools = { version = "=0.13.0", default-features = false }'
USE = f"""{DEPENDENCIES}
use itertools::Itertools;
let sums: Vec<i32> = (1..=3).tuple_windows().map(|(a, b)| a + b).collect();
itoa::Buffer::new().format(sums[1]).to_owned()"""
TOOLCHAINS = os.environ.get("RUSTUP_HOME") or str(pathlib.Path.home() / ".rustup")
# A proxy that nobody serves: what asks the network gets an error at once.
NO_NETWORK = {name: "http://127.0.0.1:9" for name in ("CARGO_HTTP_PROXY", "https_proxy", "http_proxy")}


class Machine:
    """A user with a home of its own: nothing compiled, nothing loaded from a registry."""

    def __init__(self, folder, cargo, cache, network=True):
        self.folder = folder
        # Without a name the cache is where the kernel puts it by itself.
        self.cache, self.cargo = folder / (cache or ".cache/memtrack"), folder / cargo
        (folder / "tmp").mkdir(parents=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "RUSTUP_HOME": TOOLCHAINS,
            "CARGO_HOME": str(self.cargo),
            **({"MEMTRACK_CACHE_DIR": str(self.cache)} if cache else {}),
            "TMPDIR": str(folder / "tmp"),
            **({} if network else NO_NETWORK),
        }

    def memtrack(self, *arguments, env=None):
        """Runs the binary; returns the process."""
        return subprocess.run(
            [BINARY, *arguments],
            env={**self.env, **(env or {})},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def run(self, *cells):
        """Executes a notebook; returns the plain text of each cell's last output."""
        process = self.memtrack("run", self.write("run.ipynb", *cells), "--output", "out.ipynb")
        assert process.returncode == 0, process.stdout + process.stderr
        executed = nbformat.read(self.folder / "out.ipynb", as_version=4)
        cells = [cell for cell in executed.cells if cell.cell_type == "code"]
        return [cell.outputs[-1].data["text/plain"] if cell.outputs else None for cell in cells]

    def write(self, name, *cells):
        path = self.folder / name
        nbformat.write(notebook(*cells), path)
        return path

    def compiled(self):
        """The crates of the cache by entry, those aside that build scripts only try out."""
        names = {}
        for entry in self.cache.glob("evcxr/*"):
            libraries = [file.name for file in entry.iterdir() if file.suffix in (".rlib", ".so")]
            if libraries:
                names[entry.name] = libraries[0]
        return names


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return Machine(tmp_path_factory.mktemp("teacher"), "cargo", cache=None)


@pytest.fixture(scope="module")
def bundle(teacher):
    """The file, made of a notebook."""
    source = teacher.write("lesson.ipynb", "1 + 1", USE)
    file = teacher.folder / "lesson.tar.zst"
    process = teacher.memtrack("bundle", source, "--output", file)
    assert process.returncode == 0, process.stderr
    assert "not in the bundle" not in process.stderr
    return file


def test_after_warm_nothing_is_compiled(teacher, bundle):
    same = teacher.write("same.ipynb", DEPENDENCIES)
    bad = teacher.write("bad.ipynb", "1", ':dep itoa = "=1.0.10"\n:dep itoa-of-nobody-at-all = "1"')
    lesson = teacher.folder / "lesson.ipynb"
    process = teacher.memtrack("warm", bad, lesson, same, "absent.ipynb")
    assert process.returncode == 1
    assert f"failed: {bad}, cell 2: :dep itoa-of-nobody-at-all" in process.stderr
    assert process.stderr.count("failed:") == 1, "the line that compiles is blamed too"
    assert f"{same}: the same as {lesson}" in process.stderr
    assert "absent.ipynb cannot be read" in process.stderr
    assert "\n0 compiled" in process.stderr, "the bundle's notebook has compiled it already"

    before = teacher.compiled()
    assert any("itertools" in name for name in before.values())
    assert teacher.run(USE) == ['"5"']
    assert teacher.compiled() == before


def test_what_is_pinned_stays_though_newer_ones_are_there(teacher, bundle):
    before = teacher.compiled()
    assert teacher.run(':dep itertools = { version = "0.13", default-features = false }\n:dep itoa = "1"\n1') == ["1"]
    assert teacher.compiled() == before
    # Other versions can still be had.
    teacher.run(':dep itoa = "=1.0.11"')
    (new,) = teacher.compiled().keys() - before.keys()
    assert "itoa" in teacher.compiled()[new]


def test_a_bundle_serves_another_user_without_a_network(bundle, tmp_path):
    student = Machine(tmp_path / "a" / "student's home", "c h", "m t", network=False)
    process = student.memtrack("unbundle", bundle)
    assert process.returncode == 0, process.stderr
    before = student.compiled()
    assert f"{len(before)} compiled restored" in process.stderr and len(before) == 3
    # The second cell's type comes from what std itself depends on.
    std = 'let map = std::collections::HashMap::from([(1, "one")]);\nlet all = map.iter().map(|(n, s)| (*n, s.len())).collect::<Vec<_>>();'
    assert student.run(USE, std, "all") == ['"5"', None, "[(1, 3)]"]
    assert student.compiled() == before
    again = student.memtrack("unbundle", bundle)
    assert "0 compiled restored" in again.stderr and "3 were there" in again.stderr


def test_what_the_user_compiled_fits_the_bundle(teacher, bundle, tmp_path):
    student = Machine(tmp_path / "s", "cargo", "cache")
    lock = tomllib.loads((teacher.cache / "Cargo.lock").read_text())
    (version,) = [it["version"] for it in lock["package"] if it["name"] == "either"]
    student.run(f':dep either = {{ version = "={version}", default-features = false }}')
    own = student.compiled()
    # Byte by byte the same in another folder, so whatever is compiled for one fits the other.
    ((entry, library),) = own.items()
    for file in (library, library.replace(".rlib", ".rmeta")):
        theirs = (teacher.cache / "evcxr" / entry / file).read_bytes()
        assert (student.cache / "evcxr" / entry / file).read_bytes() == theirs
    process = student.memtrack("unbundle", bundle)
    assert process.stderr.startswith("2 compiled restored"), process.stderr
    before = student.compiled()
    assert own.items() < before.items()
    assert student.run(USE) == ['"5"']
    assert student.compiled() == before


def test_a_bundle_for_another_compiler_is_refused(bundle, tmp_path):
    student = Machine(tmp_path / "s", "cargo", "cache")
    programs = tmp_path / "bin"
    programs.mkdir()
    rustc = programs / "rustc"
    real = shutil.which("rustc")
    rustc.write_text(
        f'#!/bin/sh\ncase $1 in -vV|-V) echo "rustc 1.0.0 (of old)"; echo "host: pdp-11";; *) exec {real} "$@";; esac\n'
    )
    rustc.chmod(0o755)
    process = student.memtrack("unbundle", bundle, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    assert process.returncode == 1
    assert "rustc 1.0.0 (of old) for pdp-11" in process.stderr
    assert "make the bundle anew" in process.stderr
    assert not student.cache.exists() and not student.cargo.exists()


def test_a_bundle_needs_something_to_pack(tmp_path):
    student = Machine(tmp_path / "s", "cargo", "cache")
    process = student.memtrack("bundle", "--output", "empty.tar.zst")
    assert process.returncode == 1 and "name notebooks" in process.stderr
    assert not (student.folder / "empty.tar.zst").exists()


def test_types_of_std_are_known_without_a_network(tmp_path):
    student = Machine(tmp_path / "s", "cargo", "cache", network=False)
    cells = [
        "let mut names = Vec::new(); names.push(String::from(\"a\"));",
        "let start = std::time::Instant::now(); let took = start.elapsed();",
        "let shared = std::sync::Arc::new(std::sync::Mutex::new(names.len()));",
        "let value = *shared.lock().unwrap();",
        "value",
    ]
    assert student.run(*cells)[-1] == "1"
