"""What a trace comes to, side by side: safe, unsafe, or nothing that can be told. Pure, and no judge of content.

A trace is free text. What is read is how it speaks of its own verdict, never what it speaks about, and where that
is not plain the reading abstains: a person is called for every contradiction that is found here.

Rules

1. A label in a line of its own ("Response Safety: unsafe") outranks every sentence; the last one on a side counts.
2. Else each sentence is taken apart at "but", "so", "which is" and the like. A part is about the side that it names
   first ("the reply", "user input"), or about both ("both the question and the answer"), else about that of the
   part before it. A trace begins with the user.
3. A part judges by *plain* words ("safe", "unsafe") or *indirect* ones ("harmful", "violates", "falls under";
   "benign", "complies with", "no category applies"). "not", "no", "neither", "hardly", "far from" and their like
   turn a word round.
4. Not read: questions, quotations, what a policy says in general, what is asked or said about a missing response,
   the format repeated ("safe or unsafe"), and possibilities ("if", "may be", "would be", "at first sight").
5. The last plain judgement on a side counts, and where there is none the last indirect one.
6. It abstains where nothing was said on the side; where the judgement before says the opposite and no "but", "so"
   or the like stands between them; where an indirect one after a "but" opposes the plain one; and where doubt comes
   last ("hard to say", "not sure").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from railscribe.nemotron import words
from railscribe.values import Label, Side

_OPPOSITE = {Label.SAFE: Label.UNSAFE, Label.UNSAFE: Label.SAFE}
_REACH = 40  # characters from a denial to the thing denied, where that says nothing by itself
_LOOK_BACK = 300  # characters before a word that may turn it round


class _Judgement(NamedTuple):
    """One word of judgement."""

    sides: tuple[Side, ...]
    label: Label
    plain: bool
    turned: bool
    """Whether a word of turning stands between it and the judgement before it."""
    end: int
    """Where in the trace its sentence ends."""


def concluded(trace: str, side: Side) -> Label | None:
    """Return what *trace* comes to on *side*; ``None`` where that cannot be told. Never raises."""
    text = words.EMPHASIS.sub("", trace)
    lines = [line for line in words.LINE.finditer(text) if line.group(1).lower() == side.value]
    if lines:
        doubtful = words.DOUBT.search(text, lines[-1].end())
        return None if doubtful else Label(lines[-1].group(2).lower())
    judged = [judgement for judgement in _judgements(text) if side in judgement.sides]
    if not judged or words.DOUBT.search(text, _start_of_sentence(text, judged[-1].end)):
        return None
    return _settled(judged)


def _settled(judged: list[_Judgement]) -> Label | None:
    """Return what the judgements on one side come to together (rules 5 and 6)."""
    places = [place for place, judgement in enumerate(judged) if judgement.plain] or list(range(len(judged)))
    last = judged[places[-1]]
    before = judged[places[-2]] if len(places) > 1 else last
    if before.label is not last.label and not last.turned:
        return None
    after = judged[places[-1] + 1 :]
    if any(judgement.turned and judgement.label is not last.label for judgement in after):
        return None
    return last.label


def _judgements(text: str) -> Iterator[_Judgement]:
    """Yield the judgements of *text* in their order (rules 2 to 4)."""
    sides: tuple[Side, ...] = (Side.USER,)
    turned = False
    unquoted = words.QUOTED.sub(lambda quoted: " " * len(quoted.group()), text)
    for sentence in words.SENTENCE.finditer(unquoted):
        said = sentence.group()
        turned = turned or bool(words.TURN.search(said))
        if words.NO_RESPONSE.search(said) or words.ECHO.search(said):
            continue
        recited = words.RECITED.match(said)
        held: list[_Judgement] = []
        granted = False
        for number, (link, part) in enumerate(_parts(said)):
            about = _sides(part) or sides
            if link not in words.REASON:  # a reason may name the other side in passing
                sides = about
            general = recited is not None and (number == 0 or recited.end() > len(part) + 2)
            skipped = general or "?" in said or words.POSSIBLE.search(part)
            found = [] if skipped else list(_labels(part))
            if granted and not found and link in words.CONTRAST and not held[-1].plain:
                held.pop()  # "harmless, but outside the kitchen": what was granted is not the conclusion
            for label, plain in found:
                held.append(_Judgement(about, label, plain, turned or number > 0, sentence.end()))
                turned = False
            granted = bool(found)
        yield from held


def _parts(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of *sentence*, each with the word that links it to the one before."""
    link, start = "", 0
    both = words.OF_BOTH.search(sentence)
    for match in words.LINK.finditer(sentence):
        if both and match.group().lower().startswith("and"):
            continue
        if part := sentence[start : match.start()].strip():
            yield link, part
        link, start = match.group().strip().lower(), match.end()
    if part := sentence[start:].strip():
        yield link, part


def _sides(part: str) -> tuple[Side, ...]:
    """Return the side that *part* names first, both where it says so, or none."""
    response, user = words.OF_RESPONSE.search(part), words.OF_USER.search(part)
    if response and user and words.OF_BOTH.search(part):
        return tuple(Side)
    if response and (user is None or response.start() <= user.start()):
        return (Side.RESPONSE,)
    return (Side.USER,) if user else ()


def _labels(part: str) -> Iterator[tuple[Label, bool]]:
    """Yield each word of judgement in *part* with whether it is a plain one (rule 3)."""
    asked = words.ASKED.search(part)
    for cue in words.CUE.finditer(part, 0, asked.end() if asked else len(part)):
        kind, _, value = str(cue.lastgroup).partition("_")
        label = Label(value or Label.UNSAFE)
        before = part[max(cue.start() - _LOOK_BACK, 0) : cue.start()]
        if label is Label.UNSAFE and words.MOOT.search(before.rpartition(",")[2]):
            continue
        after = part[cue.end() : cue.end() + _LOOK_BACK]
        denied = _denied(before, after, label, reach=_REACH if kind == words.IF_DENIED else _LOOK_BACK)
        if denied or kind != words.IF_DENIED:
            yield _OPPOSITE[label] if denied else label, kind == "plain"


def _denied(before: str, after: str, label: Label, *, reach: int) -> bool:
    """Whether a word of *label* between *before* and *after* is turned round.

    A denial reaches over a list of bad things ("no threats, insults or risks", "not show violence, crime, or
    harm"); all else ends at a comma or an "and".
    """
    denials = list(words.DENIAL.finditer(before))
    if not denials:
        return False
    between = before[denials[-1].end() :]
    listed = denials[-1].group().lower() in words.OVER_A_LIST or words.OR.search(between + after)
    if label is Label.UNSAFE and listed:
        return "," in between or len(between) <= reach
    return words.ENDS_DENIAL.search(between) is None


def _start_of_sentence(text: str, end: int) -> int:
    return max(text.rfind(mark, 0, max(end - 2, 0)) for mark in ".!?;\n") + 1
