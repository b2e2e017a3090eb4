"""Changing the key that checkpoints are signed with.

Rules

1. The new key's file is there before the chain names it, and takes the old one's place after. The old file stays
   beside it: it can sign nothing any more.
2. Where a step fails, either nothing has changed, or the new key lies in the file that the error names.
"""

from __future__ import annotations

import os
from pathlib import Path

from railscribe.audit import keys
from railscribe.audit.attesting import now
from railscribe.audit.database import open_engine, parse_url, reading, translated, writing
from railscribe.audit.revision import require_head
from railscribe.audit.sealing import Sealer
from railscribe.errors import SigningKeyError

_ROTATING = "Rotating the signing key"


def rotate(url: str, path: Path, *, lost: bool = False) -> tuple[keys.SigningKey, Path | None]:
    """Have a new key at *path* sign the chain at *url* from now on; return it, and where the old one lies now.

    Where the old one is *lost*, the new one says so itself, and only who trusts it by name will believe that.

    Raises:
        SigningKeyError: there is no old key, or a key that is not lost.
        AuditError: the database failed; the old key is still the one.
    """
    parsed = parse_url(url)
    old = None if lost else keys.load(path)
    if lost and path.exists():
        raise SigningKeyError(
            f"There is a key at {path}.", hint="If it is not the chain's, move it away first."
        )
    beside = path.with_name(f"{path.name}.next")
    engine = open_engine(parsed)
    try:
        with translated(parsed, _ROTATING), reading(engine).begin() as connection:
            require_head(connection, parsed)
        new = keys.create(beside)
        sealer = Sealer(old or new)
        try:
            with translated(parsed, _ROTATING), writing(engine).begin() as connection:
                sealer.hand_over(connection, new, now(), lost=lost)
        except BaseException:
            beside.unlink()
            raise
    finally:
        engine.dispose()
    kept = None
    if old is not None:
        kept = path.with_name(f"{path.name}.{old.id}")
        os.replace(path, kept)  # noqa: PTH105
    os.replace(beside, path)  # noqa: PTH105
    return keys.load(path), kept
