"""The magics `%%rust`, `%%memtrack` and `%memtrack` of an IPython shell."""

from __future__ import annotations

import atexit
import sys

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, magics_class, no_var_expand

from ._engine import Engine

_NAME = "MemtrackMagics"


@magics_class
class MemtrackMagics(Magics):
    """Runs cells in one session of Rust, which the first of them starts."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._engine: Engine | None = None
        # The way by which `unload` and a second `load` find this.
        shell.magics_manager.registry[_NAME] = self

    @no_var_expand
    @cell_magic
    def rust(self, line: str, cell: str) -> None:
        """Runs the cell as Rust. Lines such as `%memtrack` or `%use` may stand on its top."""
        if line.strip():
            raise UsageError(
                f"%%rust takes no options: put `%memtrack {line.strip()}` on the next line, or begin "
                f"the cell with `%%memtrack {line.strip()}`"
            )
        # A line for the magic's own, so that messages of the compiler name the cell's lines.
        self._run("\n" + cell)

    @no_var_expand
    @line_cell_magic
    def memtrack(self, line: str, cell: str | None = None) -> None:
        """Runs the cell as Rust and shows what memory it used; `%memtrack --help` tells more."""
        self._run(f"%memtrack {line}\n{cell or ''}")

    def stop(self) -> None:
        """Ends Rust, if it runs."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop()

    def _run(self, code: str) -> None:
        if self._engine is not None and not self._engine.is_alive():
            self.stop()
            print("Rust had ended; it starts anew, without the variables it had.", file=sys.stderr)
        if self._engine is None:
            self._engine = Engine(self.shell)
        self._engine.run(code)


def load(shell: InteractiveShell) -> None:
    """Registers the magics."""
    magics = MemtrackMagics(shell)
    shell.register_magics(magics)
    atexit.register(magics.stop)


def unload(shell: InteractiveShell) -> None:
    """Ends Rust; the magics' names stay, and start it anew."""
    magics = shell.magics_manager.registry.get(_NAME)
    if isinstance(magics, MemtrackMagics):
        atexit.unregister(magics.stop)
        magics.stop()
