"""Connections that no front end makes, from others who reach the kernel's ports."""

import contextlib
import pathlib
import socket
import struct
import time

import zmq
from jupyter_client.session import Session as Signer

from kernel_session import MiB
from processes import resident

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


def greeting(mechanism=b"NULL"):
    """The first 64 bytes of a connection of ZMTP 3.0."""
    return b"\xff" + bytes(7) + b"\x01\x7f\x03\x00" + mechanism.ljust(20, b"\0") + bytes(32)


def ready(kind):
    """The command that follows the greeting."""
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    return b"\x04" + bytes([len(body)]) + body


def frame_of(length):
    """The beginning of a frame that announces so many bytes."""
    return b"\x02" + struct.pack(">Q", length) + b"beginning"


class Strangers:
    """What strangers do to the kernel of `session`, by `random` in an order that can be repeated."""

    def __init__(self, session, random):
        self.session, self.random = session, random
        self.info = session.client.get_connection_info()
        self.kernel = session.manager.provisioner.pid
        self.open = []

    def connect(self):
        channel = self.random.choice(CHANNELS)
        # Where there are as many as the kernel lets in, it takes until some are dropped.
        return socket.create_connection((self.info["ip"], self.info[f"{channel}_port"]), timeout=60)

    def descriptors(self):
        return len(list(pathlib.Path(f"/proc/{self.kernel}/fd").iterdir()))

    def say(self):
        """Bytes of one connection."""
        kinds = [b"DEALER", b"SUB", b"REQ", b"ROUTER", b"NONSENSE"]
        opened = greeting() + ready(self.random.choice(kinds))
        return self.random.choice(
            [
                self.random.randbytes(self.random.randrange(1, 2000)),
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                greeting()[: self.random.randrange(1, 64)],
                greeting(self.random.choice([b"CURVE", b"PLAIN", b"NONE", self.random.randbytes(20)])),
                greeting() + self.random.randbytes(100),
                opened + frame_of(1 << self.random.randrange(27, 64)),
                opened + frame_of(1000),
                opened + b"\x01" + bytes([200]),
                opened + self.random.randbytes(self.random.randrange(1, 500)),
            ]
        )

    def connections(self, times):
        """Come, say something, and leave: politely, at once, or only at the end."""
        for _ in range(times):
            stranger = self.connect()
            end = self.random.choice(["closed", "reset", "left open"])
            # The kernel may have hung up already.
            with contextlib.suppress(OSError):
                stranger.sendall(self.say())
                if end == "reset":
                    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end == "left open":
                self.open.append(stranger)
            else:
                stranger.close()

    def cut_off(self, times):
        """Are let in, and leave in the middle of a frame."""
        for number in range(times):
            channel, kind = (("hb", b"REQ"), ("shell", b"DEALER"))[number % 2]
            address = (self.info["ip"], self.info[f"{channel}_port"])
            with socket.create_connection(address, timeout=60) as stranger:
                stranger.sendall(greeting() + ready(kind))
                answer = b""
                while b"READY" not in answer:
                    answer += stranger.recv(1000)
                stranger.sendall(frame_of(1000))

    def idle(self, times):
        """Connections on which nothing comes."""
        self.open += [self.connect() for _ in range(times)]

    def dealer(self, channel):
        dealer = self.session.client.context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 10_000)
        dealer.connect(self.session.client._make_url(channel))
        return dealer

    def forged(self, times, code):
        """Cells signed with another key, with a signature of nonsense, or with none."""
        with contextlib.closing(self.dealer("shell")) as shell, contextlib.closing(self.dealer("control")) as control:
            for _ in range(times):
                signer = Signer(key=self.random.randbytes(16))
                frames = signer.serialize(signer.msg("execute_request", {"code": code, "silent": True}))
                frames[1] = self.random.choice([frames[1], b"", self.random.randbytes(64), b"0" * 64])
                self.random.choice([shell, control]).send_multipart(frames)

    def replayed(self, times, code):
        """A cell that was signed rightly, and that runs, sent again by others."""
        signer = self.session.client.session
        frames = signer.serialize(signer.msg("execute_request", {"code": code, "silent": True}))
        first = self.dealer("shell")
        first.send_multipart(frames)
        assert first.poll(60_000), "the cell itself is not answered"
        first.close()
        for _ in range(times):
            with contextlib.closing(self.dealer(self.random.choice(["shell", "control"]))) as other:
                other.send_multipart(frames)

    def leave(self):
        for stranger in self.open:
            stranger.close()
        self.open.clear()


def visit(session, random, times, idle):
    """Strangers come while a cell runs. Gives what was done, and by how many MiB the kernel grew.

    `session` has a variable `number`, which grows by one.
    """
    strangers = Strangers(session, random)
    # So that rust-analyzer, which is loaded when there is time, is there already.
    session.request(session.client.complete("String::new().", 14))
    before, held = strangers.descriptors(), resident(strangers.kernel)
    go = pathlib.Path(session._folder.name) / "go"
    cell = session.begin(
        'println!("runs"); while !std::path::Path::new("GO").exists() '
        '{ std::thread::sleep(std::time::Duration::from_millis(5)) }; println!("ran");'.replace("GO", str(go))
    )
    cell.wait_for_stdout("runs")
    try:
        strangers.idle(idle)
        strangers.connections(times)
        strangers.cut_off(times // 4)
        strangers.forged(times // 4, "number += 1_000_000;")
        go.touch()
        assert cell.finish().stdout.endswith("ran\n")
        # With the strangers still there.
        assert session.ok("%memtrack\n20 + 22").record.status == "ok"
        strangers.replayed(times // 4, "number += 1;")
    finally:
        go.unlink(missing_ok=True)
        strangers.leave()
    deadline = time.monotonic() + 30
    while strangers.descriptors() > before + 3:
        assert time.monotonic() < deadline, f"{before} descriptors before, {strangers.descriptors()} after"
        time.sleep(0.05)
    counts = {
        "strangers' connections": times + times // 4 + idle,
        "forged and replayed messages": times // 4 * 2,
    }
    return counts, (resident(strangers.kernel) - held) / MiB
