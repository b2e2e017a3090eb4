"""Prefixes kept for reuse: least recently used out first, bounded by bytes.

Not thread-safe: it belongs to the engine's one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from railscribe.engines.forward import Prefix


@dataclass(slots=True)
class Known:
    """A prefix, and for which shapes of requests the model was seen to answer in the contract's grammar behind it."""

    prefix: Prefix
    proven: set[Hashable] = field(default_factory=set)


class PrefixCache:
    """Prefixes by key; the key says all that they depend on, and for whom they may be used."""

    def __init__(self, *, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._kept: OrderedDict[Hashable, Known] = OrderedDict()

    @property
    def bytes(self) -> int:
        """What is kept, in bytes of keys and values."""
        return sum(known.prefix.bytes for known in self._kept.values())

    def get(self, key: Hashable, compute: Callable[[], Prefix]) -> Known:
        """Return what is kept under *key*, computing it first where it is not there.

        One larger than the whole cache is returned and not kept.
        """
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        known = self._kept[key] = Known(compute())
        while self.bytes > self.max_bytes and self._kept:
            self._kept.popitem(last=False)
        return known

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()
