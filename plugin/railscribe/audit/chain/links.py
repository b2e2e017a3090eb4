"""Checks a chain of checkpoints link by link. Pure: it is handed checkpoints in order, wherever they come from.

Rules

1. Every link is checked, not only the last: its number, the hash of the one before, its own hash, its signature, the
   key that was to sign it, and that what is repeated beside the body is what the body says.
2. The first key is believed because the caller names it, or, where he names none, because it is there. A later one is
   believed when the one before it named it. One that came without the other's signature only if the caller names it.
3. Each key that the caller names must have signed: else the chain is another one, or has lost its end.
4. A key that was given up signs no more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from railscribe.audit.chain.checkpoint import hash_of, is_signed, key_id, read

Told = Callable[..., None]
"""Takes a failure: its code, what it says, and its place by keywords."""

_REPEATED = ("number", "at", "writer", "reason", "ends")


@dataclass(slots=True, kw_only=True)
class Links:
    """Goes along a chain."""

    tell: Told
    keys: dict[str, bytes]
    """The public keys that are known, by id."""
    trusted: Sequence[bytes] = ()
    number: int = 0
    hash: str | None = None
    at: str | None = None
    gaps: int = 0
    key: str | None = None
    """The id of the key that must sign the next checkpoint."""
    signed: dict[str, int] = field(default_factory=dict)
    """How many checkpoints each key signed."""
    named: set[str] = field(default_factory=set)
    """The keys that the chain speaks of."""
    clocks_back: int = 0

    def __post_init__(self) -> None:
        self.keys.update({key_id(public): public for public in self.trusted})

    def take(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Check the next checkpoint; return what its body says, or ``None`` where that cannot be read."""
        number = row["number"]
        if number != self.number + 1:
            missing = (
                f"{self.number + 1}" if number == self.number + 2 else f"{self.number + 1} to {number - 1}"
            )
            self.tell("checkpoint_missing", f"Checkpoint {missing} is missing.", checkpoint=self.number + 1)
        try:
            said = read(row["body"])
            _require_shape(said)
            self._check(row, said, follows=number == self.number + 1)
        except (ValueError, KeyError, TypeError):
            self.tell("checkpoint_unreadable", "Its body is none of a checkpoint.", checkpoint=number)
            said = None
        self.number, self.hash = number, hash_of(row["body"])
        return said

    def _check(self, row: Mapping[str, Any], said: dict[str, Any], *, follows: bool) -> None:
        number = row["number"]
        if hash_of(row["body"]) != row["hash"]:
            self.tell("checkpoint_hash", "Its hash is not that of its body.", checkpoint=number)
        if follows and said.get("previous") != self.hash:
            self.tell("checkpoint_link", "It does not name the hash of the one before it.", checkpoint=number)
        for name in _REPEATED:
            if said.get(name) != row[name]:
                self.tell("checkpoint_column", f"Its {name} is not what its body says.", checkpoint=number)
        if said["key"] != row["key_id"]:
            self.tell("checkpoint_column", "Its key_id is not what its body says.", checkpoint=number)
        self._check_key(said, number)
        self._check_signature(row, said)
        self._go_on(said, number)

    def _check_key(self, said: dict[str, Any], number: int) -> None:
        """Check that this key was to sign (rules 2 and 4)."""
        key = said["key"]
        self.named.add(key)
        if self.key is None or key == self.key:
            return
        if said.get("lost_key") != self.key:
            self.tell(
                "checkpoint_key",
                f"It is signed with the key {key}, and {self.key} was to sign.",
                checkpoint=number,
            )
        elif key not in {key_id(public) for public in self.trusted}:
            self.tell(
                "key_unvouched",
                f"The key {key} came without the signature of {self.key}, which was lost; name it as one that "
                "you trust, if you do.",
                checkpoint=number,
            )

    def _check_signature(self, row: Mapping[str, Any], said: dict[str, Any]) -> None:
        public = self.keys.get(said["key"])
        if public is None:
            self.tell(
                "key_missing",
                f"Its key {said['key']} is not there.",
                checkpoint=row["number"],
                key=said["key"],
            )
        elif not is_signed(row["body"], row["signature"], public):
            self.tell("checkpoint_signature", "Its signature is not its key's.", checkpoint=row["number"])
        else:
            self.signed[said["key"]] = self.signed.get(said["key"], 0) + 1

    def _go_on(self, said: dict[str, Any], number: int) -> None:
        self.key = said["key"]
        following = said.get("next_key")
        if following is not None:
            public = bytes.fromhex(following["public_key"])
            if key_id(public) != following["id"]:
                self.tell("checkpoint_key", "The id of the next key is not that key's.", checkpoint=number)
            self.key = following["id"]
            self.named.add(following["id"])
            self.keys[following["id"]] = public
        if said["gaps"] < self.gaps:
            self.tell("gap_missing", "It counts fewer gaps than the one before.", checkpoint=number)
        self.gaps = max(self.gaps, said["gaps"])
        datetime.fromisoformat(said["at"].replace("Z", "+00:00"))
        if self.at is not None and said["at"] < self.at:
            self.clocks_back += 1
        self.at = said["at"]

    def finish(self) -> None:
        """Check what can only be told at the end (rule 3)."""
        for public in self.trusted:
            if not self.signed.get(key_id(public)):
                self.tell(
                    "key_unused",
                    f"No checkpoint is signed with the key {key_id(public)}, which you trust.",
                    key=key_id(public),
                )


def _require_shape(said: Mapping[str, Any]) -> None:
    """Check that a body has what every checkpoint has.

    Raises:
        ValueError: it has not.
    """
    whole = isinstance(said["number"], int) and isinstance(said["gaps"], int)
    whole &= all(isinstance(said[name], str) for name in ("at", "writer", "reason", "key"))
    for segment in said["segments"]:
        whole &= isinstance(segment["count"], int) and segment["count"] > 0
        whole &= all(isinstance(segment[name], str) for name in ("id", "class", "month", "root"))
        int(segment["id"].rpartition(".")[2])
    if said["reason"] == "recovered":
        whole &= isinstance(said["ends"], str)
    if not whole:
        raise ValueError("not the body of a checkpoint")
