"""The client that Colab uses, jupyter_client 7.4.9. Runs in an environment of its own."""

import jupyter_client
import pytest

from kernel_session import MiB, Session


@pytest.fixture(scope="module", params=["tcp", "ipc"])
def kernel(request):
    with Session(transport=request.param) as session:
        yield session.warm_up()


def test_this_is_colabs_client():
    assert jupyter_client.__version__ == "7.4.9"


def test_kernel_info(kernel):
    info = kernel.request(kernel.client.kernel_info())
    assert info["language_info"]["name"] == "rust"
    assert info["protocol_version"].startswith("5.")


def test_a_result(kernel):
    assert [data["text/plain"] for data in kernel.ok("6 * 7").results] == ["42"]


def test_streams(kernel):
    result = kernel.ok('println!("out"); eprintln!("err");')
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def test_a_variable_stays(kernel):
    kernel.ok("let kept = vec![1, 2, 3];")
    assert [data["text/plain"] for data in kernel.ok("kept.len()").results] == ["3"]


def test_an_error_then_the_next_cell(kernel):
    failed = kernel.execute("let wrong: u32 = \"text\";")
    assert failed.status == "error" and "mismatched types" in failed.error
    assert kernel.ok('println!("still here")').stdout == "still here\n"


def test_a_tracked_cell(kernel):
    record = kernel.ok("%memtrack\nlet held = vec![1u8; 16 << 20];").record
    assert 16 * MiB <= record.kept("heap") < 17 * MiB


def test_interrupt(kernel):
    cell = kernel.begin('println!("running"); loop { std::hint::spin_loop() }')
    cell.wait_for_stdout("running")
    kernel.interrupt()
    assert cell.finish(60).status == "error"
    assert kernel.ok("1 + 1").results[0]["text/plain"] == "2"
