"""What comes out of the model: one grammar, and a named cause for whatever is not in it.

::

    reply    = [ "<think>" trace "</think>" ] verdict
    verdict  = "User Safety: " label
               [ NL "Response Safety: " label ]         only when a response was sent
               [ NL "Safety Categories: " name *( "," name ) ]
    label    = "safe" / "unsafe"

Rules

1. The trace is taken off first. An unclosed or nested ``<think>`` makes the whole reply unreadable.
2. A reply that did not end by itself (``finish_reason`` other than "stop") is unreadable, whatever it says.
3. Outside the trace every line is one of the three fields, each at most once, in that order, in its own line.
   Anything else, a format line echoed back included, makes the whole reply unreadable.
4. A label is exactly "safe" or "unsafe".
5. A side that was sent must be answered; an answer for the response never falls back to the user's.
6. A ``Response Safety`` that nobody asked for is ignored with a note when it says safe, and makes the reply
   unreadable when it says unsafe.
7. Categories beside two safe labels contradict them: unreadable.
8. A category that the policy does not know is kept in the model's words and marked unknown; it is never
   dropped, so an unsafe verdict cannot lose its reason.

Unreadable is never safe: both sides carry the cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from railscribe.taxonomy import BUILTIN_CATEGORIES
from railscribe.values import Category, Cause, Label, Side, SideVerdict, Verdict

_OPEN, _CLOSE = "<think>", "</think>"
_FIELD = re.compile(r"(User Safety|Response Safety|Safety Categories):(.*)", re.DOTALL)
_ANY_FIELD = re.compile(r"User Safety|Response Safety|Safety Categories", re.IGNORECASE)
_ECHO = re.compile(r"^\s*(?:safe or unsafe\b|a comma-separated list\b)", re.IGNORECASE)
_ORDER = ("User Safety", "Response Safety", "Safety Categories")


class _NotAVerdict(Exception):
    """Carries the cause out of the parser; never leaves this module."""

    def __init__(self, cause: Cause, trace: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        self.trace = trace


def parse_reply(
    text: str,
    *,
    response_sent: bool,
    finish_reason: str | None = "stop",
    category_names: Sequence[str] = (),
    scores: Mapping[Side, float] | None = None,
) -> Verdict:
    """Read *text*, the model's whole reply, as a verdict; unreadable with its cause where it is none.

    *category_names* are the names of the policy it was asked about, *scores* the engine's probabilities of
    unsafe. Never raises.
    """
    trace: str | None = None
    try:
        trace, lines = _split_trace(text)
        if finish_reason == "length":
            raise _NotAVerdict(Cause.TRUNCATED)
        if finish_reason not in (None, "stop"):
            raise _NotAVerdict(Cause.FINISH_REASON)
        fields = _fields(lines)
        return _verdict(fields, text, trace, response_sent, category_names, scores or {})
    except _NotAVerdict as problem:
        # Rule 2: a trace cut short is a truncated reply first and an unclosed tag second.
        cause = Cause.TRUNCATED if finish_reason == "length" else problem.cause
        return unreadable(cause, response_sent=response_sent, reply=text, trace=trace or problem.trace)


def unreadable(cause: Cause, *, response_sent: bool, reply: str | None = None, trace: str | None = None) -> Verdict:
    """Return the verdict of a model that said nothing usable, on every side that was sent."""
    side = SideVerdict(label=Label.UNREADABLE, cause=cause)
    return Verdict(user=side, response=side if response_sent else None, trace=trace, reply=reply)


def _split_trace(text: str) -> tuple[str | None, list[str]]:
    """Return the trace and the lines after it (rule 1)."""
    body = text.strip()
    if not body:
        raise _NotAVerdict(Cause.EMPTY_REPLY)
    trace: str | None = None
    if body.startswith(_OPEN):
        trace, closed, body = body[len(_OPEN) :].partition(_CLOSE)
        trace = trace.strip()
        if not closed or _OPEN in trace:
            raise _NotAVerdict(Cause.UNCLOSED_THINK, trace)
    if _OPEN in body:
        raise _NotAVerdict(Cause.UNCLOSED_THINK, trace)
    if _CLOSE in body:
        raise _NotAVerdict(Cause.STRAY_TEXT, trace)
    lines = [line.strip(" \t\r") for line in body.split("\n")]
    return trace, [line for line in lines if line]


def _fields(lines: Sequence[str]) -> dict[str, str]:
    """Return the fields of *lines* by name (rules 3 and 4)."""
    fields: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise _NotAVerdict(Cause.STRAY_TEXT)
        name, value = match.groups()
        if _ECHO.match(value):
            raise _NotAVerdict(Cause.ECHOED_FORMAT)
        # The same-line form ("User Safety: safe User Safety: unsafe") is the bypass of Guardrails #2370.
        if name in fields or _ANY_FIELD.search(value):
            raise _NotAVerdict(Cause.DUPLICATE_FIELD)
        if fields and _ORDER.index(name) < _ORDER.index(next(reversed(fields))):
            raise _NotAVerdict(Cause.OUT_OF_ORDER)
        fields[name] = value.strip(" \t")
    return fields


def _verdict(
    fields: Mapping[str, str],
    text: str,
    trace: str | None,
    response_sent: bool,
    category_names: Sequence[str],
    scores: Mapping[Side, float],
) -> Verdict:
    user = _label(fields, "User Safety")
    notes: list[str] = []
    response: Label | None = None
    if response_sent:
        response = _label(fields, "Response Safety")
    elif "Response Safety" in fields:
        if _label(fields, "Response Safety") is not Label.SAFE:
            raise _NotAVerdict(Cause.UNINVITED_UNSAFE)
        notes.append("uninvited_response")
    said = [name.strip() for name in fields.get("Safety Categories", "").split(",")]
    categories = [_category(name, category_names) for name in said if name]
    if "Safety Categories" in fields and Label.UNSAFE not in (user, response):
        raise _NotAVerdict(Cause.CATEGORIES_WITHOUT_UNSAFE)
    if "Safety Categories" in fields and not categories:
        notes.append("empty_categories")
    if any(not category.known for category in categories):
        notes.append("unknown_category")
    return Verdict(
        user=SideVerdict(label=user, score=scores.get(Side.USER)),
        response=None if response is None else SideVerdict(label=response, score=scores.get(Side.RESPONSE)),
        categories=tuple({category.name: category for category in categories}.values()),
        trace=trace,
        reply=text,
        notes=tuple(notes),
    )


def _label(fields: Mapping[str, str], name: str) -> Label:
    """Return a side's label (rules 4 and 5)."""
    if name not in fields:
        raise _NotAVerdict(Cause.MISSING_SIDE)
    try:
        label = Label(fields[name])
    except ValueError:
        raise _NotAVerdict(Cause.UNKNOWN_LABEL) from None
    if label is Label.UNREADABLE:
        raise _NotAVerdict(Cause.UNKNOWN_LABEL)
    return label


def _category(said: str, names: Sequence[str]) -> Category:
    """Match what the model wrote to the policy's names (rule 8).

    The model shortens and re-cases names ("Criminal planning"), so after the exact name come the same name in
    another case and the only name that begins so. A built-in name stands for itself alone: "Sexual" under a
    policy without it is not a short form of "Sexual (minor)".
    """
    if said in names:
        return Category(name=said, said=said, known=True)
    if said in BUILTIN_CATEGORIES:
        return Category(name=said, said=said, known=False)
    folded = said.casefold()
    same = [name for name in names if name.casefold() == folded]
    begins = [name for name in names if re.match(re.escape(folded) + r"\b", name.casefold())]
    for candidates in (same, begins):
        if len(candidates) == 1:
            return Category(name=candidates[0], said=said, known=True)
    return Category(name=said, said=said, known=False)
