"""Where each user message ends: refused, stopped, answered, or nobody can tell.

Rules

1. Steps are walked once for each flow, with *heads*: the user messages that may have led here, each with the
   conditions met on the way. A called flow is walked once and its result reused wherever it is called.
2. Conditions are collected, never evaluated. Where both ways of an ``if`` go on, the condition is dropped again.
3. A refusal that only comes later in a conversation keeps what it follows as a condition.
4. What was not understood is an outcome of its own, for every message that may pass it.
5. In 1.0 every flow runs; in 2.x those that ``main`` or ``@active`` reaches.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from railscribe.policy.colang.origins import EXPLAINED, origins_of
from railscribe.policy.colang.outcomes import (
    CALLER,
    NOBODY,
    Effect,
    Head,
    LibraryCall,
    Outcome,
    Reached,
    Summary,
)
from railscribe.policy.colang.script import ANYTHING, Flow, Script
from railscribe.policy.colang.walking import FlowWalk

_MOST_ROUNDS = 6
_HOOKS = (
    "input rails",
    "output rails",
    "retrieval rails",
    "tool input rails",
    "tool output rails",
    "dialog rails",
)


class Walker:
    """Walks the flows of one script (rule 1)."""

    def __init__(self, script: Script, library: frozenset[str]) -> None:
        self._script = script
        self._library = library
        self._summaries: dict[str, Summary] = {}
        self._under_way: set[str] = set()
        self._order: list[str] = []
        """The flows in the order in which they were walked."""
        self._guesses: dict[str, Summary] = {}
        self._in_circles = False
        self._filled: set[str] | None = None

    def reached(self, rails: Iterable[str] = ()) -> Reached:
        """Return what the flows that run do; those called *rails* are walked apart."""
        roots = self._roots(frozenset(rails))
        outcomes: dict[Outcome, None] = {}
        library: list[LibraryCall] = []
        seen: set[str] = set()
        waiting = list(reversed(roots))
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            summary = self.summary(name)
            library.extend(summary.library)
            for outcome in summary.outcomes:
                if outcome.intent != CALLER:
                    outcomes[outcome] = None
                elif name in roots:
                    outcomes[replace(outcome, intent=NOBODY)] = None
            waiting.extend(sorted(summary.calls - seen, reverse=True))
        spared = {*seen, *rails, *_HOOKS}
        asleep = [
            f
            for n, f in self._script.flows.items()
            if n not in spared and not n.startswith(("user ", "bot "))
        ]
        return Reached(outcomes=tuple(outcomes), library=tuple(library), asleep=tuple(asleep))

    def _roots(self, rails: frozenset[str]) -> list[str]:
        flows = self._script.flows
        if self._script.version == "1.0":
            return [name for name, flow in flows.items() if flow.active and name not in rails]
        named = [name for name, flow in flows.items() if flow.active or name == "main"]
        if "main" in flows or any(name in flows for name in _HOOKS):
            return named
        # Without a main, nothing would run: a fragment that somebody else's main activates.
        return [name for name in flows if not name.startswith(("user ", "bot "))]

    def summary(self, name: str) -> Summary:
        """Return what the flow called *name* does.

        Flows that call each other in a circle are walked again with what the round before found, until no round
        finds more.
        """
        known = self._summaries.get(name)
        if known is not None:
            return known
        if name in self._under_way:
            self._in_circles = True
            return self._guesses.get(name, Summary(heads=(Head(CALLER),)))
        if self._under_way:
            return self._walked(name)
        for _ in range(_MOST_ROUNDS):
            before = len(self._order)
            self._in_circles = False
            summary = self._walked(name)
            found = {other: self._summaries[other] for other in self._order[before:]}
            if not self._in_circles or all(self._guesses.get(other) == now for other, now in found.items()):
                return summary
            self._guesses.update(found)
            for other in found:
                del self._summaries[other]
            del self._order[before:]
        summary = self._walked(name)
        flow = self._script.flows[name]
        circle = Outcome(
            intent=ANYTHING,
            effect=Effect.UNCLEAR,
            conditions=(),
            flow=flow,
            line=flow.source.line,
            what="a circle of flows that call each other",
        )
        summary.outcomes[circle] = None
        return summary

    def fills(self, flow: Flow, variable: str) -> bool:
        """Whether NeMo, a caller, or some flow of the script fills *variable*."""
        if self._filled is None:
            self._filled = {
                name for other in self._script.flows.values() for name in origins_of(other).by_variable
            }
        return variable in EXPLAINED or variable in flow.parameters or variable in self._filled

    def _walked(self, name: str) -> Summary:
        self._under_way.add(name)
        try:
            summary = FlowWalk(self, self._script, self._library, self._script.flows[name]).run()
        finally:
            self._under_way.discard(name)
        self._summaries[name] = summary
        self._order.append(name)
        return summary
