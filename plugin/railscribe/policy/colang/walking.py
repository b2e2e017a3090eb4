"""One walk over the steps of one flow (the rules are those of :mod:`railscribe.policy.colang.reach`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from railscribe.policy.colang.origins import origins_of
from railscribe.policy.colang.outcomes import CALLER, NOBODY, Effect, Head, LibraryCall, Outcome, Summary
from railscribe.policy.colang.refusals import refuses
from railscribe.policy.colang.script import (
    ANYTHING,
    Bot,
    Call,
    Execute,
    Flow,
    Goto,
    If,
    Instruct,
    Label,
    Leave,
    Loop,
    Script,
    Step,
    Stop,
    Unknown,
    User,
    When,
)

_MOST_WAYS = 50_000


class Flows(Protocol):
    """What a walk asks of the walker of the whole script."""

    def summary(self, name: str) -> Summary:
        """Return what the flow called *name* does."""

    def fills(self, flow: Flow, variable: str) -> bool:
        """Whether NeMo, a caller, or some flow of the script fills *variable*."""


class FlowWalk:
    """One walk over one flow."""

    def __init__(self, walker: Flows, script: Script, library: frozenset[str], flow: Flow) -> None:
        self._walker = walker
        self._script = script
        self._library = library
        self._flow = flow
        self._origins = origins_of(flow)
        self._summary = Summary()
        self._left: list[Head] = []
        self._broken: list[list[Head]] = []
        self._gone_to: set[str] = set()

    def run(self) -> Summary:
        steps: Sequence[Step] = self._flow.steps
        if self._script.version == "1.0" and self._flow.active and steps and isinstance(steps[0], Bot):
            steps = steps[1:]  # such a flow starts when the bot has said this
        heads = self._walk(steps, (Head(CALLER),), ())
        self._summary.heads = _unique([*heads, *self._left])
        return self._summary

    def _walk(
        self, steps: Sequence[Step], heads: tuple[Head, ...], above: tuple[str, ...]
    ) -> tuple[Head, ...]:
        for step in steps:
            if not heads:
                return ()
            heads = self._step(step, heads, above)
        return heads

    def _step(self, step: Step, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        walk = _WALKS.get(type(step))
        return walk(self, step, heads, above) if walk else heads

    def _stop(self, step: Stop, heads: tuple[Head, ...], _: tuple[str, ...]) -> tuple[Head, ...]:
        self._emit(Effect.STOPPED, heads, step.line, step.word)
        return ()

    def _unknown(self, step: Unknown, heads: tuple[Head, ...], _: tuple[str, ...]) -> tuple[Head, ...]:
        self._emit(Effect.UNCLEAR, heads, step.line, step.what)
        return heads

    def _execute(self, step: Execute, heads: tuple[Head, ...], _: tuple[str, ...]) -> tuple[Head, ...]:
        if step.action in self._library:
            self._summary.library.append(LibraryCall(name=step.action, flow=self._flow, line=step.line))
        return heads

    def _instruct(self, step: Instruct, heads: tuple[Head, ...], _: tuple[str, ...]) -> tuple[Head, ...]:
        if not step.variable:
            self._emit(Effect.COMPUTED, heads, step.line, "...", (step.text,))
        return heads

    def _user(self, step: User, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        before = [head.intent for head in heads if head.intent not in (NOBODY, CALLER)]
        after = above
        if before:
            after = (
                *above,
                f"it follows {_named(before[0])}" if len(set(before)) == 1 else "it follows another message",
            )
        found: list[Head] = []
        for intent in step.intents:
            if intent in self._script.flows and intent not in self._script.intents:
                # It listens and does more than that.
                found.extend(self._called(intent, (Head(intent, after),), step.line))
            else:
                found.append(Head(intent, after))
        return _unique(found)

    def _bot(self, step: Bot, heads: tuple[Head, ...], _: tuple[str, ...]) -> tuple[Head, ...]:
        if step.variable:
            return self._computed(step, heads)
        message = self._script.messages.get(step.name) if step.name else None
        texts = step.texts or (message.texts if message else ())
        flow = f"bot {step.name}"
        if refuses(step.name, texts):
            self._emit(Effect.REFUSED, heads, step.line, step.name or texts[0], texts)
        elif flow in self._script.flows and not _only_speaks(self._script.flows[flow]):
            return self._called(flow, heads, step.line)
        else:
            self._emit(Effect.ANSWERED, heads, step.line, step.name or (texts[0] if texts else ""), texts)
        return heads

    def _computed(self, step: Bot, heads: tuple[Head, ...]) -> tuple[Head, ...]:
        texts = self._origins.texts(step.variable)
        if texts is not None:
            effect = Effect.REFUSED if refuses("", texts) else Effect.ANSWERED
            self._emit(effect, heads, step.line, f"${step.variable}", texts)
        elif self._walker.fills(self._flow, step.variable.split(".")[0]):
            self._emit(Effect.COMPUTED, heads, step.line, f"${step.variable}")
        else:
            self._emit(Effect.UNCLEAR, heads, step.line, f"bot ${step.variable}")
        return heads

    def _call(self, step: Call, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        if step.flow in self._script.intents:
            return self._user(User(intents=(step.flow,), line=step.line), heads, above)
        if not step.activates or step.flow not in self._script.flows:
            return self._called(step.flow, heads, step.line)
        # It runs beside this flow from now on, and hears what it hears by itself.
        self._summary.calls.add(step.flow)
        for outcome in self._walker.summary(step.flow).outcomes:
            if outcome.intent == CALLER:
                self._keep(replace(outcome, intent=NOBODY))
        return heads

    def _called(self, name: str, heads: tuple[Head, ...], line: int | None) -> tuple[Head, ...]:
        if name not in self._script.flows:
            if name in self._library:
                self._summary.library.append(LibraryCall(name=name, flow=self._flow, line=line))
            else:
                self._emit(Effect.UNCLEAR, heads, line, f"the flow {name!r}, which is not defined")
            return heads
        self._summary.calls.add(name)
        called = self._walker.summary(name)
        for outcome in called.outcomes:
            for head in heads if outcome.intent == CALLER else ():
                conditions = _joined(head.conditions, outcome.conditions)
                self._keep(replace(outcome, intent=head.intent, conditions=conditions))
        found: list[Head] = []
        for end in called.heads:
            if end.intent == CALLER:
                found.extend(Head(head.intent, _joined(head.conditions, end.conditions)) for head in heads)
            else:
                found.append(end)
        return _unique(found)

    def _if(self, step: If, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        yes, no = step.condition, _negated(step.condition)
        then = self._walk(step.then, _under(heads, yes), _joined(above, (yes,)))
        other = self._walk(step.otherwise, _under(heads, no), _joined(above, (no,)))
        rejoined = set(then), set(other)
        found: list[Head] = []
        dropped: set[Head] = set()
        for head in heads:
            one, two = _under((head,), yes)[0], _under((head,), no)[0]
            if one in rejoined[0] and two in rejoined[1]:
                found.append(head)
                dropped.update((one, two))
        return _unique([*found, *(head for head in (*then, *other) if head not in dropped)])

    def _when(self, step: When, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        found: list[Head] = []
        for way in step.ways:
            found.extend(self._walk(way, heads, above))
        found.extend(self._walk(step.otherwise, heads, above))
        return _unique(found)

    def _loop(self, step: Loop, heads: tuple[Head, ...], above: tuple[str, ...]) -> tuple[Head, ...]:
        self._broken.append([])
        once = self._walk(step.body, heads, above)
        fresh = tuple(head for head in once if head not in heads)
        again = self._walk(step.body, fresh, above) if fresh else ()
        skipped = () if step.condition.strip() in ("True", "true", "1") else heads
        return _unique([*skipped, *once, *again, *self._broken.pop()])

    def _jump(
        self, step: Leave | Goto | Label, heads: tuple[Head, ...], above: tuple[str, ...]
    ) -> tuple[Head, ...]:
        if isinstance(step, Label):
            return heads
        if isinstance(step, Leave):
            (self._broken[-1] if step.loop and self._broken else self._left).extend(heads)
            return ()
        steps = self._flow.steps
        places = [
            number
            for number, other in enumerate(steps)
            if isinstance(other, Label) and other.name == step.label
        ]
        if not places:
            self._emit(Effect.UNCLEAR, heads, step.line, f"goto {step.label}")
        elif step.label not in self._gone_to:
            self._gone_to.add(step.label)
            self._left.extend(self._walk(steps[places[0] + 1 :], heads, above))
            self._gone_to.discard(step.label)
        return ()

    def _emit(
        self,
        effect: Effect,
        heads: tuple[Head, ...],
        line: int | None,
        what: str,
        texts: tuple[str, ...] = (),
    ) -> None:
        for head in heads:
            self._keep(
                Outcome(
                    intent=head.intent,
                    effect=effect,
                    conditions=head.conditions,
                    flow=self._flow,
                    line=line,
                    what=what,
                    texts=texts,
                )
            )

    def _keep(self, outcome: Outcome) -> None:
        if len(self._summary.outcomes) < _MOST_WAYS:
            self._summary.outcomes[outcome] = None
        else:
            last = next(reversed(self._summary.outcomes))
            clouded = replace(
                last, intent=ANYTHING, effect=Effect.UNCLEAR, what="a flow with too many ways", texts=()
            )
            self._summary.outcomes[clouded] = None


_WALKS: dict[type, Callable[[FlowWalk, Any, tuple[Head, ...], tuple[str, ...]], tuple[Head, ...]]] = {
    User: FlowWalk._user,
    Bot: FlowWalk._bot,
    Stop: FlowWalk._stop,
    Call: FlowWalk._call,
    If: FlowWalk._if,
    When: FlowWalk._when,
    Loop: FlowWalk._loop,
    Leave: FlowWalk._jump,
    Goto: FlowWalk._jump,
    Label: FlowWalk._jump,
    Unknown: FlowWalk._unknown,
    Execute: FlowWalk._execute,
    Instruct: FlowWalk._instruct,
}


def _only_speaks(flow: Flow) -> bool:
    return all(isinstance(step, Bot) and not step.variable for step in flow.steps)


def _named(intent: str) -> str:
    return "any message" if intent == ANYTHING else intent if intent.startswith('"') else f"{intent!r}"


def _negated(condition: str) -> str:
    return (
        condition[4:] if condition.startswith("not $") and " " not in condition[4:] else f"not ({condition})"
    )


def _under(heads: tuple[Head, ...], condition: str) -> tuple[Head, ...]:
    return tuple(Head(head.intent, _joined(head.conditions, (condition,))) for head in heads)


def _joined(conditions: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return (*conditions, *(condition for condition in more if condition not in conditions))


def _unique(heads: Iterable[Head]) -> tuple[Head, ...]:
    return tuple(dict.fromkeys(heads))
