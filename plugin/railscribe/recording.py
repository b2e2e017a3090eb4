"""What a check adds up to: its id, its times, its record. Pure but for clock and chance."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from railscribe.judging import Judged
from railscribe.reasoning import ReasoningPlan
from railscribe.values import ImageReading, ImageUse, Reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Which binding asks: its rail and the host it serves, for the record."""

    rail: str = "guard"
    host: str = "python"


@dataclass(slots=True)
class Stages:
    """Wall-clock milliseconds by stage of one check."""

    laps: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        """Put the time since the last lap down to *stage*."""
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._since) * 1000
        self._since = now


def reasoning_of(plan: ReasoningPlan, *, applies: bool, thought: Judged | None) -> Reasoning:
    """Return how a check was thought about."""
    if thought is not None:
        return Reasoning.VERDICT
    return Reasoning.DEFERRED if applies and plan.mode is Reasoning.DEFERRED else Reasoning.OFF


_SAYS_LEAST = (
    *(ImageUse.NOT_JUDGED, ImageUse.NOTHING_READ),
    *(ImageUse.READ, ImageUse.SEEN, ImageUse.SEEN_AND_READ),
)


def together(readings: Sequence[ImageReading]) -> ImageReading | None:
    """Return what became of the pictures as a whole."""
    if len(readings) < 2:
        return readings[0] if readings else None
    texts = [reading.text for reading in readings if reading.text]
    return ImageReading(
        use=min((reading.use for reading in readings), key=_SAYS_LEAST.index),
        text="\n".join(texts) if texts else None,
        reader=next((reading.reader for reading in readings if reading.reader), None),
    )


def new_id() -> tuple[str, datetime]:
    """Return a version 7 UUID (RFC 9562) and the time it carries: ids sort by time, to the millisecond."""
    now_ns = time.time_ns()
    value = (now_ns // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value)), datetime.fromtimestamp(now_ns / 1e9, tz=timezone.utc)
