"""Verdicts that are remembered for a while, so that what was judged is not judged again.

Rules

1. What is remembered is the verdict. The decision is made anew, and every repeat has a record of its own, which names
   the check whose verdict it repeats.
2. A verdict is found again only for the same tenant, policy (document and text), flags, engine (its whole fingerprint)
   and content. A picture that is given by an address is never found again: what lies there may change.
3. What is undecided is not remembered: the next check asks anew.
4. Contents are not kept: a key holds digests.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from weakref import WeakValueDictionary

from cachetools import TTLCache

from railscribe.judging import Judgement
from railscribe.values import EngineInfo, Exchange, Flags, Label, Rendering


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an engine is asked, by digests (rules 2 and 4)."""

    tenant: str
    policy_digest: str
    text_digest: str
    mode: str
    flags: Flags
    engine: EngineInfo
    content: str

    @classmethod
    def of(
        cls, exchange: Exchange, rendering: Rendering, flags: Flags, engine: EngineInfo, tenant: str
    ) -> Question | None:
        """Return the question, or ``None`` where its answer must not be taken over."""
        images = [(image.digest, image.frame) for image in exchange.images]
        if any(digest is None for digest, _ in images):
            return None
        content = json.dumps([exchange.user, exchange.response, images])
        return cls(
            tenant=tenant,
            policy_digest=rendering.policy_digest,
            text_digest=rendering.text_digest,
            mode=rendering.mode.value,
            flags=flags,
            engine=replace(engine, decoding=None),
            content=hashlib.sha256(content.encode()).hexdigest(),
        )


class VerdictCache:
    """Remembers up to *most* verdicts for *seconds* each; safe to use from several threads."""

    def __init__(self, *, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._judgements: TTLCache[Question, Judgement] = TTLCache(most, seconds, timer=clock)
        self._turns: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._lock = Lock()

    def turn(self, exchange: Exchange, policy_digest: str, tenant: str) -> asyncio.Lock:
        """Return what lets checks of the same content under the same policy go one after the other.

        Of two that come at once the second finds what the first was told. It is for one event loop.
        """
        images = [(image.digest, image.url, image.frame) for image in exchange.images]
        alike = json.dumps([tenant, policy_digest, exchange.user, exchange.response, images])
        key = hashlib.sha256(alike.encode()).digest()
        with self._lock:
            turn = self._turns.get(key)
            if turn is None:
                turn = self._turns[key] = asyncio.Lock()
            return turn

    def get(self, question: Question) -> Judgement | None:
        """Return what was judged, marked with the check that it repeats."""
        with self._lock:
            return self._judgements.get(question)

    def put(self, question: Question, judgement: Judgement, record_id: str) -> None:
        """Remember *judgement*, of the check *record_id*, where it may be taken over (rule 3)."""
        verdict = judgement.verdict
        sides = (verdict.user, verdict.response) if verdict.response else (verdict.user,)
        if judgement.repeats is not None or any(side.label is Label.UNREADABLE for side in sides):
            return
        with self._lock:
            self._judgements[question] = replace(judgement, pieces=(), repeats=record_id)
