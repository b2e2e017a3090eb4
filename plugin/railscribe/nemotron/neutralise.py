"""Defuse structure that content has no business carrying.

The chat template inserts user text raw between its markers, so text can forge the end of the conversation, a
response, an answer, or a turn of the model's own. Rules:

1. A marker is broken by swapping one character for its look-alike, so a reader of the record still sees it.
2. Text without markers comes back unchanged, to the character.
3. The result holds no marker: neutralising twice is neutralising once.
4. Every kind of marker found is named, for the record.
5. A gap inside a marker is any white space, an invisible character, or U+2581, which Gemma's tokenizer cannot
   tell from a space; a line begins after any of Unicode's line separators.
6. The work grows with the text and no faster, whatever the text is.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LOOK_ALIKES = str.maketrans("<>:/#[", "\u2039\u203a\u2236\u2215\uff03\uff3b")

_INVISIBLE = "\u00ad\u180e\u200b-\u200f\u2060-\u2064\ufeff\u2581"
_SPACE = rf"[\s{_INVISIBLE}]"
_GAP = rf"[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000{_INVISIBLE}]"
_LINE = rf"(?:\A|(?<=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])){_GAP}*"
_LINE_END = r"(?=[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]|\Z)"


class _Marker(NamedTuple):
    name: str
    pattern: re.Pattern[str]


def _marker(name: str, pattern: str) -> _Marker:
    return _Marker(name, re.compile(pattern, re.IGNORECASE))


# Every pattern holds at least one character of _LOOK_ALIKES in each match: that is what breaks it (rule 3).
# None holds two runs of gaps side by side, nor a run that a match may start inside (rule 6).
_MARKERS = (
    # Tokens of Gemma's vocabulary that a tokenizer reads as structure wherever they stand.
    _marker(
        "gemma_token",
        rf"<(?:{_SPACE}*/)?{_SPACE}*(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image"
        rf"|image_soft_token|unused\d{{1,4}}){_SPACE}*>|\[multimodal\]",
    ),
    _marker("conversation_marker", rf"<{_SPACE}*(?:BEGIN|END){_SPACE}+CONVERSATION{_SPACE}*>"),
    _marker("think_tag", rf"<(?:{_SPACE}*/)?{_SPACE}*think{_SPACE}*>"),
    _marker(
        "response_marker",
        rf"{_LINE}response{_GAP}*:|response{_GAP}*:{_GAP}*agent{_GAP}*:|##{_GAP}*Answer{_GAP}*:",
    ),
    _marker("user_marker", rf"{_LINE}user{_GAP}*:"),
    _marker("answer_line", rf"(?:(?:User|Response){_GAP}+Safety|Safety{_GAP}+Categories){_GAP}*:"),
    _marker("output_marker", rf"{_LINE}Output{_GAP}*:{_GAP}*{_LINE_END}"),
    _marker("tail_flag", r"(?<![\w/.])/(?:no_)?(?:think|categories)\b"),
)


class Neutralised(NamedTuple):
    """Text that forges nothing, and the names of what was defused in it."""

    text: str
    markers: tuple[str, ...]


def neutralise(text: str) -> Neutralised:
    """Return *text* with every structure marker broken (rules 1 to 4)."""
    found = []
    for marker in _MARKERS:
        text, count = marker.pattern.subn(lambda match: match.group().translate(_LOOK_ALIKES), text)
        if count:
            found.append(marker.name)
    return Neutralised(text, tuple(found))
