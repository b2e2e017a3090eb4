"""What comes out of the model: one grammar, and a named cause for whatever is not in it.

::

    reply    = [ "<think>" trace "</think>" ] verdict
    verdict  = "User Safety: " label
               [ NL "Response Safety: " label ]         only when a response was sent
               [ NL "Safety Categories: " name *( "," name ) ]
    label    = "safe" / "unsafe"

Rules

1. The trace is taken off first. An unclosed or nested ``<think>``, or one that does not come first, makes the
   whole reply unreadable.
2. A reply that did not end by itself (``finish_reason`` other than "stop") is unreadable, whatever it says,
   and that is its cause. An engine that cannot tell says ``None``: a verdict cut short is no verdict anyway.
3. Outside the trace every line is one of the three fields, each at most once, in that order, in its own line.
   Anything else, a format line echoed back included, makes the whole reply unreadable.
4. A label is exactly "safe" or "unsafe".
5. A side that was sent must be answered; an answer for the response never falls back to the user's.
6. A ``Response Safety`` that nobody asked for is ignored with a note when it says safe, and makes the reply
   unreadable when it says unsafe.
7. Categories beside two safe labels contradict them: unreadable.
8. Names are matched to the policy's by the rules of :mod:`railscribe.nemotron.names`. A category that the
   policy does not know is kept in the model's words and marked unknown; it is never dropped, so an unsafe
   verdict cannot lose its reason.
9. The trace decides nothing: the model's verdict may contradict it. Where the trace plainly comes to another
   label (``railscribe.nemotron.conclusion``), a note says so.

Unreadable is never safe: both sides carry the cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from railscribe.nemotron.conclusion import concluded
from railscribe.nemotron.names import each_once, match_name
from railscribe.values import CategoryScores, Cause, Label, Side, SideVerdict, Verdict

_OPEN, _CLOSE = "<think>", "</think>"
_FIELD = re.compile(r"(User Safety|Response Safety|Safety Categories):(.*)", re.DOTALL)
_STATED = re.compile(r"(User Safety|Response Safety|Safety Categories)\s*:", re.IGNORECASE)
_ECHO = re.compile(r"^\s*(?:safe or unsafe\b|a comma-separated list\b)", re.IGNORECASE)
_CUT_SHORT: dict[str | None, Cause | None] = {None: None, "stop": None, "length": Cause.TRUNCATED}
_ORDER = ("User Safety", "Response Safety", "Safety Categories")


class _NotAVerdictError(Exception):
    """Carries the cause out of the grammar; never leaves this module."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause)
        self.cause = cause


class _Answer(NamedTuple):
    """What stands in the lines of a verdict."""

    user: Label
    response: Label | None
    names: tuple[str, ...]
    notes: tuple[str, ...]


def parse_reply(
    text: str,
    *,
    response_sent: bool,
    finish_reason: str | None = "stop",
    category_names: Sequence[str] = (),
    scores: Mapping[Side, float] | None = None,
    category_scores: CategoryScores | None = None,
) -> Verdict:
    """Read *text*, the model's whole reply, as a verdict; unreadable with its cause where it is none.

    *category_names* are the names of the policy it was asked about, *scores* the engine's probabilities of
    unsafe, *category_scores* those it gave each of the names. Never raises.
    """
    trace, body, broken = _split_trace(text)
    # Rule 2: a trace cut short is a truncated reply first and an unclosed tag second.
    cut_short = _CUT_SHORT.get(finish_reason, Cause.FINISH_REASON)
    answer = cut_short or broken or _answer(body, response_sent=response_sent)
    if isinstance(answer, Cause):
        return unreadable(answer, response_sent=response_sent, reply=text, trace=trace)
    categories = [match_name(name, category_names) for name in answer.names]
    notes = list(answer.notes)
    if any(not category.known for category in categories):
        notes.append("unknown_category")
    if any(category.near for category in categories):
        notes.append("near_category")
    if _contradicts(trace, answer):
        notes.append("trace_contradicts")
    scores = scores or {}
    response = None
    if answer.response is not None:
        response = SideVerdict(label=answer.response, score=scores.get(Side.RESPONSE))
    return Verdict(
        user=SideVerdict(label=answer.user, score=scores.get(Side.USER)),
        response=response,
        categories=each_once(categories),
        trace=trace,
        reply=text,
        notes=tuple(notes),
        category_scores=category_scores or {},
    )


def unreadable(
    cause: Cause, *, response_sent: bool, reply: str | None = None, trace: str | None = None
) -> Verdict:
    """Return the verdict of a model that said nothing usable, on every side that was sent."""
    side = SideVerdict(label=Label.UNREADABLE, cause=cause)
    return Verdict(user=side, response=side if response_sent else None, trace=trace, reply=reply)


def _split_trace(text: str) -> tuple[str | None, str, Cause | None]:
    """Return the trace, what comes after it, and what is wrong with the tags (rule 1)."""
    body = text.strip()
    if not body:
        return None, body, Cause.EMPTY_REPLY
    trace: str | None = None
    if body.startswith(_OPEN):
        inside, closed, body = body[len(_OPEN) :].partition(_CLOSE)
        trace = inside.strip()
        if not closed or _OPEN in trace:
            return trace, body, Cause.UNCLOSED_THINK
    if _CLOSE in body:
        return trace, body, Cause.STRAY_TEXT
    return trace, body, Cause.UNCLOSED_THINK if _OPEN in body else None


def _answer(body: str, *, response_sent: bool) -> _Answer | Cause:
    """Return what the lines of *body* answer, or why they do not (rules 3 to 7)."""
    try:
        fields = _fields(body)
        user = _label(fields, "User Safety")
        # Rule 6: asked for or not, what stands there must be a label.
        named = response_sent or "Response Safety" in fields
        response = _label(fields, "Response Safety") if named else None
    except _NotAVerdictError as problem:
        return problem.cause
    notes = []
    if response is not None and not response_sent:
        if response is Label.UNSAFE:
            return Cause.UNINVITED_UNSAFE
        notes.append("uninvited_response")
        response = None
    names = [name for said in fields.get("Safety Categories", "").split(",") if (name := said.strip(" \t"))]
    if "Safety Categories" in fields:
        if Label.UNSAFE not in (user, response):
            return Cause.CATEGORIES_WITHOUT_UNSAFE
        if not names:
            notes.append("empty_categories")
    return _Answer(user, response, tuple(names), tuple(notes))


def _fields(body: str) -> dict[str, str]:
    """Return the fields of *body* by name (rule 3)."""
    fields: dict[str, str] = {}
    for line in filter(None, (line.strip(" \t\r") for line in body.split("\n"))):
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _NotAVerdictError(Cause.STRAY_TEXT)
        name, value = match.groups()
        if _ECHO.match(value):
            raise _NotAVerdictError(Cause.ECHOED_FORMAT)
        # The same-line form ("User Safety: safe User Safety: unsafe") is the bypass of Guardrails #2370.
        again = _STATED.search(value)
        if name in fields or (again and again.group(1).title() in (name, *fields)):
            raise _NotAVerdictError(Cause.DUPLICATE_FIELD)
        if again:
            raise _NotAVerdictError(Cause.STRAY_TEXT)
        if fields and _ORDER.index(name) < _ORDER.index(next(reversed(fields))):
            raise _NotAVerdictError(Cause.OUT_OF_ORDER)
        fields[name] = value.strip(" \t")
    return fields


def _label(fields: Mapping[str, str], name: str) -> Label:
    """Return a side's label (rules 4 and 5)."""
    if name not in fields:
        raise _NotAVerdictError(Cause.MISSING_SIDE)
    if fields[name] not in (Label.SAFE.value, Label.UNSAFE.value):
        raise _NotAVerdictError(Cause.UNKNOWN_LABEL)
    return Label(fields[name])


def _contradicts(trace: str | None, answer: _Answer) -> bool:
    """Whether *trace* came to another label than the verdict on a side that was sent (rule 9)."""
    answered = {Side.USER: answer.user, Side.RESPONSE: answer.response}
    return any(
        label is not None and concluded(trace or "", side) not in (None, label)
        for side, label in answered.items()
    )
