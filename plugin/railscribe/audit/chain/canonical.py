"""The bytes that an entry's leaf is made of. Pure, and without knowledge of any table.

Rules

1. An entry is JSON in UTF-8: ``{"kind": …, "rows": {table: [row, …]}, "v": 1}``, keys in the order of their code
   points, without white space; in strings only what JSON demands is escaped, as RFC 8785 does it.
2. A column without a value is left out, and so is a table without rows: what a later revision adds changes no old
   leaf.
3. The rows of one table lie in the order of their own JSON text, code point by code point: no database's collation
   counts.
4. A time is ISO 8601 in UTC to the microsecond, with ``Z``; a real is the shortest decimal that reads back as the
   same number, with a point or an exponent. Zero has no sign, and what is no finite number cannot be an entry's.
5. Text is taken as it is stored (rule 5 of :mod:`railscribe.audit.tables`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Value = str | int | float | bool

_encoder = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)


def _once() -> Callable[[Any, int], Iterable[str]]:
    """Return what ``encode`` makes anew for each call, at the cost of another row."""
    make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    if make is None:  # not CPython
        return lambda value, _: (_encoder.encode(value),)
    made: Callable[[Any, int], Iterable[str]] = make(
        *(None, _encoder.default, json.encoder.encode_basestring, None, ":", ","),
        *(True, False, False),  # sort the keys, skip none, and nothing that is no number
    )
    return made


_chunks = _once()


def _encode(value: Any) -> str:
    return "".join(_chunks(value, 0))


def entry_bytes(kind: str, tables: Mapping[str, Sequence[Mapping[str, Value]]]) -> bytes:
    """Return the bytes of an entry of *kind* from its rows by table, whose absent columns are left out already.

    Raises:
        ValueError: a value is no finite number, or a text holds a lone surrogate, which no stored text does.
        TypeError: a value is of no kind that an entry holds.
    """
    rows = {
        name: some if len(some) == 1 else sorted(some, key=_encode) for name, some in tables.items() if some
    }
    return _encode({"kind": kind, "rows": rows, "v": 1}).encode()
