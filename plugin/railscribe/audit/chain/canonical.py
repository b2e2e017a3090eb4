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
from collections.abc import Iterable, Mapping

Value = str | int | float | bool

_encode = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode


def row_text(row: Mapping[str, Value]) -> str:
    """Return one row, its absent columns left out already, as it stands in an entry's bytes.

    Raises:
        ValueError: a value is no finite number.
        TypeError: a value is of no kind that an entry holds.
    """
    return _encode(row)


def entry_bytes(kind: str, tables: Mapping[str, Iterable[str]]) -> bytes:
    """Return the bytes of an entry of *kind* from the :func:`row_text` of its rows by table.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate, which no stored text does.
    """
    parts = []
    for name in sorted(tables):
        rows = sorted(tables[name])
        if rows:
            parts.append(f"{_encode(name)}:[{','.join(rows)}]")
    return f'{{"kind":{_encode(kind)},"rows":{{{",".join(parts)}}},"v":1}}'.encode()
