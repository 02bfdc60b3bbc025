"""Parameters for papermill: Python values as Rust."""

from __future__ import annotations

import math
import re
from typing import Any

from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

# Rust's types for integers, each with what it holds.
_INTEGERS = {f"i{bits}": range(-(2 ** (bits - 1)), 2 ** (bits - 1)) for bits in (32, 64, 128)}

# A statement of a cell tagged `parameters`, with the comment behind it.
_LET = re.compile(
    r"^\s*let\s+(?:mut\s+)?(?P<name>\w+)\s*(?::\s*(?P<type>[^=]+?)\s*)?=\s*(?P<value>.+?);"
    r"\s*(?://\s*(?P<help>.*))?$"
)


class Engine(NBClientEngine):
    """papermill's own engine, under the name `memtrack`."""


class RustTranslator(Translator):
    """Writes parameters as `let` statements.

    An `int` becomes an `i32` (`i64` or `i128` where it does not fit), a `float` an `f64`, a `str` a
    `String`, a `list` a `Vec`, a `dict` a `BTreeMap<String, _>`, and `None` an `Option<String>`
    without a value. The values of one list or dict must be of one type; a `None` among them makes all
    of them options, a `float` among integers all of them floats. papermill does not tell the types of
    the cell that it overrides, so a number that is to be a `usize` is converted in a later cell.

    Values that Rust has no such type for raise a `PapermillException`.
    """

    @classmethod
    def translate_none(cls, val: None) -> str:
        return "None::<String>"

    @classmethod
    def translate_int(cls, val: int) -> str:
        return cls._integers([val])[0]

    @classmethod
    def translate_float(cls, val: float) -> str:
        if math.isnan(val):
            return "f64::NAN"
        if math.isinf(val):
            return "f64::INFINITY" if val > 0 else "f64::NEG_INFINITY"
        return f"{val!r}_f64"

    @classmethod
    def translate_escaped_str(cls, str_val: Any) -> str:
        return f'"{"".join(map(cls._character, str(str_val)))}".to_string()'

    @classmethod
    def translate_list(cls, val: list[Any]) -> str:
        if not val:
            return "Vec::<String>::new()"
        return f"vec![{', '.join(cls._alike(val))}]"

    @classmethod
    def translate_dict(cls, val: dict[str, Any]) -> str:
        kind = "std::collections::BTreeMap"
        if not val:
            return f"{kind}::<String, String>::new()"
        values = cls._alike(list(val.values()))
        pairs = (f"({cls.translate_str(str(key))}, {value})" for key, value in zip(val, values))
        return f"{kind}::from([{', '.join(pairs)}])"

    @classmethod
    def comment(cls, cmt_str: str) -> str:
        return f"// {cmt_str}".strip()

    @classmethod
    def assign(cls, name: str, str_val: str) -> str:
        return f"let {name} = {str_val};"

    @classmethod
    def inspect(cls, parameters_cell: Any) -> list[Parameter]:
        found = map(_LET.match, parameters_cell["source"].splitlines())
        return [
            Parameter(let["name"], let["type"] or "None", let["value"], let["help"] or "")
            for let in found
            if let
        ]

    @classmethod
    def _character(cls, character: str) -> str:
        """One character inside a literal. rustc refuses some invisible ones that are not escaped."""
        if 0xD800 <= ord(character) <= 0xDFFF:
            raise PapermillException(f"{character!r} is half a character: Rust's strings have none")
        if character in '"\\':
            return f"\\{character}"
        return character if character.isprintable() else f"\\u{{{ord(character):x}}}"

    @classmethod
    def _integers(cls, values: list[int]) -> list[str]:
        """Literals of the first type that holds all."""
        for name, held in _INTEGERS.items():
            if all(value in held for value in values):
                return [str(value) if name == "i32" else f"{value}_{name}" for value in values]
        raise PapermillException(f"{values} do not fit into 128 bits: pass them as strings")

    @classmethod
    def _alike(cls, values: list[Any]) -> list[str]:
        """The values of a list or dict, all of one type of Rust's."""
        given = [value for value in values if value is not None]
        kinds = {type(value) for value in given}
        if kinds == {int, float}:
            given, kinds = [float(value) for value in given], {float}
        if len(kinds) > 1:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise PapermillException(
                f"{values} holds values of several types ({names}), and Rust's Vec and BTreeMap hold "
                "one: pass several parameters, or a string to parse"
            )
        texts = cls._integers(given) if kinds == {int} else [cls.translate(it) for it in given]
        if len(given) == len(values):
            return texts
        if not given:
            return [cls.translate_none(None)] * len(values)
        rest = iter(texts)
        return ["None" if value is None else f"Some({next(rest)})" for value in values]


papermill_translators.register("rust", RustTranslator)
