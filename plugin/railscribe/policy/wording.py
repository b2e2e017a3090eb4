"""How alike two wordings are, for the lint: words, their stems, and near-duplicates among many.

Plain on purpose: a small guard model matches words, so words are what is compared.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
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
_TURNS = frozenset(
    (  # noqa: SIM905 - a list of them takes a page
        "above after against before below beyond but during except fewer from inside into less more neither never no "
        "none nor not off only out outside over past since to under unless until unlike up down within without"
    ).split()
)
"""Words and signs that turn a meaning round. Beside them numbers, and "to" where there is a "from"."""
_TURN = re.compile(
    r"(?<!\w)\d\w*|[+#<>=~\N{LESS-THAN OR EQUAL TO}\N{GREATER-THAN OR EQUAL TO}]+|[^\W\d_]+(?:'t)?"
)
_PUNCTUATION = re.compile(
    r"[\s.,;:!?\"'()\[\]_\-\u2010-\u2027\u2039\u203a\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]+"
)
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer: some four letters a word
    "\u3005\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"  # kana and Han: some two
    "]+"
)
_ALIKE = 4, 5
"""Share of their words that near-duplicates have in common, as a fraction: what is rounded up must be exact."""
_MOST_COMPARED = 100
"""Texts that one is compared with. So many share their rarer words only where a text is a form filled in."""
_LONGEST_NAME = 80


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
    """Return how many words *text* has, about so in a script that does not part them."""
    return len(_words(_UNSPACED.sub(" ", text))) + _unspaced(text)


def weight(text: str) -> int:
    """Return how many words of *text* carry meaning, about so in a script that does not part words."""
    return len(set(stems(_UNSPACED.sub(" ", text)))) + _unspaced(text)


def _unspaced(text: str) -> int:
    letters = "".join(_UNSPACED.findall(text))
    wide = sum(char >= "\u3000" for char in letters)
    return ceil(wide / 2 + (len(letters) - wide) / 4)


def share(part: frozenset[str], whole: frozenset[str]) -> float:
    """Return which share of the meaning words *part* stands in *whole* too."""
    return len(part & whole) / len(part) if part else 0.0


def same_words(one: str, other: str) -> bool:
    """Whether *one* and *other* are the same but for capitals, white space and punctuation."""
    return _bare(one) == _bare(other)


def _bare(text: str) -> str:
    return _PUNCTUATION.sub(" ", text.casefold()).strip()


def turns(text: str) -> tuple[str, ...]:
    """Return the words, signs and numbers of *text*, in order, that can make it the opposite of one like it."""
    found = [word.casefold() for word in _TURN.findall(text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))]
    telling = [word for word in found if word in _TURNS or word.endswith("n't") or not word[0].isalpha()]
    return tuple(telling if "from" in telling else (word for word in telling if word != "to"))


def near_duplicates(texts: Sequence[str], *, among: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield pairs of places in *texts* whose wordings are nearly alike: each later place with one that it repeats.

    With *among*, so many first texts are what the others are compared with. What is written the same comes first,
    then the same words, then four fifths of them; what differs in a word such as "above" or "not", or in a number,
    is no near-duplicate. Each text is compared with a few of those that share its rarer words, so ten thousand
    take seconds, not hours.
    """
    seen = _Seen(texts)
    repeated = {
        later: earlier
        for later, earlier in _of_like_letters(texts)
        if among is None or earlier < among <= later
    }
    for place in range(len(texts)):
        found = None if among is not None and place < among else seen.like(place)
        if found is not None:
            repeated[place] = found
        if among is None or place < among:
            seen.add(place)
    yield from sorted((earlier, place) for place, earlier in repeated.items())


def stems_of(texts: Sequence[str]) -> list[frozenset[str]]:
    """Return the meaning words of each of *texts*; of one that has none, the whole."""
    return [frozenset(stems(text)) or frozenset({text.casefold().strip()}) for text in texts]


class _Seen:
    """The texts seen so far, found again by their rarer words.

    Of two texts with n and m words, four fifths of them shared, at least ``_agreed(n, m)`` are. So the rarest word
    that they share is among the first ``n - agreed + 1`` of the one, by rarity, and ``m - agreed + 1`` of the other.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._words = stems_of(texts)
        self._turns = [turns(text) for text in texts]
        self._frequency = Counter(word for each in self._words for word in each)
        self._same: dict[object, int] = {}
        self._holders: dict[tuple[tuple[str, ...], str, int, int], list[int]] = {}

    def add(self, place: int) -> None:
        written, bare, meant = self._sames(place)
        for same in (written, bare):
            self._same.setdefault(same, place)
        if self._same.setdefault(meant, place) != place:
            return  # whoever is like it is like the earlier one
        rarest = self._by_rarity(place)
        size = len(rarest)
        for position, word in enumerate(rarest[: size - _agreed(size, _least(size)) + 1]):
            self._holders.setdefault((self._turns[place], word, size, position), []).append(place)

    def like(self, place: int) -> int | None:
        """Return the place of a text seen that the one at *place* repeats."""
        for same in self._sames(place):
            if same in self._same:
                return self._same[same]
        words = self._words[place]
        candidates = islice(dict.fromkeys(self._candidates(place)), _MOST_COMPARED)
        return next((other for other in candidates if alike(words, self._words[other])), None)

    def _sames(self, place: int) -> tuple[object, object, object]:
        text = self._texts[place]
        return text.casefold(), (_bare(text),), (self._words[place], self._turns[place])

    def _candidates(self, place: int) -> Iterator[int]:
        rarest, turned = self._by_rarity(place), self._turns[place]
        size = len(rarest)
        for other_size in range(_least(size), size * _ALIKE[1] // _ALIKE[0] + 1):
            agreed = _agreed(size, other_size)
            if agreed == size == other_size:
                continue  # those would be the same words
            for word in rarest[: size - agreed + 1]:
                for position in range(other_size - agreed + 1):
                    yield from self._holders.get((turned, word, other_size, position), ())

    def _by_rarity(self, place: int) -> list[str]:
        return sorted(self._words[place], key=lambda word: (self._frequency[word], word))


def _agreed(size: int, other_size: int) -> int:
    """Return how many words two texts of so many share at least, if they are alike."""
    return -(-_ALIKE[0] * (size + other_size) // sum(_ALIKE))


def _least(size: int) -> int:
    """Return how many words a text has at least that is like one of *size*."""
    return -(-_ALIKE[0] * size // _ALIKE[1])


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether four fifths of the words of *one* and *other* are in both."""
    return _ALIKE[1] * len(one & other) >= _ALIKE[0] * len(one | other)


def _of_like_letters(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield later and earlier place of short texts, such as names, that differ by a slip of the finger.

    Only neighbours in alphabetical order are compared.
    """
    short = sorted(
        (text.casefold(), place)
        for place, text in enumerate(texts)
        if len(text) <= _LONGEST_NAME and count_words(text) <= 4
    )
    for (one, first), (other, second) in pairwise(short):
        same = len(one) > 4 and difflib.SequenceMatcher(None, one, other).ratio() >= 0.92
        if same and turns(one) == turns(other) and not any(char.isdigit() for char in one + other):
            yield max(first, second), min(first, second)
