"""The words that :mod:`railscribe.nemotron.conclusion` reads a trace by. Its docstring says what each list is for.

Every pattern is bounded, so that the work grows with the trace and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from railscribe.values import Label


def _any(*patterns: str) -> str:
    return "|".join(patterns)


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_any(*patterns)})\b", re.IGNORECASE)


LINE = re.compile(r"^[ \t>-]*(User|Response) Safety: *(safe|unsafe)[ \t.]*$", re.MULTILINE | re.IGNORECASE)
QUOTED = re.compile(r"\"[^\"\n]{0,1000}\"|\u201c[^\u201d\n]{0,1000}\u201d|(?<!\w)'[^'\n]{0,1000}'(?!\w)")
EMPHASIS = re.compile(r"[*`_]|^#+", re.MULTILINE)
SENTENCE = re.compile(r"[^.!?;\n]+[.!?;\n]*")

LINK = re.compile(
    _any(
        r"->|[:\u2014]",
        r"\band (?=(?:the )?(?:response|reply|answer|assistant|bot)\b)",
        r"\b(?:(?<!anything )but|yet|however|although|though|while|whereas)\b",
        r"\b(?:so|therefore|thus|hence|thereby|making it|because|since)\b",
        r"\bwhich (?=(?:is|makes|falls)\b)",
    ),
    re.IGNORECASE,
)
REASON = {"because", "since"}
CONTRAST = {"but", "yet", "however"}
TURN = _words(
    *("but", "yet", "however", "so", "therefore", "thus", "hence", "overall", "final", "finally", "decision"),
    *("verdict", "on a second look", "on balance", "again", "after all", "change my mind", "then", "anyway"),
    *("setting that aside", "taken together", "in that context", "in the end"),
)

OF_RESPONSE = _words(
    r"(?:assistant|bot|AI)(?:'s)?",
    r"(?:the|its|this|an?) (?:response|reply|answer(?! is therefore))",
    r"^\W*(?:response|reply)(?: safety)?",
    r"response (?:is|safe|unsafe|safety)",
)
OF_USER = _words(
    *("user(?:'s)?", "prompt", "request", "question", "message", "input", "customer", "text", "content")
)
OF_BOTH = _words("both")

NO_RESPONSE = _words(
    r"no (?:AI |assistant )?(?:response|reply|answer)",
    r"(?:response|reply|answer)\b.{0,40}\b(?:absent|not provided|not given|omit\w*|cannot be evaluated)",
    "omit",
)
ECHO = _words("safe or (?:an? )?unsafe", "unsafe or safe", "rating of")
RECITED = re.compile(
    _any(
        r"^\W*(?:the|this|our)? ?(?:custom )?(?:policy|clause|taxonomy|rule)\b",
        r"^\W*category \w+:.*",
        r"^\W*(?:it lists|according to)\b",
    ),
    re.IGNORECASE,
)
POSSIBLE = _words(
    *(
        "if",
        "whether",
        "could",
        "might",
        "may",
        "maybe",
        "perhaps",
        "possibly",
        "seems?",
        "sounds?",
        "appears?",
    ),
    *(
        "would be(?! considered| rated| wrong)",
        "some would",
        "one would",
        "alone",
        r"at first \w+",
        "initially",
    ),
    *("earlier", "on one hand", "on the other hand"),
)
DOUBT = _words(
    *("hard to say", "not sure", "unsure", "depends", "or is it", "more context", "nothing here decides"),
    *("ambiguous", r"(?:cannot|can't) (?:tell|decide|settle|judge)"),
)
ASKED = _words(
    r"(?:asks?|asking|asked|wonders?|wants?|seeks?|question (?:on|about|of))\b.{0,80}?"
    r"\b(?:why|how|which|when|what|where|about|for|of)"
)

DENIAL = _words(
    *("not", "no", "never", "neither", "nor", "none", "nothing", "without", "hardly", "cannot", "free of"),
    *("free from", "far from", "anything but", "wrong to", "lacks?", "absence of"),
    *("isn't", "aren't", "doesn't", "don't", "can't", "won't"),
)
OVER_A_LIST = {
    "no",
    "neither",
    "nor",
    "none",
    "nothing",
    "without",
    "free of",
    "free from",
    "lacks",
    "absence of",
}
OR = _words("or")
ENDS_DENIAL = re.compile(r",|\band\b", re.IGNORECASE)
MOOT = _words(
    *("avoid(?:s|ing)?", r"prevent\w*", "precautions?", r"protect\w*", r"warn\w*", "against"),
    r"(?:not|nor|hardly) (?:remove|change|excuse|alter|lessen|hide|justify|outweigh)\w*",
)
"""After one of these a bad word is what is to be kept away, or stays what it is."""

_PLAIN = {Label.UNSAFE: "unsafe", Label.SAFE: r"(?<!-)safe(?!-)(?! to (?!allow|show|answer|pass))"}
_INDIRECT = {
    Label.UNSAFE: _any(
        *(
            "harmful",
            "dangerous",
            "malicious",
            "unacceptable",
            "inappropriate",
            "impermissible",
            "disallowed",
        ),
        *("prohibited", "forbidden", "illegal", r"violat\w+", r"breach\w*", "breaks? the (?:policy|rules?)"),
        *("crosses the line", "out of bounds", "off limits", "constitutes?", "hateful", "defamatory"),
        r"(?<!self-)harm(?:s|ing)?(?!-)(?! nobody| no one)",
        *("be (?:flagged|blocked|refused)", "flag it", "to flag", "red flag", "an issue"),
        "falls? (?:under|within|into)(?! the (?:allowed|permitted))",
        *("matches the definition", "(?:is|are) met by", "appl(?:y|ies)(?= *$|[,.]| because)"),
        "(?:a|credible|real|clear|serious|grave|safety) (?:threat|risk|concerns?|issue|problem|violation)",
    ),
    Label.SAFE: _any(
        *("harmless", "benign", "innocuous", "innocent", "acceptable", "permissible", "permitted", "allowed"),
        *("appropriate", "legitimate", "fine", "ok", "okay", "all good", "refusal", "right thing"),
        *("compl(?:y|ies|ying) with", "aligns? with", "within bounds", "within the allowed"),
        *("can pass", "passes(?! as| for| off)", "be shown"),
    ),
}
_IF_DENIED = _any(
    *(
        "risks?",
        "concerns?",
        "issues?",
        "problems?",
        "wrong(?! to)",
        "categor(?:y|ies)",
        "threat",
        "violence",
    ),
    *("illegal", "crime"),
)
"""Words that say nothing by themselves, and "safe" where they are denied."""
IF_DENIED = "denied"


def _cues() -> Iterable[str]:
    for kind, words in (("plain", _PLAIN), ("indirect", _INDIRECT)):
        for label, pattern in words.items():
            yield f"(?P<{kind}_{label.value}>{pattern})"
    yield f"(?P<{IF_DENIED}>{_IF_DENIED})"


CUE = re.compile(rf"\b(?:{_any(*_cues())})(?!\w)", re.IGNORECASE)
"""A word of judgement; the name of its group is its kind and its label."""
