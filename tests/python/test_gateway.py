"""The kernel started far away: by Jupyter Kernel Gateway, and by a Jupyter server that uses one."""

import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest
import websocket

from kernel_session import CELL_TIMEOUT, KERNEL, RECORD, MiB, Record

TOKEN = "secret"


def call(address, method="GET", content=None):
    """A request of Jupyter's REST interface."""
    request = urllib.request.Request(
        address,
        method=method,
        data=None if content is None else json.dumps(content).encode(),
        headers={"Authorization": f"token {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


@contextlib.contextmanager
def server(folder, module, *options):
    """Starts a server; gives its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    options = [option.format(port=port) for option in options]
    log = folder / f"{module}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options], stdout=output, stderr=output, cwd=folder
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError):
                call(f"{address}/api")
                break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    options = [
        "--KernelGatewayApp.ip=127.0.0.1",
        "--KernelGatewayApp.port={port}",
        f"--KernelGatewayApp.auth_token={TOKEN}",
        "--JupyterWebsocketPersonality.list_kernels=True",
    ]
    with server(tmp_path_factory.mktemp("gateway"), "kernel_gateway", *options) as address:
        yield address


@pytest.fixture(scope="module")
def jupyter_server(gateway, tmp_path_factory):
    options = [
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.port={port}",
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.open_browser=False",
        "--allow-root",
        f"--gateway-url={gateway}",
        f"--GatewayClient.auth_token={TOKEN}",
    ]
    with server(tmp_path_factory.mktemp("server"), "jupyter_server", *options) as address:
        yield address


@contextlib.contextmanager
def remote_kernel(address):
    """Starts a kernel through a server; gives its id and a connection to its channels."""
    kernel = call(f"{address}/api/kernels", "POST", {"name": KERNEL})["id"]
    channels = websocket.create_connection(
        f"{address.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={TOKEN}",
        timeout=CELL_TIMEOUT,
    )
    try:
        yield kernel, channels
    finally:
        channels.close()
        call(f"{address}/api/kernels/{kernel}", "DELETE")


def begin(channels, code):
    """Sends a cell; returns its id."""
    message = uuid.uuid4().hex
    header = {
        "msg_id": message,
        "msg_type": "execute_request",
        "username": "",
        "session": uuid.uuid4().hex,
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
    channels.send(
        json.dumps(
            {
                "channel": "shell",
                "header": header,
                "parent_header": {},
                "metadata": {},
                "content": content,
            }
        )
    )
    return message


def until(channels, message, condition):
    """The outputs of a cell, up to the first for which the condition holds."""
    outputs = []
    deadline = time.monotonic() + CELL_TIMEOUT
    while time.monotonic() < deadline:
        received = json.loads(channels.recv())
        if received["parent_header"].get("msg_id") == message:
            outputs.append((received["header"]["msg_type"], received["content"]))
            if condition(*outputs[-1]):
                return outputs
    raise AssertionError(f"waited too long: {outputs}")


def is_idle(kind, content):
    return kind == "status" and content["execution_state"] == "idle"


@pytest.fixture(params=["gateway", "jupyter_server"])
def address(request):
    return request.getfixturevalue(request.param)


def test_the_kernel_is_listed(address):
    specs = call(f"{address}/api/kernelspecs")["kernelspecs"]
    assert specs[KERNEL]["spec"]["display_name"] == "Rust (memtrack)"


def test_a_tracked_cell_and_an_interrupt(address, gateway):
    with remote_kernel(address) as (kernel, channels):
        # It is the gateway that runs it, whoever was asked.
        assert kernel in [entry["id"] for entry in call(f"{gateway}/api/kernels")]
        cell = begin(channels, "%memtrack --label far\nlet held = vec![1u8; 16 << 20];")
        outputs = until(channels, cell, is_idle)
        shown = [content["data"] for kind, content in outputs if kind == "display_data"]
        (bundle,) = [data for data in shown if RECORD in data]
        record = Record(bundle[RECORD])
        assert record.json["cell"]["label"] == "far" and "<table" in bundle["text/html"]
        assert 16 * MiB <= record.kept("heap") < 17 * MiB

        cell = begin(channels, 'println!("running"); loop { std::hint::spin_loop() }')
        until(channels, cell, lambda kind, content: "running" in content.get("text", ""))
        call(f"{address}/api/kernels/{kernel}/interrupt", "POST", {})
        outputs = until(channels, cell, is_idle)
        assert [content["ename"] for kind, content in outputs if kind == "error"] == ["Interrupted"]
    assert kernel not in [entry["id"] for entry in call(f"{gateway}/api/kernels")]
