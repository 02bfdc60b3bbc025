"""Rust cells in a Python notebook, run and measured by the kernel of `memtrack-kernel`.

`%load_ext memtrack` gives the cell magics `%%rust` and `%%memtrack`, and the line magic `%memtrack`.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Registers the magics. IPython calls this for `%load_ext memtrack`."""
    # Not above: papermill's entry point imports this package where IPython may be missing.
    from ._magics import load

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Ends Rust. IPython calls this for `%unload_ext memtrack` and `%reload_ext memtrack`."""
    from ._magics import unload

    unload(shell)
