"""Which chunks belong to one stream, and to which stream a whole answer: NeMo gives neither an id.

Rules

1. Chunks answer the same words of the same tenant, and each begins with the end of the one before, because the host's
   windows overlap; where they do not, a window holds the one before.
2. A whole answer belongs to the stream of the same user's words whose first chunk it begins with: the final part.
3. What cannot be told apart - the same words answered alike at the same time - may be tied to the other's stream: the
   checks are on record all the same, each with its own text.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from railscribe.recording import new_id
from railscribe.values import StreamPart

_MOST = 1024
_LEAST_OVERLAP = 4  # characters


@dataclass(slots=True)
class _Stream:
    id: str
    first: str
    last: str
    parts: int = 1
    whole: str | None = None


class Streams:
    """Ties parts together; safe to use from several threads. Forgets the oldest of many."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[str, str], list[_Stream]] = OrderedDict()
        self._lock = Lock()

    def chunk(self, tenant: str, user: str, text: str) -> StreamPart:
        """Return which part of which stream the chunk *text* is."""
        with self._lock:
            streams = self._of(tenant, user)
            for stream in reversed(streams):
                if _follows(text, stream):
                    stream.last, stream.parts = text, stream.parts + 1
                    return StreamPart(stream=stream.id, number=stream.parts - 1, final=False)
            streams.append(_Stream(id=new_id()[0], first=text, last=text))
            return StreamPart(stream=streams[-1].id, number=0, final=False)

    def whole(self, tenant: str, user: str, text: str) -> StreamPart:
        """Return the final part that the answer *text* is."""
        with self._lock:
            streams = self._of(tenant, user)
            for stream in reversed(streams):
                if stream.whole is None and text.startswith(stream.first):
                    stream.whole, stream.parts = text, stream.parts + 1
                    return StreamPart(stream=stream.id, number=stream.parts - 1, final=True)
            # The host may judge a short answer whole before it judges its only chunk.
            streams.append(_Stream(id=new_id()[0], first="", last="", whole=text))
            return StreamPart(stream=streams[-1].id, number=0, final=True)

    def _of(self, tenant: str, user: str) -> list[_Stream]:
        streams = self._streams.setdefault((tenant, user), [])
        self._streams.move_to_end((tenant, user))
        if len(self._streams) > _MOST:
            self._streams.popitem(last=False)
        del streams[:-8]
        return streams


def _follows(text: str, stream: _Stream) -> bool:
    if stream.whole is not None:
        return text in stream.whole
    if stream.last and text.startswith(stream.last):
        return True
    # The longest end of the last window that the new one begins with.
    most = min(len(stream.last), len(text))
    return any(text.startswith(stream.last[-size:]) for size in range(most, _LEAST_OVERLAP - 1, -1))
