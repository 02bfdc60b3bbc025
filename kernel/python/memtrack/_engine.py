"""The kernel as a process of this one: starts it, sends cells to it, hands on what they show."""

from __future__ import annotations

import getpass
import importlib.metadata
import pathlib
import sys
import time
from typing import Any, Callable

import zmq
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

_KERNEL = "rust-memtrack"
# Seconds until a kernel must have answered its first request. It takes a tenth of one.
_START_LIMIT = 60
# Milliseconds after which a silent kernel is looked at.
_PATIENCE = 500


class RustError(Exception):
    """A Rust cell failed. IPython shows the kernel's own account of it instead of a traceback."""

    def __init__(self, name: str, value: str, traceback: list[str]) -> None:
        super().__init__(f"{name}: {value}" if value else name)
        self._traceback = traceback

    def _render_traceback_(self) -> list[str]:
        return self._traceback or [str(self)]


class Engine:
    """A running kernel. It ends with this process, also if that is killed."""

    def __init__(self, shell: InteractiveShell) -> None:
        """Starts the kernel that was installed with this package and waits until it answers.

        Raises a `RustError` if it cannot be started.
        """
        self._shell_of_user = shell
        self._manager = KernelManager(kernel_name=_KERNEL)
        self._manager.kernel_spec_manager = KernelSpecManager(kernel_dirs=[_kernels()])
        try:
            self._manager.start_kernel()
        except OSError as error:
            raise RustError("the Rust kernel cannot be started", str(error), []) from None
        identity = self._manager.session.bsession
        self._requests = self._manager.connect_shell(identity=identity)
        self._outputs = self._manager.connect_iopub()
        self._questions = self._manager.connect_stdin(identity=identity)
        self._poller = zmq.Poller()
        for socket in (self._requests, self._outputs, self._questions):
            socket.linger = 0
            self._poller.register(socket, zmq.POLLIN)
        self._wait_for_outputs()

    def is_alive(self) -> bool:
        """Whether the kernel still runs."""
        return self._manager.is_alive()

    def stop(self) -> None:
        """Ends the kernel and what its cells started."""
        for socket in (self._requests, self._outputs, self._questions):
            socket.close()
        self._manager.shutdown_kernel(now=False)

    def run(self, code: str) -> None:
        """Executes a cell and shows its outputs as they come.

        `KeyboardInterrupt` interrupts the cell, and is raised again once it has ended. A cell that
        fails raises a `RustError`.
        """
        kernel = getattr(self._shell_of_user, "kernel", None)
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": getattr(kernel, "_allow_stdin", True),
            "stop_on_error": True,
        }
        cell = _Cell(self._send(self._requests, "execute_request", content))
        interrupted: KeyboardInterrupt | None = None
        while not cell.is_done():
            try:
                self._take(cell)
            except KeyboardInterrupt as interrupt:
                interrupted = interrupt
                self._manager.interrupt_kernel()
        if interrupted is not None:
            raise interrupted
        if cell.error is not None:
            raise cell.error

    def _take(self, cell: _Cell) -> None:
        """Takes what has come, or waits for it."""
        ready = dict(self._poller.poll(_PATIENCE))
        if not ready and not self.is_alive():
            raise RustError("the Rust kernel has ended", "the next cell starts a new one", [])
        # Outputs first, so that they stand above a question that comes after them.
        for socket in (self._outputs, self._questions, self._requests):
            if socket in ready:
                message = self._receive(socket)
                if socket is self._questions:
                    self._answer(message)
                elif message["parent_header"].get("msg_id") == cell.request:
                    cell.note(message)
                if socket is self._outputs:
                    self._show(message)

    def _show(self, message: dict[str, Any]) -> None:
        """Shows an output, of whichever cell: threads of earlier cells may still write."""
        kind, content = message["header"]["msg_type"], message["content"]
        publisher = self._shell_of_user.display_pub
        if kind == "stream":
            stream = sys.stdout if content["name"] == "stdout" else sys.stderr
            stream.write(content["text"])
            stream.flush()
        elif kind in ("display_data", "execute_result", "update_display_data"):
            publisher.publish(
                content["data"],
                content["metadata"],
                transient=content.get("transient"),
                update=kind == "update_display_data",
            )
        elif kind == "clear_output":
            publisher.clear_output(content["wait"])

    def _answer(self, question: dict[str, Any]) -> None:
        """Asks the user what the kernel wants to know."""
        ask: Callable[[str], str] = getpass.getpass if question["content"]["password"] else input
        value = ""
        try:
            value = ask(question["content"]["prompt"])
        finally:
            self._send(self._questions, "input_reply", {"value": value})

    def _wait_for_outputs(self) -> None:
        """Waits until outputs come through: what is sent before that is lost."""
        deadline = time.monotonic() + _START_LIMIT
        while not self._outputs.poll(50):
            if not self.is_alive():
                raise RustError("the Rust kernel ended at its start", "run memtrack-kernel doctor", [])
            if time.monotonic() > deadline:
                self.stop()
                raise RustError("the Rust kernel does not answer", f"in {_START_LIMIT} s", [])
            self._send(self._requests, "kernel_info_request", {})

    def _send(self, socket: zmq.Socket[bytes], kind: str, content: dict[str, Any]) -> str:
        """Sends a message and returns its id."""
        message = self._manager.session.send(socket, kind, content)
        return message["header"]["msg_id"]

    def _receive(self, socket: zmq.Socket[bytes]) -> dict[str, Any]:
        _, message = self._manager.session.recv(socket, mode=0)
        return message


class _Cell:
    """What is known of a cell that was sent."""

    def __init__(self, request: str) -> None:
        self.request = request
        self.error: RustError | None = None
        self._replied = self._idle = False

    def is_done(self) -> bool:
        return self._replied and self._idle

    def note(self, message: dict[str, Any]) -> None:
        """Takes what a message says of the cell's end."""
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "status":
            self._idle = content["execution_state"] == "idle"
        elif kind == "execute_reply":
            self._replied = True
        elif kind == "error":
            self.error = RustError(content["ename"], content["evalue"], content["traceback"])


def _kernels() -> str:
    """The folder into which this package's installation put its kernel."""
    for file in importlib.metadata.files("memtrack-kernel") or []:
        if file.match(f"kernels/{_KERNEL}/kernel.json"):
            return str(pathlib.Path(file.locate()).resolve().parents[1])
    raise RustError(
        "the installation of memtrack-kernel is incomplete",
        "its kernel.json is missing; run: pip install --force-reinstall memtrack-kernel",
        [],
    )
