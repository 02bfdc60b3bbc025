"""How cells are compiled: once, without what all have in common, and shown as evcxr would."""

import pathlib
import subprocess

import pytest

from kernel_session import Session


@pytest.fixture(scope="module")
def kernel():
    with Session() as session:
        yield session


def value(result):
    assert result.status == "ok", result.describe()
    return [bundle["text/plain"] for bundle in result.results]


def compiled(session):
    """The code that rustc was given last."""
    folder = session.ok(":last_compile_dir").stdout.strip()
    return (pathlib.Path(folder) / "src" / "lib.rs").read_text()


def test_a_cell_that_ends_in_an_expression_is_compiled_once(kernel):
    assert value(kernel.execute("1 + 1")) == ["2"]
    code = compiled(kernel)
    assert ").evcxr_display();" in code
    # What evcxr compiles when the first try has failed.
    assert "evcxr_send_text_plain" not in code


def test_what_keeps_variables_is_not_compiled_with_each_cell(kernel):
    kernel.ok("let kept = vec![1, 2];")
    code = compiled(kernel)
    assert "use ::memtrack_cells::evcxr_internal_runtime;" in code
    assert "impl VariableStore" not in code
    assert value(kernel.execute("kept.len()")) == ["2"]


def test_a_method_of_the_type_shows_it(kernel):
    kernel.ok(
        "#[derive(Debug)] struct Own;\n"
        "impl Own { fn evcxr_display(&self) { "
        'println!("EVCXR_BEGIN_CONTENT text/plain\\nown way\\nEVCXR_END_CONTENT"); } }'
    )
    assert value(kernel.execute("Own")) == ["own way"]


def test_a_trait_of_the_user_shows_what_it_is_for():
    with Session() as session:
        session.ok(
            "trait Shown { fn evcxr_display(&self); }\n"
            "impl Shown for u8 { fn evcxr_display(&self) { "
            'println!("EVCXR_BEGIN_CONTENT text/plain\\nshown\\nEVCXR_END_CONTENT"); } }'
        )
        assert value(session.execute("5u8")) == ["shown"]
        assert value(session.execute("5u16")) == ["5"]


def test_an_error_in_the_last_expression_is_told_and_not_its_note(kernel):
    kernel.ok("fn fine(x: i32) -> i32 { x }")
    error = kernel.execute('fine("text")').error
    assert error.startswith("E0308\nmismatched types") and ":1:6 ]" in error
    assert 'expected `i32`, found `&str`' in error


def test_a_type_that_cannot_be_shown_is_an_error(kernel):
    kernel.ok("struct Hidden;")
    assert "`Hidden` doesn't implement `Debug`" in kernel.execute("Hidden").error


def test_the_user_s_format_holds():
    with Session() as session:
        assert value(session.execute("(1, 2)")) == ["(1, 2)"]
        assert value(session.execute(":fmt {:#?}\n(1, 2)")) == ["(\n    1,\n    2,\n)"]
        assert value(session.execute("(1, 2)")) == ["(\n    1,\n    2,\n)"]


def test_opt_toggles_between_its_levels():
    with Session() as session:
        session.ok("let x = 1;")
        session.request(session.client.complete("x.", 2))
        assert session.ok(":opt").stdout.strip() == "Optimization: 0"
        assert value(session.execute("x + 1")) == ["2"]
        assert session.ok(":opt").stdout.strip() == "Optimization: 2"


def test_a_crate_by_path_is_compiled_again_when_it_changes(tmp_path):
    subprocess.run(["cargo", "new", "--quiet", "--lib", "--name", "changing", tmp_path / "changing"], check=True)
    source = tmp_path / "changing" / "src" / "lib.rs"
    source.write_text("pub fn number() -> u8 { 1 }\n")
    with Session() as session:
        session.ok(f':dep changing = {{ path = "{tmp_path / "changing"}" }}')
        assert value(session.execute("changing::number()")) == ["1"]
        source.write_text("pub fn number() -> u8 { 2 }\n")
        assert value(session.execute("changing::number()")) == ["2"]


def test_shell_lines_have_the_user_s_cargo(kernel):
    said = kernel.ok("!cargo --version").stdout
    expected = subprocess.run(["cargo", "--version"], capture_output=True, text=True, check=True).stdout
    assert said.strip() == expected.strip()


def test_shell_lines_have_no_compiler_chosen_for_them(kernel, tmp_path):
    command = tmp_path / "cargo-tells"
    command.write_text('#!/bin/sh\necho "rustc: ${RUSTC-nobody said}"\n')
    command.chmod(0o755)
    assert kernel.ok(f'!PATH="{tmp_path}:$PATH" cargo tells').stdout.strip() == "rustc: nobody said"
    assert kernel.ok('println!("{:?}", std::env::var("RUSTC").ok());').stdout.strip() == "None"


def test_a_second_start_compiles_nothing_of_its_own(tmp_path):
    def begin():
        session = Session(env={"MEMTRACK_CACHE_DIR": str(tmp_path)})
        folder = pathlib.Path(session.ok(":last_compile_dir").stdout.strip())
        # rustc lists here what each cell is made of.
        return session, list(folder.glob("target/*/debug/deps/*.d"))

    session, compiled_before = begin()
    session.stop()
    assert compiled_before
    session, compiled_before = begin()
    assert not compiled_before
    assert value(session.execute("1 + 1")) == ["2"]
    session.stop()


def test_timing_is_shown_when_asked_for(kernel):
    kernel.ok(":timing")
    [shown] = kernel.ok("let timed = 1;").displays
    assert shown["text/plain"].startswith("Took ") and shown["text/plain"].endswith("ms")
    kernel.ok(":timing")
    assert not kernel.ok("let timed = 2;").displays
