"""The kernel as a process of this one: starts it, sends cells to it, hands on what they show."""

from __future__ import annotations

import getpass
import importlib.metadata
import os
import subprocess
import sys
import time
from typing import Any, Callable

import zmq
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.connect import ConnectionFileMixin

# Seconds until a kernel must have answered its first request. It takes a tenth of one.
_START_LIMIT = 60
# Seconds that a kernel is given to end before it is killed.
_END_LIMIT = 10
# Milliseconds after which a silent kernel is looked at.
_PATIENCE = 500


class _Account:
    """The kernel's own account of a failure, which IPython shows instead of a traceback."""

    def __init__(self, name: str, value: str, traceback: list[str] | None = None) -> None:
        super().__init__(f"{name}: {value}" if value else name)
        self._traceback = traceback or [str(self)]

    def _render_traceback_(self) -> list[str]:
        return self._traceback


class RustError(_Account, Exception):
    """A Rust cell failed, or Rust itself."""


class RustInterrupt(_Account, KeyboardInterrupt):
    """A Rust cell was interrupted."""


class _Connection(ConnectionFileMixin):
    """The sockets' addresses and the messages' key. The manager of kernels that Jupyter has would not
    do: it waits in an event loop, which the process of a notebook has running or, at its end, stopped.
    """

    context = zmq.Context()


class Engine:
    """A running kernel. It ends with this process, also if that is killed."""

    def __init__(self, shell: InteractiveShell) -> None:
        """Starts the kernel that was installed with this package and waits until it answers.

        Raises a `RustError` if it cannot be started.
        """
        self._user = shell
        self._connection = _Connection()
        self._connection.write_connection_file()
        self._session = self._connection.session
        try:
            self._process = subprocess.Popen(
                [_binary(), "kernel", self._connection.connection_file],
                stdin=subprocess.DEVNULL,
                # By this the kernel knows whose end is its own.
                env={**os.environ, "JPY_PARENT_PID": str(os.getpid())},
                # Interrupts of this process's group are not for it: it gets messages.
                start_new_session=True,
            )
        except OSError as error:
            self._connection.cleanup_connection_file()
            raise RustError("the Rust kernel cannot be started", str(error)) from None
        identity = self._session.bsession
        self._requests = self._connection.connect_shell(identity=identity)
        self._outputs = self._connection.connect_iopub()
        self._questions = self._connection.connect_stdin(identity=identity)
        self._control = self._connection.connect_control(identity=identity)
        self._poller = zmq.Poller()
        for socket in (self._requests, self._outputs, self._questions):
            self._poller.register(socket, zmq.POLLIN)
        self._wait_for_outputs()

    def is_alive(self) -> bool:
        """Whether the kernel still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the kernel and what its cells started."""
        if self.is_alive():
            self._send(self._control, "shutdown_request", {"restart": False})
        try:
            self._process.wait(_END_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for socket in (self._requests, self._outputs, self._questions, self._control):
            socket.close(linger=0)
        self._connection.cleanup_connection_file()

    def run(self, code: str) -> None:
        """Executes a cell and shows its outputs as they come.

        `KeyboardInterrupt` interrupts the cell; once that has ended, a `RustInterrupt` tells what was
        lost. A cell that fails raises a `RustError`.
        """
        kernel = getattr(self._user, "kernel", None)
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": getattr(kernel, "_allow_stdin", True),
            "stop_on_error": True,
        }
        cell = _Cell(self._send(self._requests, "execute_request", content))
        interrupted = False
        while not cell.is_done():
            try:
                self._take(cell)
            except KeyboardInterrupt:
                interrupted = True
                self._send(self._control, "interrupt_request", {})
        if interrupted:
            raise RustInterrupt(*(cell.failure or ("KeyboardInterrupt", "the cell had ended")))
        if cell.failure is not None:
            raise RustError(*cell.failure)

    def _take(self, cell: _Cell) -> None:
        """Takes what has come, or waits for it."""
        ready = dict(self._poller.poll(_PATIENCE))
        if not ready and not self.is_alive():
            raise RustError("the Rust kernel has ended", "the next cell starts a new one")
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
        publisher = self._user.display_pub
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
                raise RustError("the Rust kernel ended at its start", "run memtrack-kernel doctor")
            if time.monotonic() > deadline:
                self.stop()
                raise RustError("the Rust kernel does not answer", f"in {_START_LIMIT} s")
            self._send(self._requests, "kernel_info_request", {})

    def _send(self, socket: zmq.Socket[bytes], kind: str, content: dict[str, Any]) -> str:
        """Sends a message and returns its id."""
        message = self._session.send(socket, kind, content)
        return message["header"]["msg_id"]

    def _receive(self, socket: zmq.Socket[bytes]) -> dict[str, Any]:
        _, message = self._session.recv(socket, mode=0)
        return message


class _Cell:
    """What is known of a cell that was sent."""

    def __init__(self, request: str) -> None:
        self.request = request
        # Name, value and traceback of its error.
        self.failure: tuple[str, str, list[str]] | None = None
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
            self.failure = (content["ename"], content["evalue"], content["traceback"])


def _binary() -> str:
    """The kernel that was installed with this package."""
    for file in importlib.metadata.files("memtrack-kernel") or []:
        if file.match("bin/memtrack-kernel"):
            return os.path.realpath(file.locate())
    raise RustError(
        "the installation of memtrack-kernel is incomplete",
        "its program is missing; run: pip install --force-reinstall memtrack-kernel",
    )
