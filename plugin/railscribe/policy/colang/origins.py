"""Where the variables of a flow get their values, as far as the flow itself says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Union

from railscribe.policy.colang.script import (
    Assign,
    Call,
    Execute,
    Flow,
    If,
    Instruct,
    Leave,
    Loop,
    Script,
    Step,
    When,
)

EXPLAINED = (
    "user_message", "last_user_message", "bot_message", "last_bot_message", "llm_output", "relevant_chunks",
    "input_text", "output_text",
)  # fmt: skip
"""Variables that NeMo itself fills with what was said."""
_VARIABLE = re.compile(r"\$([A-Za-z_][\w]*)")

Origin = Union[Assign, Execute, Instruct, Call]  # noqa: UP007 - evaluated when the module is read, on 3.10 too


@dataclass(frozen=True, slots=True)
class Origins:
    """The steps that fill each variable."""

    by_variable: dict[str, tuple[Origin, ...]]

    def known(self, variable: str) -> bool:
        """Whether the flow fills *variable*."""
        return variable.split(".")[0] in self.by_variable

    def texts(self, variable: str) -> tuple[str, ...] | None:
        """Return the texts *variable* may hold, if it only ever gets literal ones."""
        origins = self.by_variable.get(variable)
        if not origins:
            return None
        found: list[str] = []
        for origin in origins:
            text = _literal(origin.expression) if isinstance(origin, Assign) else None
            if text is None:
                return None
            found.append(text)
        return tuple(found)


def origins_of(flow: Flow) -> Origins:
    """Return the origins of the variables of *flow*."""
    found: dict[str, list[Origin]] = {}
    for step in steps_within(flow.steps):
        if isinstance(step, (Assign, Instruct)) and step.variable:
            found.setdefault(step.variable, []).append(step)
        elif isinstance(step, (Execute, Call)) and step.result:
            found.setdefault(step.result, []).append(step)
    return Origins({variable: tuple(origins) for variable, origins in found.items()})


def steps_within(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield *steps* and all that stand inside them."""
    for step in steps:
        yield step
        if isinstance(step, If):
            yield from steps_within(step.then)
            yield from steps_within(step.otherwise)
        elif isinstance(step, When):
            for way in (*step.ways, step.otherwise):
                yield from steps_within(way)
        elif isinstance(step, Loop):
            yield from steps_within(step.body)


def deciders(script: Script, flow: Flow, conditions: Iterable[str]) -> tuple[Execute | Instruct, ...]:
    """Return the actions and instructions that decide *conditions* in *flow*, through called flows too."""
    found: dict[Execute | Instruct, None] = {}
    waiting = [(flow, name) for condition in conditions for name in _VARIABLE.findall(condition)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        where, variable = waiting.pop(0)
        if (where.name, variable) in seen:
            continue
        seen.add((where.name, variable))
        for origin in origins_of(where).by_variable.get(variable, ()):
            if isinstance(origin, (Execute, Instruct)):
                found[origin] = None
            elif isinstance(origin, Assign):
                waiting.extend((where, name) for name in _VARIABLE.findall(origin.expression))
            elif origin.flow in script.flows:
                called = script.flows[origin.flow]
                values = [step.value for step in steps_within(called.steps) if isinstance(step, Leave)]
                waiting.extend((called, name) for value in values for name in _VARIABLE.findall(value))
    return tuple(found)


def _literal(raw: str) -> str | None:
    try:
        value = ast.literal_eval(raw.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str) else None
