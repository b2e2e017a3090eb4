"""How alike two wordings are, for the lint: words, their stems, and near-duplicates among many.

Plain on purpose: a small guard model matches words, so words are what is compared.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil

_WORD = re.compile(r"[^\W_]+(?:['\N{RIGHT SINGLE QUOTATION MARK}][^\W_]+)?")
_STOP = frozenset(
    (  # noqa: SIM905 - a list of them takes a page
        "a about above after all also an and any anything are as at be been being below but by can do does every for "
        "from had has have how if in into is it its kind may more must of on one or same should so some such than "
        "that the their them then there these they this those to up user users was way we were what when where which "
        "who whose why will with would you"
    ).split()
)
_ALIKE = 0.8
"""Share of their words that near-duplicates have in common."""


def stems(text: str) -> tuple[str, ...]:
    """Return the words of *text* that carry meaning, in order, without their commonest endings."""
    return tuple(_stem(word) for word in _words(text) if word not in _STOP)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _stem(word: str) -> str:
    for ending, kept in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 4 - len(kept):
            return word[: -len(ending)] + kept
    return word


def count_words(text: str) -> int:
    """Return how many words *text* has."""
    return len(_words(text))


def share(part: str, whole: str) -> float:
    """Return which share of the meaning words of *part* stands in *whole* too."""
    wanted, there = set(stems(part)), set(stems(whole))
    return len(wanted & there) / len(wanted) if wanted else 0.0


def near_duplicates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of places in *texts* whose wordings are nearly alike, each pair once, the earlier place first.

    Two texts of which four fifths of the words agree share at least one of their rarer words, so each is compared
    with those alone: ten thousand take seconds, not hours.
    """
    found = set(_of_like_words(texts)) | set(_of_like_letters(texts))
    yield from sorted(found)


def _of_like_words(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    sets = [frozenset(stems(text)) or frozenset({text.casefold().strip()}) for text in texts]
    frequency = Counter(word for words in sets for word in words)
    holders: dict[str, list[int]] = {}
    for place, words in enumerate(sets):
        rarest = sorted(words, key=lambda word: (frequency[word], word))
        # With more than this many words unshared, four fifths can no longer agree.
        telling = rarest[: len(rarest) - ceil(_ALIKE * len(rarest)) + 1]
        candidates = {other for word in telling for other in holders.get(word, ())}
        for other in candidates:
            together = len(words & sets[other])
            if together / (len(words) + len(sets[other]) - together) >= _ALIKE:
                yield other, place
        for word in telling:
            holders.setdefault(word, []).append(place)


def _of_like_letters(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield short texts, such as names, that differ by a slip of the finger: neighbours in alphabetical order."""
    short = sorted((text.casefold(), place) for place, text in enumerate(texts) if count_words(text) <= 4)
    for (one, first), (other, second) in pairwise(short):
        same = len(one) > 4 and difflib.SequenceMatcher(None, one, other).ratio() >= 0.92
        if same and not any(char.isdigit() for char in one + other):
            yield min(first, second), max(first, second)
