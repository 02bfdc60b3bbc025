"""A driver whose texts are code and whose numbers cannot be, on the fake NVML: what is not known is
neither zero nor absurd, and no text leaves its place in a table.
"""

import csv
import html.parser
import unicodedata
import xml.etree.ElementTree

import pytest

from fake_gpu import FakeGpu
from kernel_session import GiB, Session
from test_vram import values, vram

NOT_AVAILABLE = 2**64 - 1

# What NVML's buffers, 96 bytes for a name, let through, and what they do not. The fake's names begin
# with "Fake", so that no picture shows them as real.
NAMES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>&amp;\"'",
    list(b"Fake \xff\xfe\xc3("),
    "two\nlines\r\n\x1b[31m\ttab\x07",
    "x" * 1_000_000,
    "wide " + "W" * 85,
    "日本語" * 10,
    "]]></svg><script>",
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A kernel on a machine whose driver answers with code."""
    devices = [{"name": name, "total": 16 * GiB, "base_used": GiB} for name in NAMES]
    folder = tmp_path_factory.mktemp("gpu")
    gpu = FakeGpu(folder, devices=devices, driver_version="<b onclick=x>570</b>\n\x1b[0m")
    with Session(env=gpu.env) as session:
        session.ok("let ready = 1;")
        session.gpu = gpu
        yield session


@pytest.fixture(scope="module")
def used(machine):
    """What came back for a cell during which the use of every GPU rose."""
    go = machine.gpu.folder / "go"
    cell = machine.begin(
        f'%memtrack --timeline\nprintln!("runs"); while !std::path::Path::new("{go}").exists() '
        "{ std::thread::sleep(std::time::Duration::from_millis(1)) }"
    )
    cell.wait_for_stdout("runs")
    for number in range(len(NAMES)):
        machine.gpu[number].base_used = 2 * GiB
    go.touch()
    try:
        return cell.finish()
    finally:
        for number in range(len(NAMES)):
            machine.gpu[number].base_used = GiB


class Tags(html.parser.HTMLParser):
    """The tags of a page, its attributes and its text."""

    def __init__(self, page):
        super().__init__()
        self.names, self.attributes, self.text = set(), set(), ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.names.add(tag)
        self.attributes.update(name for name, _ in attributes)

    def handle_data(self, data):
        self.text += data


def assert_harmless(page):
    """No name has become a part of the page; gives the text that a reader sees."""
    tags = Tags(page)
    assert not tags.names & {"script", "img"}, tags.names
    assert not [name for name in tags.attributes if name.startswith("on")], tags.attributes
    return tags.text


def width(line):
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def assert_fits(text):
    """No control character has come through, and no line is wider than a terminal."""
    for line in text.split("\n"):
        assert width(line) <= 100, line
        assert not [character for character in line if unicodedata.category(character) == "Cc"], repr(line)


def test_names_are_one_line_and_what_is_no_text_is_not_shown(machine):
    names = [row["device"]["name"] for row in vram_devices(machine.ok("%memtrack\n1").record)]
    assert names == [
        "Fake <script>alert(1)</script>",
        "Fake <img src=x onerror=alert(1)>&amp;\"'",
        "NVIDIA GPU",
        "Fake two lines [31m tab",
        "NVIDIA GPU",
        "Fake wide " + "W" * 85,
        "Fake " + "日本語" * 10,
        "Fake ]]></svg><script>",
    ]


def vram_devices(record):
    return [row for row in record.json["rows"] if row["memory"] == "vram" and row["scope"] == "device"]


def test_tables_stay_aligned_and_names_in_their_cells(used):
    (bundle,) = used.bundles
    text = bundle["text/plain"]
    assert_fits(text)
    lines = [line for line in text.split("\n") if line.endswith("sampled every 5 ms")]
    assert len(lines) == len(NAMES), text
    # Each value of the column ends where its head does.
    head = next(line for line in text.split("\n") if " before " in line)
    end = head.index("before") + len("before")
    assert {line[:end][-8:] for line in lines} == {"1.00 GiB"}, text
    assert_harmless(bundle["text/html"])


def test_the_doctor_escapes_the_names(machine):
    (doctor,) = machine.ok("%memtrack doctor").displays
    assert_fits(doctor["text/plain"])
    text = assert_harmless(doctor["text/html"])
    assert "<b onclick=x>570</b>" in text and f"Fake {NAMES[0]}" in text and f"Fake {NAMES[1]}" in text


def test_pictures_escape_the_names(machine, used):
    bundles = machine.ok("%memtrack plot").displays
    pictures = 0
    for bundle in bundles:
        assert_fits(bundle["text/plain"])
        for kind in bundle.keys() & {"text/html", "image/svg+xml"}:
            assert "Fake <" in assert_harmless(bundle[kind])
            xml.etree.ElementTree.fromstring(bundle[kind])
            pictures += 1
    assert pictures


def test_files_escape_the_names(machine, used, tmp_path):
    for kind in ("html", "md", "csv", "jsonl"):
        machine.ok(f"%memtrack export {tmp_path}/out.{kind}")
    assert_harmless((tmp_path / "out.html").read_text())
    assert_harmless((tmp_path / "out.md").read_text())
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert f"Fake {NAMES[1]}" in {row[rows[0].index("device_name")] for row in rows}


IMPOSSIBLE = {
    "nothing in all": (0, 0, 0),
    "more used than there is": (GiB, 0, GiB + 1),
    "more reserved than there is": (GiB, 2 * GiB, 0),
    "used is not available": (GiB, 0, NOT_AVAILABLE),
    "a sum that overflows": (GiB, NOT_AVAILABLE, 2),
    "nothing is available": (NOT_AVAILABLE,) * 3,
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_numbers_that_cannot_be_are_not_known(machine, case):
    total, reserved, used = IMPOSSIBLE[case]
    machine.gpu[0].claimed_memory = {"total": total, "reserved": reserved, "free": 1, "used": used}
    try:
        result = machine.ok("%memtrack\n3")
        row = vram(result.record)["device"]
        assert values(row) == [None, None, None] and row["limit"] is None
        assert "what cannot be" in row["unavailable"]
        (doctor,) = machine.ok("%memtrack doctor").displays
        told = " ".join(doctor["text/plain"].split())
        assert "GPU 0 Fake <script>" in told and "what cannot be" in told
        for text in (told, result.bundles[0]["text/plain"]):
            assert "EiB" not in text and "of 0 B" not in text, text
        # The others are known.
        assert values(vram(result.record, 1)["device"])[0] == GiB
    finally:
        machine.gpu[0].claimed_memory = None
    assert values(vram(machine.ok("%memtrack\n4").record)["device"])[0] == GiB


@pytest.mark.parametrize("claimed", [3, 2**31, 2**32 - 1])
def test_a_count_of_processes_that_lies_costs_no_memory(machine, claimed):
    machine.gpu[0].claimed_processes = claimed
    try:
        machine.ok("%memtrack\n5")
        doctor = " ".join(machine.ok("%memtrack doctor").displays[0]["text/plain"].split())
    finally:
        machine.gpu[0].claimed_processes = None
    # Those that the driver only says to be there are not counted.
    assert ("0 now" if claimed == 3 else "does not list processes") in doctor or "lists 0 processes" in doctor


def test_a_count_of_gpus_that_lies_hides_none(tmp_path):
    gpu = FakeGpu(tmp_path, devices=[{"base_used": GiB}], claimed_devices=2**32 - 1, cuda_version=-5)
    with Session(env=gpu.env) as session:
        session.ok("let ready = 1;")
        (row,) = vram_devices(session.ok("%memtrack\nready").record)
        assert values(row) == [GiB, GiB, GiB]
        assert "CUDA up to" not in session.ok("%memtrack doctor").displays[0]["text/plain"]
