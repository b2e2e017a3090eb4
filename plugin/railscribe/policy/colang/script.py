"""Colang as both versions mean it: intents, messages, flows, and the steps of a flow.

Rules

1. Readers turn every construct into a step. What they do not understand becomes :class:`Unknown`, never nothing.
2. A step keeps its line; its file and flow are the flow's.
3. Nothing here knows NeMo Guardrails: the readers do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Union

from railscribe.policy.diagnostics import Diagnostic, Source

ANYTHING = "..."
"""The intent that every user message has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a user may mean, as the author names it."""

    name: str
    source: Source
    examples: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What the bot may say, as the author names it."""

    name: str
    source: Source
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user says one of these intents; :data:`ANYTHING` stands for all."""

    intents: tuple[str, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """The bot says a message by name, a text, or what a variable holds."""

    name: str = ""
    texts: tuple[str, ...] = ()
    variable: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The turn ends here: ``stop``, ``abort``, or an exception event."""

    word: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Another flow runs."""

    flow: str
    result: str = ""
    activates: bool = False
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """An action runs: code outside the configuration."""

    action: str
    result: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assign:
    """A variable takes a value."""

    variable: str
    expression: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruct:
    """A language model is told in plain words what a variable shall hold, or how to go on."""

    variable: str
    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class If:
    """One of two ways."""

    condition: str
    then: tuple[Step, ...]
    otherwise: tuple[Step, ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """As many ways as things that may happen; each begins with its own steps."""

    ways: tuple[tuple[Step, ...], ...]
    otherwise: tuple[Step, ...] = ()
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Steps that may run any number of times."""

    condition: str
    body: tuple[Step, ...]
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Out of the flow (``return``) or of the loop (``break``, ``continue``)."""

    loop: bool
    value: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A place to go to."""

    name: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goto:
    """On from a label of the same flow."""

    label: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """Something else than the user's words is waited for: a timer, a gesture, an event."""

    what: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A construct that was read and not understood (rule 1)."""

    what: str
    line: int | None = None


Step = Union[  # noqa: UP007 - named in quotes by the classes above
    User, Bot, Stop, Call, Execute, Assign, Instruct, If, When, Loop, Leave, Label, Goto, Await, Unknown
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Steps under a name."""

    name: str
    source: Source
    kind: Literal["flow", "subflow"] = "flow"
    """A subflow runs only where it is called or activated as a rail."""
    active: bool = False
    """Whether it runs by itself, without another flow's activating it."""
    description: str = ""
    steps: tuple[Step, ...] = ()
    parameters: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Script:
    """All that a configuration's Colang says. Filled file by file, then only read."""

    version: Literal["1.0", "2.x"]
    intents: dict[str, Intent] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    flows: dict[str, Flow] = field(default_factory=dict)
    wildcards: set[str] = field(default_factory=set)
    """Intents whose only example is "...": every message has them."""
    diagnostics: list[Diagnostic] = field(default_factory=list)
