"""What all test modules share."""

import filecmp

import pytest

from kernel_session import BINARY, KERNEL, Session

# Far above what a module's slowest test needs: a test that reaches it hangs.
TEST_TIMEOUT = 400


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "heavy: compiles a large package once, into kernel_session.SHARED_CACHE"
    )


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT))


def pytest_sessionstart(session):
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        spec = KernelSpecManager().get_kernel_spec(KERNEL)
    except NoSuchKernel:
        pytest.exit(f"the kernel {KERNEL} is not installed: run tests/run, which installs it", 4)
    # The wheel's entry names its binary from its own folder, and its binary is a copy.
    program = spec.argv[0].replace("{resource_dir}", spec.resource_dir)
    if not filecmp.cmp(program, BINARY, shallow=False):
        pytest.exit(f"the installed kernel is {program}, and the one to test {BINARY} another", 4)


@pytest.fixture(scope="module")
def kernel():
    """One warm kernel for the module: starting one costs about ten seconds."""
    with Session() as session:
        yield session.warm_up()
