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
4. Where each name is to be scored, its shares (``names.py``) are read where it could first stand after a forced
   *unsafe*, and at each further place that the model's own list opened: docs/verdicts.md says what comes of them.
   Nothing of this is computed where no policy asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from railscribe.engines.forward import Packed, Segment
from railscribe.engines.greedy import label_tokens
from railscribe.engines.names import Beginning, Names
from railscribe.engines.places import Place, shares_at
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


@dataclass(slots=True, kw_only=True)
class Question:
    """One exchange to be read: its tokens after the prefix, and what is asked about it."""

    tokens: Sequence[int]
    pixels: Any = None
    response: bool
    categories: bool
    names: Names | None
    """``None``: the model may write anything."""
    scored: Names | None = None
    """The names that each need a score, for which categories must be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was read: the reply as tokens, and the scores of its labels."""

    tokens: tuple[int, ...]
    labels: dict[Side, Label]
    scores: dict[Side, float]
    ended: bool = True
    category_scores: dict[Side, dict[str, float]] = field(default_factory=dict)


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
    name: Beginning = ()
    used: frozenset[Beginning] = frozenset()
    begun: int = 0
    ended: bool = True
    goes_on: float = 1.0
    """How likely the last comma was."""
    places: list[Place] = field(default_factory=list)
    """Where names are to be scored (rule 4)."""


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
        scored = self._scored(replies)
        return [
            Reading(
                tokens=tuple(reply.tokens),
                labels=reply.labels,
                scores=reply.scores,
                ended=reply.ended,
                category_scores=category_scores,
            )
            for reply, category_scores in zip(replies, scored, strict=True)
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
        if question.scored is not None and question.categories:
            reply.places += self._first_places(question.scored, tree, states, reply.labels)
        if path in tree and Label.UNSAFE in path:
            after_label = states[tree[path]][0]
            line_feed = words.categories[0]
            likelier = self._best(after_label, (line_feed, *words.ends))
            if likelier == line_feed:  # rule 3
                reply.at, reply.hidden, reply.writing = tree[path], states[tree[path]][-1], True
                reply.tokens += words.categories
                reply.begun = len(reply.tokens)
        return reply

    def _first_places(
        self,
        names: Names,
        tree: dict[tuple[Label, ...], int],
        states: list[Any],
        labels: dict[Side, Label],
    ) -> list[Place]:
        """Return, for each side, where a list begins once that side is called unsafe (rule 4)."""
        paths: dict[Side, tuple[Label, ...]] = {Side.USER: (Label.UNSAFE,)}
        if Side.RESPONSE in labels:
            after_user = self._label(states[tree[Label.UNSAFE,]][-1])[0]
            paths = {
                Side.USER: (Label.UNSAFE, after_user),
                Side.RESPONSE: (labels[Side.USER], Label.UNSAFE),
            }
        by_path: dict[tuple[Label, ...], list[Side]] = {}
        for side, path in paths.items():
            by_path.setdefault(path, []).append(side)
        return [
            Place(names=names, at=tree[path], hidden=states[tree[path]][-1], sides=tuple(sides))
            for path, sides in by_path.items()
        ]

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
            if reply.question.scored is not None and reply.tokens[-1] == self.words.comma:
                sides = tuple(side for side, label in reply.labels.items() if label is Label.UNSAFE)
                reply.places.append(
                    Place(
                        names=reply.question.scored,
                        at=reply.at,
                        hidden=reply.hidden,
                        sides=sides,
                        used=reply.used,
                        chance=reply.goes_on,
                    )
                )

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
            self._note_comma(reply, sorted(more | stops))
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
            reply.name = (*reply.name, token)
            if token == self.words.comma:
                reply.name = reply.name[:-1]
                self._note_comma(reply, None)

    def _note_comma(self, reply: _Open, rows: Sequence[int] | None) -> None:
        """Begin a new name, and remember how likely that was against *rows* where it matters."""
        if reply.question.scored is not None:
            logits = self._logits(reply.hidden, rows)
            place = self.words.comma if rows is None else rows.index(self.words.comma)
            reply.goes_on = float(logits.softmax(-1)[place])
        reply.used, reply.name = reply.used | {reply.name}, ()

    def _scored(self, replies: Sequence[_Open]) -> list[dict[Side, dict[str, float]]]:
        """Return, by reply, the score of each name on each side: its best share of a place times the side's score."""
        first = len(self._segments)
        shares = iter(
            shares_at(
                [place for reply in replies for place in reply.places],
                add=self._add,
                run=lambda: dict(enumerate(self.packed.run(self._segments[first:]), first)),
                logits=self._logits,
                stops=(self.words.comma, *self.words.ends),
            )
        )
        scored: list[dict[Side, dict[str, float]]] = []
        for reply in replies:
            best: dict[Side, dict[str, float]] = {}
            for place in reply.places:
                its_shares = next(shares)
                for side in place.sides:
                    before = best.get(side, {})
                    best[side] = {
                        name: max(before.get(name, 0.0), reply.scores[side] * place.chance * share)
                        for name, share in its_shares.items()
                    }
            scored.append(best)
        return scored

    def _best(self, hidden: Any, rows: Sequence[int] | None) -> int:
        best = int(self._logits(hidden, rows).argmax())
        return best if rows is None else rows[best]

    def _logits(self, hidden: Any, rows: Sequence[int] | None) -> Any:
        logits = self.packed.network.logits(hidden, rows)
        if not bool(logits.isfinite().all()):
            raise BadNumbersError
        return logits
