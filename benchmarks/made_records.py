"""Records as a busy rail makes them, for measuring the audit store: a third of them blocked, a tenth with a trace."""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from functools import lru_cache

from railscribe.policy import load_policy, render
from railscribe.recording import new_id
from railscribe.values import (
    Category,
    Completion,
    Decision,
    Direction,
    Enforcement,
    EngineInfo,
    Exchange,
    Flags,
    Identity,
    Label,
    Outcome,
    Record,
    Rendering,
    Side,
    SideVerdict,
    Verdict,
)

_ENGINE = EngineInfo(name="openai_compatible", model="nvidia/Nemotron-3.5-Content-Safety", revision="r1")
_WORDS = "please tell me how this account can be opened and what it costs when it is closed".split()  # noqa: SIM905


@lru_cache(maxsize=1)
def _rendering() -> Rendering:
    return render(load_policy("default"))


def made_record(*, at: datetime | None = None, name: str | None = None) -> Record:
    """Return a new record, checked *at* or now; *name* goes into its identity."""
    record_id, now = new_id()
    unsafe, thinks, answers = random.random() < 0.33, random.random() < 0.1, random.random() < 0.5
    text = " ".join(random.choices(_WORDS, k=random.randint(5, 80)))
    trace = "The user asks about an account. " * 4 if thinks else None
    reply = f"User Safety: {'unsafe' if unsafe else 'safe'}"
    label = Label.UNSAFE if unsafe else Label.SAFE
    safe = SideVerdict(label=Label.SAFE, score=0.02)
    return Record(
        id=record_id,
        checked_at=at or now.astimezone(timezone.utc),
        identity=Identity(tenant=f"t{random.randrange(20)}", session="s-1", request=name, subject="u-1"),
        direction=Direction.OUTPUT if answers else Direction.INPUT,
        rail="railscribe check output" if answers else "railscribe check input",
        host="nemoguardrails 0.24.1",
        exchange=Exchange(user=text, response=text[::-1] if answers else None),
        rendering=_rendering(),
        engine=_ENGINE,
        flags=Flags(thinking=thinks),
        neutralised=(),
        completion=Completion(text=reply, finish_reason="stop", prompt_tokens=612, completion_tokens=9),
        verdict=Verdict(
            user=SideVerdict(label=label, score=random.random()),
            response=safe if answers else None,
            categories=(Category(name="Violence", said="violence", known=True),) if unsafe else (),
            trace=trace,
            reply=reply,
        ),
        decision=Decision(
            outcome=Outcome.BLOCK if unsafe else Outcome.ALLOW,
            sides=(Side.USER,),
            categories=("Violence",) if unsafe else (),
            rule="unsafe blocks" if unsafe else "",
        ),
        enforcement=Enforcement.REFUSED if unsafe else Enforcement.PASSED,
        image=None,
        latency_ms={"render": 0.05, "engine": random.random() * 300, "decide": 0.02},
    )


if __name__ == "__main__":
    began = time.perf_counter()
    for _ in range(1000):
        made_record()
    print(f"{(time.perf_counter() - began) * 1000:.0f} µs a record")
