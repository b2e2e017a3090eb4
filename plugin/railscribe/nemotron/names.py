"""Which of the policy's categories the model means by what it wrote.

Rules, the first that finds exactly one name wins

1. The name itself; then the same in another letter case.
2. Whatever speaks of sexual content with minors is ``Sexual (minor)``.
3. The same words: without a number before them ("S7: ", "3. "), signs and white space alike, "and" and "or"
   left out, plurals as singulars. "PII & privacy" is "PII/Privacy".
4. The only name that begins with these words: "Criminal planning". A whole name stands for itself alone, so
   "sexual" is never short for "Sexual (minor)".
5. The only name that is nearly so written: at least ``NEAR`` alike, and no other within ``APART`` of it.

A match by rule 4 or 5 is marked as near, and no verdict passes on its account (``railscribe.policy.decide``).

Where the model names a category several times, in one reply or over several calls, one near match makes it near: in
whatever order they came, the stricter reading counts.

The names are the policy's and, so that a category it left out is not taken for a like one, the built-in ones.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor
from railscribe.values import Category

NEAR = 0.87
APART = 0.05
_SHORTEST = 5
"""Letters of a name that may be misspelt."""
_LONGEST = 200
_NUMBER = re.compile(r"^(?:s\d{1,3}\b[\s.:)\-]*|\d{1,3}[.:)]\s*)", re.IGNORECASE)
_SILENT = {"and", "or"}


def match_name(said: str, names: Sequence[str]) -> Category:
    """Return *said* as the category of *names*, or else the built-in one, that is meant, or as unknown."""
    known = _known(tuple(names))
    name = _same(said, known) or (SEXUAL_MINOR if names_sexual_minor(said) else None)
    name = name or _worded(said, known)
    near = None if name else _begun(said, known) or _near(said, known)
    found = name or near or said
    return Category(name=found, said=said, known=found in names, near=near is not None)


def each_once(categories: Iterable[Category]) -> tuple[Category, ...]:
    """Return each of *categories* once, in the order of their first; it is near where it ever was."""
    by_name: dict[str, Category] = {}
    for category in categories:
        kept = by_name.setdefault(category.name, category)
        if category.near and not kept.near:
            by_name[category.name] = category
    return tuple(by_name.values())


@lru_cache(maxsize=64)
def _known(names: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return *names* and the built-in ones with their words."""
    return {name: _words(name) for name in dict.fromkeys((*names, *BUILTIN_CATEGORIES))}


def _same(said: str, known: dict[str, tuple[str, ...]]) -> str | None:
    folded = said.casefold()
    return said if said in known else _only([name for name in known if name.casefold() == folded], first=True)


def _worded(said: str, known: dict[str, tuple[str, ...]]) -> str | None:
    """Return the name with the same words (rule 3)."""
    words = _words(said)
    return _only([name for name, its in known.items() if words and its == words])


def _begun(said: str, known: dict[str, tuple[str, ...]]) -> str | None:
    """Return the only name that begins with the same words (rule 4)."""
    words = _words(said)
    if not words or any(its == words for its in known.values()):
        return None
    return _only([name for name, its in known.items() if its[: len(words)] == words])


def _near(said: str, known: dict[str, tuple[str, ...]]) -> str | None:
    """Return the only name that is nearly *said* (rule 5)."""
    text = " ".join(_words(said))
    if not _SHORTEST <= len(text) <= _LONGEST:
        return None
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2(text)
    ratios: dict[str, float] = {}
    for name, words in known.items():
        matcher.set_seq1(" ".join(words))
        if matcher.real_quick_ratio() >= NEAR - APART and matcher.quick_ratio() >= NEAR - APART:
            ratios[name] = matcher.ratio()
    best = max(ratios, key=ratios.__getitem__, default=None)
    if best is None or ratios[best] < NEAR:
        return None
    return _only([name for name, ratio in ratios.items() if ratio > ratios[best] - APART])


def _only(found: Sequence[str], *, first: bool = False) -> str | None:
    return found[0] if len(found) == 1 or (first and found) else None


def _words(name: str) -> tuple[str, ...]:
    """Return the words of *name* (rule 3)."""
    plain = _NUMBER.sub("", unicodedata.normalize("NFKC", name[: 2 * _LONGEST]).casefold().strip())
    letters = "".join(char if _is_letter(char) else " " for char in plain)
    return tuple(_singular(word) for word in letters.split() if word not in _SILENT)


def _is_letter(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return (
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
    )
