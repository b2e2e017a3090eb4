"""What of an agent's state was judged already: by digest, so that nothing is judged twice and what was changed is.

Rules

1. The user's messages are known by their ids and what they say, in the state itself: every process that goes on with
   the thread knows them.
2. Calls and tools' answers are known for their conversation, in this process, the last few thousand of them. Another
   process judges once more what it finds open.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any
from uuid import uuid4

from langchain_core.messages import BaseMessage

from railscribe.langchain.turns import speaker_of
from railscribe.values import Identity

_MOST = 4096


class Known:
    """What was judged lately, by digest; safe to use from several threads. Forgets the oldest of many."""

    def __init__(self) -> None:
        self._digests: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def has(self, identity: Identity, content: object) -> bool:
        """Whether *content* was judged for *identity*."""
        return _known_as(identity, content) in self._digests

    def add(self, identity: Identity, content: object) -> None:
        """Remember that *content* was judged for *identity*."""
        with self._lock:
            self._digests[_known_as(identity, content)] = None
            if len(self._digests) > _MOST:
                self._digests.popitem(last=False)


def _known_as(identity: Identity, content: object) -> str:
    conversation = identity.session or identity.request
    return digest_of([identity.tenant, identity.subject, identity.policy, conversation, content])


def keys_of(messages: Sequence[BaseMessage]) -> list[str]:
    """Return a key for each of the user's messages, which tells it from one that was changed."""
    return [f"{message.id}:{digest_of(message.content)}" for message in _users(messages)]


def _users(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    return [message for message in messages if speaker_of(message) == "user"]


def unjudged(
    messages: Sequence[BaseMessage], keys: Sequence[str], judged: Sequence[str]
) -> list[BaseMessage]:
    known = set(judged)
    return [message for message, key in zip(_users(messages), keys, strict=True) if key not in known]


def essence_of(call: Any) -> dict[str, Any]:
    """Return what makes *call* the call that it is; its id does not."""
    return {"name": call["name"], "args": call["args"]}


def digest_of(value: object) -> str:
    """Return a digest of *value*, of strings, lists and mappings; a new one each time where it cannot be walked."""
    digest = hashlib.sha256()
    try:
        _walk(value, digest.update)
    except RecursionError:
        return uuid4().hex
    return digest.hexdigest()


def _walk(value: object, take: Callable[[bytes], object]) -> None:
    # Not JSON: pictures may be megabytes, and hashing lets other threads go on.
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        take(b"s%d:" % len(text))
        take(text)
        return
    items: Sequence[Any] = ()
    if isinstance(value, Mapping):
        items = [each for pair in value.items() for each in pair]
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        _walk(f"{type(value).__name__} {value!r}", take)
        return
    take(b"[%d:" % len(items))
    for each in items:
        _walk(each, take)
