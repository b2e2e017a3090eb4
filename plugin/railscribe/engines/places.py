"""How likely each of a policy's names is at a place of a reply, all places read in one more pass at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from railscribe.engines.names import END, Beginning, Fork, Names
from railscribe.values import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a reply where a name could stand."""

    names: Names
    at: int
    """The segment before it."""
    hidden: Any
    """At that segment's last token."""
    sides: tuple[Side, ...]
    """The sides that are called unsafe before it."""
    used: frozenset[Beginning] = frozenset()
    chance: float = 1.0
    """That the list goes on to it, given what the model wrote before."""


def shares_at(
    places: Sequence[Place],
    *,
    add: Callable[[Sequence[int], int], int],
    run: Callable[[], Mapping[int, Any]],
    logits: Callable[[Any, Sequence[int]], Any],
    stops: Sequence[int],
) -> list[dict[str, float]]:
    """Return the share of each name at each of *places*, as :meth:`Names.shares` defines it.

    *add* takes a segment's tokens and its parent and gives its number, *run* passes over what was added and gives the
    hidden states by number, *logits* those of rows of the vocabulary; *stops* are the tokens that end a name.
    """
    laid = [list(_laid(place, add)) for place in places]
    states = run() if any(segment is not None for forks in laid for _, segment in forks) else {}
    shares = []
    for place, forks in zip(places, laid, strict=True):
        chances = {}
        for fork, segment in forks:
            hidden = place.hidden if segment is None else states[segment][-1]
            chances[fork.written] = _chances(fork, partial(logits, hidden), stops)
        shares.append(place.names.shares(place.used, chances))
    return shares


def _laid(place: Place, add: Callable[[Sequence[int], int], int]) -> list[tuple[Fork, int | None]]:
    """Lay out what leads to each fork behind *place*; return the forks with their segments."""
    at: dict[Beginning, int] = {}
    laid: list[tuple[Fork, int | None]] = []
    for fork in place.names.forks(place.used):
        if fork.written:
            above = fork.above or ()
            at[fork.written] = add(fork.written[len(above) :], at.get(above, place.at))
        laid.append((fork, at.get(fork.written)))
    return laid


def _chances(fork: Fork, logits: Callable[[Sequence[int]], Any], stops: Sequence[int]) -> dict[int, float]:
    """Return the chance of each branch of *fork*."""
    tokens = [branch for branch in fork.branches if branch != END]
    ends = list(stops) if END in fork.branches else []
    likely = logits([*tokens, *ends]).softmax(-1).tolist()
    chances = dict(zip(tokens, likely, strict=False))
    return {**chances, END: sum(likely[len(tokens) :])} if ends else chances
