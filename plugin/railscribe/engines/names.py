"""The names that a model may answer with, as the tokens that it would write them in.

Rules

1. Names form a tree: what they begin with alike is one branch. Only where the tree forks has the model a choice.
2. A name's share of a place is the chance that it stands there, given that one of the names does: the product, over
   the forks on its way, of its branch's part of what the model gives all branches there. Ending, by a comma or
   with the reply, is a branch of its own where one name begins another. All shares of one place add up to one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Beginning = tuple[int, ...]
"""The first tokens of a name."""
END = -1
"""The branch that ends a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A place in the tree where the model has a choice."""

    written: Beginning
    above: Beginning | None
    """The fork before it; ``None`` at the beginning of a name."""
    branches: tuple[int, ...]
    """The tokens that may follow, and ``END`` where the name may."""


class Names:
    """Names that may be written, token by token."""

    def __init__(self, names: Sequence[str], tokenizer: Any) -> None:
        self._names = {tuple(tokenizer.encode(f" {name}", add_special_tokens=False)): name for name in names}

    def __iter__(self) -> Any:
        return iter(self._names.values())

    def next(self, written: Beginning, used: frozenset[Beginning]) -> tuple[set[int], bool]:
        """Return which tokens may follow *written*, the beginning of a name, and whether it is a whole one."""
        left = [name for name in self._names.keys() - used if name[: len(written)] == written]
        more = {name[len(written)] for name in left if len(name) > len(written)}
        return more, bool(written) and written in left

    def forks(self, used: frozenset[Beginning]) -> list[Fork]:
        """Return the forks of the tree of all names but those *used*, each after the one above it."""
        branches: dict[Beginning, set[int]] = defaultdict(set)
        for name in self._names.keys() - used:
            for length in range(len(name)):
                branches[name[:length]].add(name[length])
            branches[name].add(END)
        forks: dict[Beginning, Fork] = {}
        for written in sorted((place for place, ways in branches.items() if len(ways) > 1), key=len):
            above = next((written[:n] for n in range(len(written) - 1, -1, -1) if written[:n] in forks), None)
            ways = tuple(sorted(branches[written]))
            forks[written] = Fork(written=written, above=above, branches=ways)
        return list(forks.values())

    def shares(
        self, used: frozenset[Beginning], chances: Mapping[Beginning, Mapping[int, float]]
    ) -> dict[str, float]:
        """Return each name's share of a place (rule 2); *chances* are those of the branches, by fork."""
        shares = {}
        for tokens, name in self._names.items():
            share = 0.0 if tokens in used else 1.0
            for length in range(len(tokens) + 1):
                fork = chances.get(tokens[:length])
                if share and fork is not None:
                    share *= fork[tokens[length] if length < len(tokens) else END]
            shares[name] = share
        return shares
