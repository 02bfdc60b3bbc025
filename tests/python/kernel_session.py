"""A kernel and a client, so that a test reads as a script: start, execute, look at the result.

Works with jupyter_client 7.4 and 8. Every memtrack record that passes through here is checked
against `tests/record.schema.json`, so a test that only looks at one number checks the rest too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import queue
import re
import tempfile
import time

import jsonschema
import zmq
from jupyter_client.manager import KernelManager

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "memtrack-kernel"
KERNEL = "rust-memtrack"
RECORD = "application/vnd.memtrack.v1+json"

# Where all tests that compile large packages keep them, so that one run compiles each once.
SHARED_CACHE = ROOT / "target" / "test-cache"

# A cell waits for evcxr's start, a compiler and, on a busy machine of two cores, for its turn.
CELL_TIMEOUT = 180

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30


@functools.lru_cache(maxsize=1)
def record_validator():
    """The validator of `tests/record.schema.json`."""
    schema = json.loads((ROOT / "tests" / "record.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def check_record(record):
    """Asserts what holds for every record: the schema, the order of values, reasons for gaps."""
    record_validator().validate(record)
    keys = [(row["memory"], row["scope"], str(row["device"])) for row in record["rows"]]
    assert len(keys) == len(set(keys)), f"a row appears twice: {keys}"
    for row in record["rows"]:
        name = f"{row['memory']}/{row['scope']}"
        values = [row[column] for column in ("before", "peak", "after")]
        known = [value for value in values if value is not None]
        assert all(value >= 0 for value in known), f"{name} is negative: {values}"
        if row["peak"] is not None:
            assert row["peak"] == max(known), f"{name}: the peak is below another value: {values}"
            assert row["peak_method"], f"{name} does not say how its peak was got"
        if None in values:
            assert row["unavailable"], f"{name} has a gap without a reason: {values}"
        for count in ("allocations", "allocated", "retained"):
            assert (row.get(count) or 0) >= 0, f"{name}: {count} is negative"
    assert record["overhead"]["tracking_s"] >= 0
    return record


class Record:
    """A memtrack record, with its rows by name."""

    def __init__(self, content):
        self.json = check_record(content)
        self.status = content["cell"]["status"]
        self.cause = content["cell"].get("cause") or ""
        self.lost = content["cell"].get("lost_variables", [])

    def row(self, memory, scope="process"):
        """The row of `memory` and `scope`, or None."""
        for row in self.json["rows"]:
            if (row["memory"], row["scope"]) == (memory, scope):
                return row
        return None

    def rise(self, memory, scope="process"):
        """Peak minus before, in bytes."""
        row = self.row(memory, scope)
        assert row["peak"] is not None and row["before"] is not None, row
        return row["peak"] - row["before"]

    def kept(self, memory, scope="process"):
        """After minus before, in bytes."""
        row = self.row(memory, scope)
        assert row["after"] is not None and row["before"] is not None, row
        return row["after"] - row["before"]


@dataclasses.dataclass
class Result:
    """What came back for one cell."""

    reply: dict = dataclasses.field(default_factory=dict)
    # (type, content) of every iopub message but status and execute_input, in order of arrival.
    events: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def status(self):
        return self.reply["status"]

    def _stream(self, name):
        return "".join(
            content["text"]
            for kind, content in self.events
            if kind == "stream" and content["name"] == name
        )

    @property
    def stdout(self):
        return self._stream("stdout")

    @property
    def stderr(self):
        return self._stream("stderr")

    def of(self, kind):
        """Contents of all messages of this type."""
        return [content for event, content in self.events if event == kind]

    @property
    def results(self):
        return [content["data"] for content in self.of("execute_result")]

    @property
    def displays(self):
        """Data of all displays that are not a memtrack record."""
        bundles = (content["data"] for content in self.of("display_data"))
        return [bundle for bundle in bundles if RECORD not in bundle]

    @property
    def bundles(self):
        """Data of all displays, their updates, and results that hold a memtrack record."""
        kinds = ("display_data", "update_display_data", "execute_result")
        contents = (content for kind, content in self.events if kind in kinds)
        return [content["data"] for content in contents if RECORD in content["data"]]

    @property
    def record(self):
        """The one record of a tracked cell."""
        assert len(self.bundles) == 1, f"{len(self.bundles)} records in: {self.describe()}"
        return Record(self.bundles[0][RECORD])

    @property
    def error(self):
        """The one error message of a failed cell: name, value and traceback without colours."""
        assert len(self.of("error")) == 1, f"not exactly one error in: {self.describe()}"
        content = self.of("error")[0]
        text = "\n".join([content["ename"], content["evalue"], *content["traceback"]])
        return without_colours(text)

    def describe(self):
        """For messages of failed assertions."""
        return json.dumps({"reply": self.reply, "events": self.events}, default=str, indent=1)[:6000]


def without_colours(text):
    """`text` without ANSI escapes."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Cell:
    """A cell that was sent and may still be running."""

    def __init__(self, session, msg_id):
        self.session, self.msg_id = session, msg_id
        self.result = Result()
        self._start = time.monotonic()
        self.idle = False

    def take(self, deadline):
        """Takes the next of its iopub messages; returns its (type, content) if it was kept."""
        client = self.session.client
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"the cell gave no sign in time: {self.result.describe()}"
            assert self.session.manager.is_alive(), f"the kernel died: {self.result.describe()}"
            try:
                message = client.get_iopub_msg(timeout=min(left, 1))
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != self.msg_id:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "status":
                self.idle = content["execution_state"] == "idle"
                return None
            if kind == "execute_input":
                return None
            self.result.events.append((kind, content))
            return kind, content

    def wait_for(self, condition, timeout=CELL_TIMEOUT):
        """Waits until `condition(result)` holds; the cell must not end before."""
        deadline = time.monotonic() + timeout
        while not condition(self.result):
            assert not self.idle, f"the cell ended too soon: {self.result.describe()}"
            self.take(deadline)
        return self

    def wait_for_stdout(self, text, timeout=CELL_TIMEOUT):
        """Waits until `text` has come through stdout while the cell still runs."""
        return self.wait_for(lambda result: text in result.stdout, timeout)

    def finish(self, timeout=CELL_TIMEOUT):
        """Waits for idle and for the reply."""
        deadline = time.monotonic() + timeout
        while not self.idle:
            self.take(deadline)
        self.result.seconds = time.monotonic() - self._start
        self.result.reply = self.session.reply(self.msg_id, deadline)
        return self.result


class Session:
    """A running kernel with a client connected to it."""

    def __init__(self, transport="tcp", env=None, manager=None, ready=True, group=None):
        """`group`: a context in which the kernel is started, such as a `MemoryGroup`."""
        self._folder = tempfile.TemporaryDirectory(prefix="mt")
        file = os.path.join(self._folder.name, "k.json")
        self.manager = manager or KernelManager(kernel_name=KERNEL)
        self.manager.transport, self.manager.connection_file = transport, file
        if transport == "ipc":
            self.manager.ip = os.path.join(self._folder.name, "k")
        with group or contextlib.nullcontext():
            self.manager.start_kernel(env={**os.environ, **(env or {})})
        self.client = self.manager.client()
        # A kernel that is not listening yet is tried again at once: benchmarks time its start.
        self.client.context.setsockopt(zmq.RECONNECT_IVL, 5)
        self.client.start_channels()
        if ready:
            self.client.wait_for_ready(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self._folder.cleanup()

    def begin(self, code, **options):
        """Sends a cell and does not wait for it."""
        return Cell(self, self.client.execute(code, **options))

    def execute(self, code, timeout=CELL_TIMEOUT, **options):
        """Runs a cell to its end, however it ends."""
        return self.begin(code, **options).finish(timeout)

    def ok(self, code, **options):
        """Runs a cell that must succeed."""
        result = self.execute(code, **options)
        assert result.status == "ok", result.describe()
        return result

    def request(self, msg_id, timeout=60):
        """The content of the reply to a request that is not a cell."""
        return self.reply(msg_id, time.monotonic() + timeout)

    def reply(self, msg_id, deadline):
        while True:
            left = deadline - time.monotonic()
            assert left > 0, f"no reply to {msg_id}"
            try:
                message = self.client.get_shell_msg(timeout=min(left, 1))
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") == msg_id:
                return message["content"]

    def interrupt(self):
        self.manager.interrupt_kernel()

    def warm_up(self):
        """Pays for evcxr's start, rust-analyzer's reading of std and the first tracked cell."""
        self.ok("let warm_up = 1; println!()")
        self.ok("%memtrack\nassert!(warm_up == 1);")
        self.ok("drop(warm_up);")
        return self
