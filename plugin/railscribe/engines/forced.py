"""Reading a verdict off a model without letting it write what is known.

The reply's fixed words are put in its mouth; at each place where it has a choice, its own logits are read.

Rules

1. A label is the likelier of `` safe`` and `` unsafe`` at its place: what greedy decoding would have written, since
   the fixed words before it are what it would have written too (proven behind each prefix by one whole reply,
   see ``transformers.py``, and over thousands of rows in the tests).
2. What may follow on either label is asked in the same pass as the label itself, and dropped where it does not
   apply: a pass over few tokens costs as much as one over a single token.
3. Categories are written only after *unsafe*, only when asked for, and only if the model would rather write them
   than end there. Where the policy's names are all that it can answer with, it chooses among them, token by
   token; else it writes freely. No name is written twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from railscribe.engines.forward import Packed, Segment
from railscribe.engines.greedy import label_tokens
from railscribe.engines.sampling import unsafe_share
from railscribe.errors import BadNumbersError
from railscribe.values import Label, Side

_MAX_NAMES = 8
_MAX_TOKENS = 64
"""Of a list of categories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The reply's fixed words as tokens."""

    user: tuple[int, ...]
    response: tuple[int, ...]
    categories: tuple[int, ...]
    labels: dict[Label, int]
    label_rows: dict[str, int]
    """Every token that can begin a label, by its text: the score counts them all."""
    comma: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any, ends: Sequence[int]) -> Words | None:
        """Return the words in *tokenizer*'s tokens; ``None`` where a label is not one token in it."""

        def tokens(text: str) -> tuple[int, ...]:
            return tuple(tokenizer.encode(text, add_special_tokens=False))

        labels = {label: tokens(f" {label.value}") for label in (Label.SAFE, Label.UNSAFE)}
        comma = tokens(",")
        if any(len(ids) != 1 for ids in (*labels.values(), comma)):
            return None
        return cls(
            user=tokens("User Safety:"),
            response=tokens("\nResponse Safety:"),
            categories=tokens("\nSafety Categories:"),
            labels={label: ids[0] for label, ids in labels.items()},
            label_rows=label_tokens(tokenizer),
            comma=comma[0],
            ends=tuple(ends),
        )


class Names:
    """The names that may be written, token by token."""

    def __init__(self, names: Sequence[str], tokenizer: Any) -> None:
        self._names = {tuple(tokenizer.encode(f" {name}", add_special_tokens=False)) for name in names}

    def next(self, written: tuple[int, ...], used: frozenset[tuple[int, ...]]) -> tuple[set[int], bool]:
        """Return which tokens may follow *written*, the beginning of a name, and whether it is a whole one."""
        left = [name for name in self._names - used if name[: len(written)] == written]
        more = {name[len(written)] for name in left if len(name) > len(written)}
        return more, bool(written) and written in left


@dataclass(slots=True, kw_only=True)
class Question:
    """One exchange to be read: its tokens after the prefix, and what is asked about it."""

    tokens: Sequence[int]
    pixels: Any = None
    response: bool
    categories: bool
    names: Names | None
    """``None``: the model may write anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read: the reply as tokens, and the scores of its labels."""

    tokens: tuple[int, ...]
    labels: dict[Side, Label]
    scores: dict[Side, float]
    ended: bool = True


@dataclass(slots=True, kw_only=True)
class _Open:
    """A reply that is being read."""

    question: Question
    at: int
    """The segment that it has come to."""
    hidden: Any
    """At that segment's last token."""
    tokens: list[int]
    labels: dict[Side, Label]
    scores: dict[Side, float]
    writing: bool = False
    """Whether categories are still being written."""
    name: tuple[int, ...] = ()
    used: frozenset[tuple[int, ...]] = frozenset()
    begun: int = 0
    ended: bool = True


@dataclass(slots=True)
class Reader:
    """Reads *questions* behind one prefix, all in the same passes."""

    packed: Packed
    words: Words
    _segments: list[Segment] = field(default_factory=list)

    def read(self, questions: Sequence[Question]) -> list[Reading]:
        """Return the reading of each of *questions*.

        Raises:
            BadNumbersError: the model's logits are no numbers.
        """
        trees = [self._tree(question) for question in questions]
        states = self.packed.run(self._segments)
        replies = [
            self._follow(question, tree, states) for question, tree in zip(questions, trees, strict=True)
        ]
        while writing := [reply for reply in replies if reply.writing]:
            self._write(writing)
        return [
            Reading(tokens=tuple(reply.tokens), labels=reply.labels, scores=reply.scores, ended=reply.ended)
            for reply in replies
        ]

    def _tree(self, question: Question) -> dict[tuple[Label, ...], int]:
        """Lay out what *question* may need, and return the segment that stands after each path of labels (rule 2)."""
        words = self.words
        tree: dict[tuple[Label, ...], int] = {
            (): self._add((*question.tokens, *words.user), None, question.pixels)
        }
        paths: list[tuple[Label, ...]] = [()]
        if question.response:
            for label in words.labels:
                tree[(label,)] = self._add((words.labels[label], *words.response), tree[()])
            paths = [(label,) for label in words.labels]
        if question.categories:
            for path in paths:
                for label in words.labels:
                    if Label.UNSAFE in (*path, label):
                        tree[(*path, label)] = self._add((words.labels[label], *words.categories), tree[path])
        return tree

    def _add(self, tokens: Sequence[int], parent: int | None, pixels: Any = None) -> int:
        self._segments.append(Segment(tokens=tokens, parent=parent, pixels=pixels))
        return len(self._segments) - 1

    def _follow(self, question: Question, tree: dict[tuple[Label, ...], int], states: list[Any]) -> _Open:
        """Return where the model's own labels lead in *tree* (rule 1)."""
        words = self.words
        path: tuple[Label, ...] = ()
        reply = _Open(
            question=question, at=tree[()], hidden=None, tokens=list(words.user), labels={}, scores={}
        )
        for side in (Side.USER, Side.RESPONSE) if question.response else (Side.USER,):
            if side is Side.RESPONSE:
                reply.tokens += words.response
            label, score = self._label(states[tree[path]][-1])
            reply.labels[side], reply.scores[side] = label, score
            reply.tokens.append(words.labels[label])
            path = (*path, label)
        if path in tree and Label.UNSAFE in path:
            after_label = states[tree[path]][0]
            line_feed = words.categories[0]
            likelier = self._best(after_label, (line_feed, *words.ends))
            if likelier == line_feed:  # rule 3
                reply.at, reply.hidden, reply.writing = tree[path], states[tree[path]][-1], True
                reply.tokens += words.categories
                reply.begun = len(reply.tokens)
        return reply

    def _label(self, hidden: Any) -> tuple[Label, float]:
        rows = self.words.label_rows
        logits = dict(
            zip(rows, self.packed.network.logits(hidden, list(rows.values())).tolist(), strict=True)
        )
        if not all(math.isfinite(logit) for logit in logits.values()):
            raise BadNumbersError
        top = max(logits.values())
        score = unsafe_share({word: math.exp(logit - top) for word, logit in logits.items()})
        likelier = max(self.words.labels, key=lambda label: logits[f" {label.value}"])
        return likelier, 0.0 if score is None else score

    def _write(self, replies: Sequence[_Open]) -> None:
        """Let each of *replies* write on, up to its next choice."""
        grown = []
        for reply in replies:
            before = len(reply.tokens)
            self._choose(reply)
            if reply.writing:
                grown.append((reply, tuple(reply.tokens[before:])))
        if not grown:
            return
        first = len(self._segments)
        for reply, tokens in grown:
            reply.at = self._add(tokens, reply.at)
        for (reply, _), states in zip(grown, self.packed.run(self._segments[first:]), strict=True):
            reply.hidden = states[-1]

    def _choose(self, reply: _Open) -> None:
        """Write one token of the model's choice, and all that can then only follow."""
        names = reply.question.names
        if names is None:
            self._write_freely(reply)
            return
        more, whole = names.next(reply.name, reply.used)
        stops = {self.words.comma, *self.words.ends} if whole else set()
        used = reply.used | {reply.name}
        if len(used) >= _MAX_NAMES or not names.next((), used)[0]:
            stops.discard(self.words.comma)
        token = self._best(reply.hidden, sorted(more | stops))
        if token in self.words.ends:
            reply.writing = False
            return
        reply.tokens.append(token)
        if token == self.words.comma:  # no name holds one
            reply.used, reply.name = used, ()
            return
        reply.name = (*reply.name, token)
        more, whole = names.next(reply.name, reply.used)
        while len(more) == 1 and not whole:
            (token,) = more
            reply.tokens.append(token)
            reply.name = (*reply.name, token)
            more, whole = names.next(reply.name, reply.used)

    def _write_freely(self, reply: _Open) -> None:
        token = self._best(reply.hidden, None)
        if token in self.words.ends:
            reply.writing = False
        elif len(reply.tokens) - reply.begun >= _MAX_TOKENS:
            reply.writing = reply.ended = False
        else:
            reply.tokens.append(token)

    def _best(self, hidden: Any, rows: Sequence[int] | None) -> int:
        logits = self.packed.network.logits(hidden, rows)
        if not bool(logits.isfinite().all()):
            raise BadNumbersError
        best = int(logits.argmax())
        return best if rows is None else rows[best]
