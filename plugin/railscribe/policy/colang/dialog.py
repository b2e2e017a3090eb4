"""From what becomes of each user message to clauses.

Rules

1. A message that is refused or stopped anywhere is a disallowed behaviour. Conditions stand in its source and in a
   warning: a model knows no ``$is_employee``.
2. A message that is answered in words that are known, and nowhere refused, is an allowed behaviour.
3. What was not understood on a message's way, and a refusal that no message leads to, are errors.
4. Where any message is refused, all that is not allowed is disallowed.
"""

from __future__ import annotations

from collections.abc import Mapping

from railscribe.policy.colang.origins import steps_within
from railscribe.policy.colang.outcomes import NOBODY, Effect, Outcome, Reached
from railscribe.policy.colang.refusals import refuses
from railscribe.policy.colang.script import ANYTHING, Bot, Intent, Script, Stop, User
from railscribe.policy.colang.wording import intent_clause, says_nothing
from railscribe.policy.diagnostics import Severity, Source
from railscribe.policy.draft import Draft

ALL_ELSE = "Anything that none of the allowed behaviors covers"
_BAD = (Effect.REFUSED, Effect.STOPPED)


def add_dialog(draft: Draft, script: Script, reached: Reached) -> None:
    """Add the clauses that *reached* gives to *draft*."""
    owners = {text: name for name, known in reversed(script.intents.items()) for text in known.examples}
    by_intent: dict[str, list[Outcome]] = {}
    for outcome in reached.outcomes:
        by_intent.setdefault(_defined(script, owners, outcome.intent), []).append(outcome)
    _add_unclear(draft, reached)
    for outcome in by_intent.pop(NOBODY, []):
        if outcome.effect in _BAD:
            _say_unled(draft, outcome)
    everything = by_intent.pop(ANYTHING, [])
    for name in [*script.intents, *(name for name in by_intent if name not in script.intents)]:
        if name in by_intent:
            _add_intent(draft, script, name, by_intent[name])
    _add_everything(draft, everything)
    _say_unused(draft, script, by_intent)
    _say_asleep(draft, script, reached)


def _defined(script: Script, owners: Mapping[str, str], intent: str) -> str:
    """Return the intent that *intent*, which may be an example in quotes, belongs to."""
    if intent in script.wildcards:
        return ANYTHING
    if not intent.startswith('"') or script.version == "2.x":
        return intent
    return owners.get(intent[1:-1], intent)


def _add_unclear(draft: Draft, reached: Reached) -> None:
    places = {(o.flow.source.file, o.line, o.what): o for o in reached.outcomes if o.effect is Effect.UNCLEAR}
    for outcome in places.values():
        draft.say(
            "C110",
            Severity.ERROR,
            f"not understood, and a refusal may hide in it: {outcome.what}",
            _at(outcome),
            "Write what it does as a flow with a named message, or allow it once you know that it refuses nothing.",
        )


def _say_unled(draft: Draft, outcome: Outcome) -> None:
    draft.say(
        "C111",
        Severity.ERROR,
        f"{_what(outcome)}, and no user message leads there",
        _at(outcome),
        "Say what it refuses as a behaviour of a policy, and allow this.",
    )


def _add_intent(draft: Draft, script: Script, name: str, outcomes: list[Outcome]) -> None:
    intent = script.intents.get(name) or _quoted(name, outcomes[0])
    bad = [outcome for outcome in outcomes if outcome.effect in _BAD]
    good = [outcome for outcome in outcomes if outcome.effect in (Effect.ANSWERED, Effect.COMPUTED)]
    text = intent_clause(intent.name if not name.startswith('"') else "", intent.examples, intent.description)
    if says_nothing(intent.name.removeprefix("user ")) and not name.startswith('"'):
        draft.say(
            "C118",
            Severity.NOTE,
            f"the name of {intent.source.construct!r} says nothing, so its examples stand in the clause",
            intent.source,
            "Name the intent after what is asked; a small model echoes examples.",
        )
    if bad:
        _refuse(draft, intent, text, bad, good)
        return
    if any(outcome.effect is Effect.ANSWERED for outcome in good):
        draft.allow(text, intent.source, intent.examples)
    for outcome in good:
        if outcome.effect is Effect.COMPUTED:
            _say_computed(draft, outcome)


def _quoted(name: str, outcome: Outcome) -> Intent:
    examples = (name[1:-1],) if name.startswith('"') else ()
    source = _at(outcome, f"user {name}" if not name.startswith("user ") else name)
    return Intent(name=name, source=source, examples=examples)


def _refuse(draft: Draft, intent: Intent, text: str, bad: list[Outcome], good: list[Outcome]) -> None:
    always = next((outcome for outcome in bad if not outcome.conditions), None)
    chosen = always or bad[0]
    construct = f"{intent.source.construct} -> {_at(chosen).place}: {_short(chosen)}"
    if not always:
        construct += f", when {' and '.join(chosen.conditions)}"
    source = Source(file=intent.source.file, line=intent.source.line, construct=construct)
    draft.disallow(text, source, intent.examples)
    draft.refused_intents += 1
    if chosen.effect is Effect.REFUSED and chosen.texts:
        draft.refusals.setdefault(chosen.what, chosen.texts[0])
    if not always:
        ways = sorted({" and ".join(outcome.conditions) for outcome in bad})
        draft.say(
            "C112",
            Severity.WARNING,
            f"{intent.name!r} is refused only when {'; or when '.join(ways)}; the policy disallows it always",
            _at(chosen),
            "A model does not know this condition: choose another policy where it does not hold.",
        )
    elif good and not all(outcome.flow is always.flow for outcome in good):
        other = next(outcome for outcome in good if outcome.flow is not always.flow)
        draft.say(
            "C117",
            Severity.WARNING,
            f"{intent.name!r} is refused here and answered in {_at(other).place}; it is kept as refused",
            _at(always),
        )


def _add_everything(draft: Draft, outcomes: list[Outcome]) -> None:
    bad = [outcome for outcome in outcomes if outcome.effect in _BAD]
    always = next((outcome for outcome in bad if not outcome.conditions), None)
    if always and any(kind == "allowed" for kind, _ in draft.clauses):
        draft.disallow(ALL_ELSE, _at(always, f"{always.flow.source.construct}: any other message"))
    elif bad:
        outcome = always or bad[0]
        when = f" when {' and '.join(outcome.conditions)}" if outcome.conditions else ""
        draft.say(
            "C119",
            Severity.ERROR,
            f"{_what(outcome)} whatever the user says{when}",
            _at(outcome),
            "Say in a policy what this refuses, and allow this.",
        )
    for outcome in outcomes:
        if outcome.effect is Effect.COMPUTED:
            _say_computed(draft, outcome)


def _say_computed(draft: Draft, outcome: Outcome) -> None:
    draft.say(
        "C113",
        Severity.WARNING,
        f"what is said here ({outcome.what}) is computed, perhaps a refusal; it allows nothing and disallows nothing",
        _at(outcome),
    )


def _say_unused(draft: Draft, script: Script, by_intent: Mapping[str, object]) -> None:
    mentioned = {
        intent
        for flow in script.flows.values()
        for step in steps_within(flow.steps)
        if isinstance(step, User)
        for intent in step.intents
    }
    for name, intent in script.intents.items():
        if name in by_intent:
            continue
        if name in mentioned:
            message, severity = (
                "what follows this intent is code alone; it is neither allowed nor disallowed",
                "C120",
            )
        else:
            message, severity = (
                "no flow says what follows this intent; it is neither allowed nor disallowed",
                "C114",
            )
        draft.say(severity, Severity.WARNING if severity == "C120" else Severity.NOTE, message, intent.source)


def _say_asleep(draft: Draft, script: Script, reached: Reached) -> None:
    for flow in reached.asleep:
        refusing = [step for step in steps_within(flow.steps) if _refusing(script, step)]
        if refusing:
            draft.say(
                "C115",
                Severity.WARNING,
                f"nothing runs {flow.source.construct!r}, so what it refuses is left out",
                Source(file=flow.source.file, line=flow.source.line),
                "Activate it if it is meant to count.",
            )


def _refusing(script: Script, step: object) -> bool:
    if isinstance(step, Bot):
        message = script.messages.get(step.name)
        return refuses(step.name, step.texts or (message.texts if message else ()))
    return isinstance(step, Stop)


def _short(outcome: Outcome) -> str:
    return outcome.what if outcome.effect is Effect.STOPPED else f"bot {outcome.what}"[:80]


def _what(outcome: Outcome) -> str:
    if outcome.effect is Effect.STOPPED:
        return f"{outcome.flow.source.construct!r} ends the turn ({outcome.what})"
    return f"{outcome.flow.source.construct!r} refuses ({outcome.what[:60]})"


def _at(outcome: Outcome, construct: str = "") -> Source:
    return Source(
        file=outcome.flow.source.file,
        line=outcome.line or outcome.flow.source.line,
        construct=construct or outcome.flow.source.construct,
    )
