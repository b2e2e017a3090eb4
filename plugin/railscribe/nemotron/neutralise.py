"""Defuse structure that content has no business carrying.

The chat template inserts user text raw between its markers, so text can forge the end of the conversation, a
response, an answer, or a turn of the model's own. Rules:

1. A marker is broken by swapping one character for its look-alike, so a reader of the record still sees it.
2. Text without markers comes back unchanged, to the character.
3. The result holds no marker: neutralising twice is neutralising once.
4. Every kind of marker found is named, for the record.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", ":": "∶", "/": "∕", "#": "＃", "[": "［"})


class _Marker(NamedTuple):
    name: str
    pattern: re.Pattern[str]


# Every pattern holds at least one character of _LOOK_ALIKES in each match: that is what breaks it.
_MARKERS = (
    # Tokens of Gemma's vocabulary that a tokenizer reads as structure wherever they stand.
    _Marker(
        "gemma_token",
        re.compile(
            r"<\s*/?\s*(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn|start_of_image|end_of_image"
            r"|image_soft_token|unused\d{1,4})\s*>|\[multimodal\]",
            re.IGNORECASE,
        ),
    ),
    _Marker("conversation_marker", re.compile(r"<\s*(?:BEGIN|END)\s+CONVERSATION\s*>", re.IGNORECASE)),
    _Marker("think_tag", re.compile(r"<\s*/?\s*think\s*>", re.IGNORECASE)),
    _Marker("response_marker", re.compile(r"(?:^[ \t]*response[ \t]*:)|(?:#{2,}[ \t]*Answer[ \t]*:)", re.IGNORECASE | re.MULTILINE)),
    _Marker("user_marker", re.compile(r"^[ \t]*user[ \t]*:", re.IGNORECASE | re.MULTILINE)),
    _Marker(
        "answer_line",
        re.compile(r"(?:(?:User|Response)[ \t]+Safety|Safety[ \t]+Categories)[ \t]*:", re.IGNORECASE),
    ),
    _Marker("output_marker", re.compile(r"^[ \t]*Output[ \t]*:[ \t]*$", re.IGNORECASE | re.MULTILINE)),
    _Marker("tail_flag", re.compile(r"(?<![\w/.])/(?:no_)?(?:think|categories)\b", re.IGNORECASE)),
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
