"""What one clause looks like, for the lint: numbers, examples, sentences, exceptions, negations.

Rules

1. A question is answered with yes where a compliance officer would agree. What only looks like it is let be:
   "S3 buckets", "U.S. tax", "including but not limited to".
2. Each pattern is searched for once; none of them looks at other clauses.
"""

from __future__ import annotations

import re
from itertools import pairwise

from railscribe.taxonomy import BUILTIN_CATEGORIES, MLCOMMONS_HAZARDS

_COMMON = {"Child", "High", "Needs", "Non", "Other"}
_FIRST_WORDS = {re.split(r"\W", name)[0] for name in (*BUILTIN_CATEGORIES, *MLCOMMONS_HAZARDS, "Weapons")}
_KNOWN = "|".join(sorted(_FIRST_WORDS - _COMMON))
_NUMBER = re.compile(
    r"^S\s?\d{1,2}(?=\s*$|\s*[:.)](?:\s|$)|\s+[-\N{EN DASH}]\s)"
    rf"|\bS\s?\d{{1,2}}(?=\s*[:.)\-\N{{EN DASH}}]?\s*(?i:{_KNOWN})\b)"
    r"|(?<=\()S\d{1,2}(?=\)$)"
)

_OPEN, _CLOSE = '"\N{LEFT DOUBLE QUOTATION MARK}', '"\N{RIGHT DOUBLE QUOTATION MARK}'
_EXAMPLE = re.compile(
    r"\b(?:such as|for example|for instance|e\.\s?g\.|like\s+['" + _OPEN + "])", re.IGNORECASE
)
_QUOTED = re.compile(rf"(?<!\w)[{_OPEN}]([^{_OPEN}{_CLOSE}]{{3,}})[{_CLOSE}]")

_END = re.compile(r"(\w+)([.!?]+)[\"')\]]*\s+(?=\S)")
_ABBREVIATIONS = frozenset(
    (  # noqa: SIM905 - a list of them takes a page
        "abs approx art bzw ca cf co corp dept dr etc fig ft gov inc incl jr ltd max min mr mrs ms no nos nr nos op "
        "para pp prof sec sen sr st str tel vol vs yahoo jeopardy"
    ).split()
)

_EXCEPTION = re.compile(
    r"\bunless\b|\bapart from\b|(?<!try/)\bexcept(?:ing| for)?\b(?! ?(?:block|clause|handler|statement)s?\b)"
    r"|\bbut not\b(?! (?:limited|restricted|only)\b)|[,(;] ?excluding\b"
    r"|(?<!body )(?<!one )(?<!thing )(?<!people )(?<!person )(?<!persons )(?<!language )(?<!languages )"
    r"(?<!currency )(?<!currencies )\bother than\b",
    re.IGNORECASE,
)

_NEGATION = re.compile(r"\b(?:not|never|no|don't|doesn't|isn't|without|cannot|can't)\b(?!-)", re.IGNORECASE)
_NO_NEGATION = re.compile(
    r"\bno win,? no fee\b|\bwhether or not\b|\bnot only\b|\bif not\b|\bno\. ?\d|\bno longer\b", re.IGNORECASE
)
_ANEW = re.compile(r"\b(?:or|and|nor|but)\b|[,;:]", re.IGNORECASE)


def category_number(text: str) -> str | None:
    """Return the number of a model's category that *text* gives, such as S7."""
    found = _NUMBER.search(text)
    return found[0] if found else None


def gives_examples(text: str) -> bool:
    """Whether *text* gives examples or quotes what somebody says; a name in quotation marks is neither."""
    return bool(_EXAMPLE.search(text)) or any(not _is_name(quoted) for quoted in _QUOTED.findall(text))


def _is_name(quoted: str) -> bool:
    words = quoted.split()
    return len(words) <= 4 and all(word[0].isupper() or word[0].isdigit() or word == "&" for word in words)


def has_several_sentences(text: str) -> bool:
    """Whether *text* ends a sentence and goes on; an abbreviation ends none."""
    return any(len(word) > 1 and word.casefold() not in _ABBREVIATIONS for word, _ in _END.findall(text))


def has_exception(text: str) -> bool:
    """Whether *text* takes something out of what it says."""
    return bool(_EXCEPTION.search(text))


def negates_twice(text: str) -> bool:
    """Whether *text* negates what is negated already; "not this or not that" does not."""
    plain = _NO_NEGATION.sub("", text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
    negations = list(_NEGATION.finditer(plain))
    return any(not _ANEW.search(plain, one.end(), other.start()) for one, other in pairwise(negations))
