"""What becomes of user messages, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from railscribe.policy.colang.script import Flow

NOBODY = ""
"""The head of a flow that no user message started."""
CALLER = "\0"
"""Whatever message the caller of a flow had."""


class Effect(Enum):
    """What becomes of a message."""

    REFUSED = "refused"
    STOPPED = "stopped"
    ANSWERED = "answered"
    COMPUTED = "computed"
    """Something is said whose text only the run of the application gives."""
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Head:
    """A user message that may have led here, and on which conditions."""

    intent: str
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of a user message at one place."""

    intent: str
    effect: Effect
    conditions: tuple[str, ...]
    flow: Flow
    line: int | None
    what: str
    """The bot message's name, the word that stops, or the construct that was not understood."""
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryCall:
    """A flow of NeMo's own library that is used."""

    name: str
    flow: Flow
    line: int | None


@dataclass(slots=True)
class Summary:
    """What a flow does, seen from where it is called (rule 1)."""

    outcomes: dict[Outcome, None] = field(default_factory=dict)
    library: list[LibraryCall] = field(default_factory=list)
    calls: set[str] = field(default_factory=set)
    heads: tuple[Head, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What a script does to the messages of its users."""

    outcomes: tuple[Outcome, ...]
    library: tuple[LibraryCall, ...]
    asleep: tuple[Flow, ...]
    """Flows that nothing runs (rule 5)."""
