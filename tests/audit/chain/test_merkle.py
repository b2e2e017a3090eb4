"""Merkle trees are those of RFC 6962, and paths in them lead where they should."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from railscribe.audit.chain.merkle import Tree, inclusion_path, leaf_hash, node_hash, root_by_path, root_of

# The test data of Certificate Transparency's reference implementation: eight inputs, the roots over the first n.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("count", range(1, 9))
def test_known_roots(count: int) -> None:
    """The roots are those that others compute."""
    assert root_of(leaf_hash(bytes.fromhex(data)) for data in INPUTS[:count]).hex() == ROOTS[count - 1]


def test_the_tree_over_nothing() -> None:
    """An empty tree has the root that the RFC gives it."""
    assert Tree().root() == hashlib.sha256(b"").digest()


@given(st.integers(1, 70), st.data())
def test_a_path_leads_from_its_leaf_alone(count: int, data: st.DataObject) -> None:
    """A path leads to the root from its own leaf at its own place, and from nowhere else."""
    leaves = [leaf_hash(bytes([number])) for number in range(count)]
    place, other = data.draw(st.tuples(*[st.integers(0, count - 1)] * 2))
    path = inclusion_path(leaves, place)

    assert root_by_path(leaves[place], place, count, path) == root_of(leaves)
    if other != place:
        assert root_by_path(leaves[place], other, count, path) != root_of(leaves)
        assert root_by_path(leaves[other], place, count, path) != root_of(leaves)
    assert root_by_path(leaves[place], place, count, [*path, leaves[0]]) is None
    assert root_by_path(leaves[place], count, count, path) is None
    if path:
        assert root_by_path(leaves[place], place, count, path[:-1]) is None


def test_a_node_never_passes_for_a_leaf() -> None:
    """What is hashed for a node, taken for an entry's bytes, has another hash."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")

    assert node_hash(left, right) != leaf_hash(left + right)


def test_a_growing_tree_keeps_little() -> None:
    """A tree keeps a hash for each level and not for each leaf; its copy grows apart from it."""
    tree = Tree()
    for number in range(10_000):
        tree.add(leaf_hash(str(number).encode()))
    before, copy = tree.root(), tree.copy()
    copy.add(leaf_hash(b"more"))

    assert len(tree._peaks) <= 14
    assert (tree.root(), tree.count) == (before, 10_000)
    assert copy.root() != before
