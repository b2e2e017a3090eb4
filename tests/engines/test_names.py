"""The tree of names: where a model has a choice, and what each name's share of it comes to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from railscribe.engines.names import END, Beginning, Names


class Letters:
    """A tokenizer whose tokens are letters."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ord(char) for char in text.strip()]


def tokens(text: str) -> Beginning:
    return tuple(map(ord, text))


def evenly(names: Names, used: frozenset[Beginning] = frozenset()) -> dict[Beginning, dict[int, float]]:
    """The chances of a model that finds all branches alike."""
    return {fork.written: dict.fromkeys(fork.branches, 1 / len(fork.branches)) for fork in names.forks(used)}


def test_the_tree_forks_where_there_is_a_choice() -> None:
    """What follows of itself is no fork; a name that begins another one may end there."""
    names = Names(["threat", "threats", "thing", "sex"], Letters())

    forks = {fork.written: fork for fork in names.forks(frozenset())}

    assert set(forks) == {(), tokens("th"), tokens("threat")}
    assert forks[()].branches == tuple(sorted(map(ord, "ts")))
    assert forks[tokens("threat")].branches == (END, ord("s"))
    assert [fork.above for fork in names.forks(frozenset())] == [None, (), tokens("th")]


def test_a_name_that_was_used_leaves_the_tree() -> None:
    """No name stands twice, so its share goes to the others."""
    names = Names(["threat", "threats", "sex"], Letters())
    used = frozenset({tokens("threat")})

    assert {fork.written for fork in names.forks(used)} == {()}
    assert names.shares(used, evenly(names, used)) == {"threat": 0.0, "threats": 0.5, "sex": 0.5}


def test_the_only_name_has_it_all() -> None:
    """Without a choice there is nothing to ask."""
    names = Names(["sex"], Letters())

    assert names.forks(frozenset()) == []
    assert names.shares(frozenset(), {}) == {"sex": 1.0}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    names=st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=30, unique=True),
    seed=st.randoms(use_true_random=False),
)
def test_shares_of_a_place_add_up_to_one(names: list[str], seed: object) -> None:
    """Whatever the model gives the branches, and however the names begin one another."""
    tree = Names(names, Letters())
    chances = {}
    for fork in tree.forks(frozenset()):
        weights = [seed.random() + 0.01 for _ in fork.branches]  # type: ignore[attr-defined]
        chances[fork.written] = {
            branch: weight / sum(weights) for branch, weight in zip(fork.branches, weights, strict=True)
        }

    shares = tree.shares(frozenset(), chances)

    assert set(shares) == set(names)
    assert math.isclose(sum(shares.values()), 1.0)


def test_a_hundred_and_fifty_names() -> None:
    """They are asked about at their forks alone."""
    names = Names([f"topic {number}" for number in range(150)], Letters())

    shares = names.shares(frozenset(), evenly(names))

    assert len(names.forks(frozenset())) == 15  # behind "topic ", "1" to "9", "10" to "14"
    assert sum(shares.values()) == pytest.approx(1.0)
