"""Merkle trees after RFC 6962, section 2.1, over SHA-256. Pure.

Rules

1. A leaf is ``SHA-256(0x00 || bytes)``, a node ``SHA-256(0x01 || left || right)``: neither passes for the other.
2. A tree over a number of leaves that is no power of two is split at the largest power of two below it.
3. The tree over nothing is ``SHA-256("")``; no segment is empty, so it is never sealed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


def leaf_hash(data: bytes) -> bytes:
    """Return the leaf of *data* (rule 1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the node over *left* and *right* (rule 1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Tree:
    """A tree that grows leaf by leaf and keeps no more than one hash for each of its levels."""

    count: int = 0
    _peaks: list[bytes] = field(default_factory=list)
    """The roots of the complete subtrees from the left: one for each bit that is set in ``count``."""

    def add(self, leaf: bytes) -> None:
        """Add *leaf* on the right."""
        complete = self.count
        while complete & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            complete >>= 1
        self._peaks.append(leaf)
        self.count += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        root = self._peaks[-1]
        for peak in self._peaks[-2::-1]:
            root = node_hash(peak, root)
        return root

    def copy(self) -> Tree:
        """Return a tree that grows apart from this one."""
        return Tree(self.count, list(self._peaks))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over *leaves*."""
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def inclusion_path(leaves: Sequence[bytes], position: int) -> list[bytes]:
    """Return the hashes that lead from the leaf at *position* to the root, the nearest first.

    Raises:
        IndexError: there is no such leaf.
    """
    if not 0 <= position < len(leaves):
        raise IndexError(position)
    if len(leaves) == 1:
        return []
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    if position < split:
        return [*inclusion_path(leaves[:split], position), root_of(leaves[split:])]
    return [*inclusion_path(leaves[split:], position - split), root_of(leaves[:split])]


def root_by_path(leaf: bytes, position: int, count: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that *path* leads to from *leaf* in a tree of *count*; ``None`` where it cannot be one.

    After RFC 9162, section 2.1.3.2.
    """
    if not 0 <= position < count:
        return None
    place, last, root = position, count - 1, leaf
    for step in path:
        if last == 0:
            return None  # longer than the tree is high
        if place & 1 or place == last:
            root = node_hash(step, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, step)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None
