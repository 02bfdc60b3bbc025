"""Runs the cells of colab.ipynb as Colab would: over ipc, with jupyter_client 7.4.9.

drive.py install    the first cell, in a Python kernel
drive.py rust       all others, in the Rust kernel
drive.py python     all others by `%%rust`, in a Python kernel
"""

import json
import pathlib
import sys
import time

import jupyter_client
from jupyter_client.manager import KernelManager

RECORD = "application/vnd.memtrack.v1+json"
TIMEOUT = 600


def cells():
    """The Python cells and the Rust cells."""
    notebook = json.loads(pathlib.Path("colab.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    is_python = [("python" in cell["metadata"].get("tags", [])) for cell in code]
    sources = ["".join(cell["source"]) for cell in code]
    python = [source for source, python in zip(sources, is_python) if python]
    return python, [source for source, python in zip(sources, is_python) if not python]


def execute(client, source):
    """Executes a cell and prints what it shows. Returns its labels of records and whether it failed."""
    start = time.time()
    labels, failed = [], False

    def show(message):
        nonlocal failed
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            print(content["text"], end="")
        elif kind in ("display_data", "execute_result"):
            print(content["data"].get("text/plain", ""))
            if RECORD in content["data"]:
                labels.append(content["data"][RECORD]["cell"]["label"])
        elif kind == "error":
            failed = True
            print("\n".join(content["traceback"]))

    reply = client.execute_interactive(source, timeout=TIMEOUT, output_hook=show, allow_stdin=False)
    failed |= reply["content"]["status"] != "ok"
    print(f"[{time.time() - start:.1f} s]\n", flush=True)
    return labels, failed


def run(kernel, sources):
    manager = KernelManager(kernel_name=kernel, transport="ipc")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    labels, failures = [], 0
    try:
        client.wait_for_ready(timeout=60)
        for source in sources:
            print("\n".join(f"> {line}" for line in source.splitlines()[:3]))
            new, failed = execute(client, source)
            labels += new
            failures += failed
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return labels, failures


def main(part):
    assert jupyter_client.__version__ == "7.4.9", jupyter_client.__version__
    python, rust = cells()
    tracked = [source for source in rust if "%memtrack --label" in source]
    if part == "install":
        # Twice: the second time finds everything there.
        labels, failures = run("python3", python * 2)
        expected = 0
    elif part == "rust":
        labels, failures = run("rust-memtrack", rust)
        expected = len(tracked)
    else:
        sources = ["%load_ext memtrack", *(f"%%rust\n{source}" for source in rust)]
        labels, failures = run("python3", sources)
        expected = len(tracked)
    print(f"{part}: {failures} cells failed, {len(labels)} of {expected} cells with a record: {labels}")
    return 1 if failures or len(labels) != expected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
