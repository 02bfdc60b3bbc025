"""What rustc says of itself is asked once for a toolchain."""

import os
import subprocess

import pytest

from kernel_session import BINARY

# Tells of each call, and what it was given.
COMPILER = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$*" in
    *broken*) echo "no such target" >&2; exit 1 ;;
    *-\\ *|*-) cat ;;
esac
echo "rustc 1.0.0 $RUSTC_BOOTSTRAP"
echo "a warning" >&2
"""


@pytest.fixture
def compiler(tmp_path):
    """Folders as a kernel makes them, with a compiler that can be watched."""
    path = tmp_path / "toolchain" / "rustc"
    path.parent.mkdir()
    path.write_text(COMPILER)
    path.chmod(0o755)
    stand_ins = tmp_path / "session" / "bin"
    stand_ins.mkdir(parents=True)
    (tmp_path / "support").mkdir()
    (stand_ins / "true-rustc").symlink_to(path)
    (stand_ins / "asked-rustc").symlink_to(BINARY)
    (stand_ins / "support").symlink_to(tmp_path / "support")
    return Compiler(path, stand_ins)


class Compiler:
    def __init__(self, path, stand_ins):
        self.path = path
        self.stand_ins = stand_ins
        self.asked = [str(stand_ins / "asked-rustc")]
        # As Cargo starts a stand-in.
        self.wrapped = [str(BINARY), str(path)]

    def ask(self, *arguments, program=None, stdin="", env=None):
        return subprocess.run(
            [*(program or self.asked), *arguments],
            input=stdin or None,
            stdin=None if stdin else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, "EVCXR_TMPDIR": str(self.stand_ins.parent / "cells"), **(env or {})},
        )

    def calls(self):
        file = self.path.with_name("calls")
        return file.read_text().splitlines() if file.exists() else []


def test_a_question_is_asked_once(compiler):
    answers = [compiler.ask("-vV"), compiler.ask("-vV"), compiler.ask("-vV", program=compiler.wrapped)]
    for answer in answers:
        assert (answer.returncode, answer.stdout, answer.stderr) == (0, "rustc 1.0.0 \n", "a warning\n")
    assert compiler.calls() == ["-vV"]
    compiler.ask("--print", "sysroot")
    assert compiler.calls() == ["-vV", "--print sysroot"]


def test_another_compiler_is_asked_anew(compiler):
    compiler.ask("-vV")
    compiler.path.write_text(COMPILER.replace("1.0.0", "1.0.1"))
    assert compiler.ask("-vV").stdout == "rustc 1.0.1 \n"


def test_what_changes_answers_is_seen(compiler):
    compiler.ask("-vV")
    assert compiler.ask("-vV", env={"RUSTC_BOOTSTRAP": "1"}).stdout == "rustc 1.0.0 1\n"


def test_no_is_not_kept(compiler):
    for call in (1, 2):
        answer = compiler.ask("--target", "broken", "--print=cfg")
        assert (answer.returncode, answer.stderr) == (1, "no such target\n")
        assert len(compiler.calls()) >= call
    assert set(compiler.calls()) == {"--target broken --print=cfg"}


def test_code_reaches_the_compiler(compiler):
    for code in ("fn main() {}\n", "#![crate_type]\n"):
        answer = compiler.ask("--print=file-names", "-", stdin=code)
        assert answer.stdout == f"{code}rustc 1.0.0 \n"
    assert len(compiler.calls()) == 2


def test_half_an_answer_is_none(compiler):
    compiler.ask("-vV")
    [answer] = (compiler.stand_ins / "support" / "answers").iterdir()
    answer.write_text(answer.read_text()[:20])
    assert compiler.ask("-vV").stdout == "rustc 1.0.0 \n"
    assert len(compiler.calls()) == 2


def test_without_a_place_for_answers_the_compiler_tells(compiler):
    (compiler.stand_ins / "support").unlink()
    for _ in range(2):
        assert compiler.ask("-vV").stdout == "rustc 1.0.0 \n"
    assert len(compiler.calls()) == 2
