"""Half a year of an audit database, made up: the rows of each batch of minutes, the same whenever they are asked for.

Two dozen tenants from January 2026, of which the first is asked most (a quarter of all checks); a checkpoint a minute.
Of a hundred checks ninety are allowed; six think later; two are flagged, and reviewed within two days, but for those
of the last fortnight, which wait. One in a hundred has a picture. One tenant streams, one observes, one's verdicts are
remembered. The first tenant's words are kept in full; of the others there is evidence alone, as after an erasure.
Leaves and signatures are made up.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from itertools import accumulate
from typing import Any

import sqlalchemy as sa

from railscribe.audit import registrations, tables
from railscribe.audit.rows import rows_of
from railscribe.policy import load_policy, render
from railscribe.policy.load import load_registration
from railscribe.values import (
    Category,
    Cause,
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
    Reasoning,
    Record,
    Review,
    Side,
    SideVerdict,
    Verdict,
)

FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
MINUTES = 181 * 24 * 60
MONTHS = 7
"""In which the half year lies: the last minute's checkpoint is of July."""
BATCH = 240  # minutes in one transaction
FORTNIGHT = 14 * 24 * 60
WRITER = "benchmark"
TENANTS = ("acme", *(f"tenant-{number:02}" for number in range(1, 24)))
KEPT, STREAMS, REMEMBERED, OBSERVED = TENANTS[0], TENANTS[3], TENANTS[4], TENANTS[5]
"""Whose words are kept, who streams, whose verdicts are remembered, and who only observes."""
SUBJECTS = 50_000
ASKED_ID = "019ced4f-0000-7000-8000-000000000000"
"""The record of question 7."""
_MINUTE_OF_ASKED = int((datetime(2026, 3, 14, 23, 59, tzinfo=timezone.utc) - FIRST).total_seconds() // 60)

COLUMNS = {table.name: tuple(table.columns.keys()) for table in tables.metadata.sorted_tables}
_PLACE = {column: place for place, column in enumerate(COLUMNS["records"])}
_FILLED = (
    *("records", "record_categories", "record_notes", "record_images", "late_traces", "contents", "reviews"),
    *("entries", "checkpoints", "segments", "gaps", "erasures", "erased_records"),
)
Batch = dict[str, list[list[Any]]]
"""Rows by table, in the order of its columns; times are text."""

_CHANCE = random.Random(5)
_WORDS = " ".join("".join(_CHANCE.choices("etaoinshrdlu", k=_CHANCE.randrange(2, 10))) for _ in range(3000))


@dataclass(frozen=True, slots=True)
class Shape:
    """One way in which checks end, as rows that lack time, identity and what is random."""

    record: list[Any]
    children: dict[str, list[list[Any]]]
    late: bool
    waits: bool
    """A person should look at it."""


def listed(table: str, row: dict[str, Any]) -> list[Any]:
    return [row.get(column) for column in COLUMNS[table]]


# --- ways in which checks end


def shapes(engine: EngineInfo, policy: str) -> tuple[list[Shape], list[float]]:
    """Return the shapes of checks by *engine* under *policy*, and how often each comes, accumulated."""
    plain = _record(engine, policy)
    found, weights = [], []
    for outcome, categories, direction, weight in _mix():
        for reasoning, share in ((Reasoning.OFF, 0.94), (Reasoning.DEFERRED, 0.06)):
            unsafe = outcome in (Outcome.BLOCK, Outcome.FLAG)
            refused = outcome in (Outcome.BLOCK, Outcome.UNDECIDED)
            answers = direction is Direction.OUTPUT
            unsure = outcome is Outcome.FLAG and reasoning is Reasoning.OFF
            record = replace(
                plain,
                direction=direction,
                rail=f"railscribe check {direction.value}",
                exchange=Exchange(user="x" * 160, response="y" * 300 if answers else None),
                neutralised=("user_marker",) if unsafe and len(categories) > 1 else (),
                verdict=_verdict(outcome, categories, direction),
                decision=Decision(
                    outcome=outcome,
                    sides=(Side.RESPONSE if answers else Side.USER,),
                    categories=categories if unsafe else (),
                    cause=Cause.TIMEOUT if outcome is Outcome.UNDECIDED else None,
                    rule=f"category '{categories[0]}' blocks" if categories else "nothing applies",
                ),
                enforcement=Enforcement.REFUSED if refused else Enforcement.PASSED,
                reasoning=reasoning,
                reviews=(Review.SCORE_IN_BAND,) if unsure else (),
            )
            rows = rows_of(record, retention_class="default", keep_chars=1000)
            children = {
                table.name: [listed(table.name, row) for row in some]
                for table, some in rows.own.items()
                if some and table not in (tables.records, tables.contents)
            }
            found.append(
                Shape(
                    listed("records", rows.own[tables.records][0]),
                    children,
                    late=reasoning is Reasoning.DEFERRED,
                    waits=outcome is Outcome.FLAG,
                )
            )
            weights.append(weight * share)
    return found, list(accumulate(weights))


def _mix() -> Iterator[tuple[Outcome, tuple[str, ...], Direction, float]]:
    """Yield how checks end, with which categories, in which direction, and how often in a hundred."""
    blocked = (("Violence", 2.0), ("Malware", 1.2), ("PII/Privacy", 1.2), ("Harassment", 0.8))
    for direction, share in ((Direction.INPUT, 0.6), (Direction.OUTPUT, 0.4)):
        yield Outcome.ALLOW, (), direction, 90 * share
        for category, weight in blocked:
            yield Outcome.BLOCK, (category,), direction, weight * share
        yield Outcome.BLOCK, ("Threat", "Violence"), direction, 0.4 * share
        yield Outcome.FLAG, ("Profanity",), direction, 2.0 * share
        yield Outcome.UNDECIDED, (), direction, 2.4 * share


def _verdict(outcome: Outcome, categories: tuple[str, ...], direction: Direction) -> Verdict:
    if outcome is Outcome.UNDECIDED:
        side = SideVerdict(label=Label.UNREADABLE, cause=Cause.TIMEOUT)
    else:
        unsafe = bool(categories)
        side = SideVerdict(label=Label.UNSAFE if unsafe else Label.SAFE, score=0.9 if unsafe else 0.02)
    return Verdict(
        user=side,
        response=side if direction is Direction.OUTPUT else None,
        categories=tuple(Category(name=name, said=name.lower(), known=True) for name in categories),
        reply="User Safety: safe",
    )


def _record(engine: EngineInfo, policy: str) -> Record:
    return Record(
        id=ASKED_ID,
        checked_at=FIRST,
        identity=Identity(tenant=KEPT, session="s", request="r", subject="u"),
        direction=Direction.INPUT,
        rail="",
        host="nemoguardrails 0.24.1",
        exchange=Exchange(user=""),
        rendering=render(load_policy(policy)),
        engine=engine,
        flags=Flags(),
        neutralised=(),
        completion=Completion(
            text="User Safety: safe", finish_reason="stop", prompt_tokens=512, completion_tokens=12
        ),
        verdict=Verdict(user=SideVerdict(label=Label.SAFE)),
        decision=Decision(outcome=Outcome.ALLOW, sides=(Side.USER,)),
        enforcement=Enforcement.PASSED,
        image=None,
        latency_ms={"render": 0.4, "engine": 100.0, "decide": 0.1},
    )


ENGINES = [
    EngineInfo(
        name="openai_compatible",
        model="nvidia/Nemotron-3.5-Content-Safety",
        backend="vllm",
        backend_version=version,
        dtype="bfloat16",
        template_digest=letter * 64,
    )
    for version, letter in (("0.24.0", "a"), ("0.25.0", "b"), ("0.25.1", "c"))
]
POLICIES = ("default", "dev-tools-assistant", "customer-support")


# --- the year


class Year:
    """The rows of *checks* checks, batch by batch; *zone* ends each time, as the database wants it."""

    def __init__(self, checks: int, zone: str = "") -> None:
        self.checks = checks
        self.zone = zone
        self.shapes = {
            (engine, policy): shapes(ENGINES[engine], policy)
            for engine in range(len(ENGINES))
            for policy in POLICIES
        }
        chance = random.Random(9)
        self.tenants = list(accumulate(1 / (place + 1) for place in range(len(TENANTS))))
        self.policy_of = {tenant: chance.choice(POLICIES) for tenant in TENANTS}

    def first_rows(self) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
        """Yield what is there before the first check, in the order of their keys; shared rows come several times."""
        for engine in ENGINES:
            for policy in POLICIES:
                some = rows_of(_record(engine, policy), retention_class="default", keep_chars=1000)
                yield from some.shared.items()
        yield tables.signing_keys, {"id": WRITER, "public_key": "0" * 64}
        by = {"railscribe_version": "benchmark"}
        yield tables.writers, {"id": WRITER, "opened_at": FIRST, "host": WRITER, "pid": 1, "quiet_s": 60} | by
        digests = []
        for policy in POLICIES:
            _, told = registrations.rows_of(load_registration(policy), by="tom", reason="first", at=FIRST)
            yield from told.shared.items()
            for table, parts in told.own.items():
                yield from ((table, row) for row in parts)
            digests.append(told.own[tables.policy_registrations][0]["policy_digest"])
        for number in range(1, 91):
            key = {"name": POLICIES[0], "tag": "production", "tenant": "", "number": number}
            at = {"moved_at": FIRST + timedelta(days=2 * number), "moved_by": "tom", "reason": "better"}
            moved = {"policy_digest": digests[number % 3], "previous_digest": digests[(number - 1) % 3]}
            yield tables.policy_moves, key | at | moved | by
        for number in range(24):
            held = {"id": f"hold-{number}", "held_at": FIRST + timedelta(days=number), "held_by": "legal"}
            whom = {"tenant": TENANTS[number], "subject": f"user-{number}", "reason": "a case"}
            yield tables.holds, held | whom | by
            pruned = {
                "id": f"prune-{number}",
                "pruned_at": FIRST + timedelta(days=7 * number),
                "term_days": 183,
            }
            what = {"retention_class": "default", "before": FIRST, "pruned_by": "ops", "reason": "term"}
            counts = {
                "segments": 1,
                "entries": 1,
                "records": 1,
                "checkpoint_number": 1,
                "checkpoint_hash": "0" * 64,
            }
            yield tables.prunes, pruned | what | counts | by

    def batch(self, first: int, last: int) -> Batch:
        """Return the rows of the minutes from *first* to before *last*."""
        chance = random.Random(first)
        rows: Batch = {name: [] for name in _FILLED}
        for minute in range(first, last):
            self._minute(minute, chance, rows)
        self._rare(first, rows)
        return rows

    def _time(self, at: datetime) -> str:
        return f"{at:%Y-%m-%d %H:%M:%S.%f}{self.zone}"

    def _minute(self, minute: int, chance: random.Random, rows: Batch) -> None:
        count = self.checks * (minute + 1) // MINUTES - self.checks * minute // MINUTES
        begins = FIRST + timedelta(minutes=minute)
        some = _Minute(self, minute, begins, chance, rows)
        for offset in sorted(int(chance.random() * 60_000_000) for _ in range(count)):
            some.check(offset)
        random_hex = f"{chance.getrandbits(256):064x}"
        rows["checkpoints"].append(
            [minute + 1, self._time(begins + timedelta(seconds=60)), WRITER, "scheduled", None, WRITER,
             random_hex, "{}", random_hex * 2]
        )  # fmt: skip
        if some.entries:
            rows["segments"].append(
                [
                    some.segment,
                    WRITER,
                    minute,
                    "default",
                    f"{begins:%Y-%m}",
                    some.entries,
                    random_hex,
                    minute + 1,
                ]
            )

    def _rare(self, first: int, rows: Batch) -> None:
        """An erasure in each batch, and every three days an outage in which something was not recorded."""
        at = self._time(FIRST + timedelta(minutes=first))
        named = rows["records"][:10]
        name = f"erasure-{first}"
        rows["erasures"].append(
            [name, at, KEPT, "0" * 64, "privacy", "asked to", len(named), 20, 0, "benchmark"]
        )
        rows["erased_records"].extend([name, row[_PLACE["checked_at"]], row[_PLACE["id"]]] for row in named)
        if first % (72 * 60) == 0:
            rows["gaps"].append([at, f"gap-{first}", WRITER, 7, at, at, "held_back", "the database was away"])


class _Minute:
    """The checks of one minute, which are one segment."""

    def __init__(self, year: Year, minute: int, begins: datetime, chance: random.Random, rows: Batch) -> None:
        self._year, self._minute, self._begins = year, minute, begins
        self._chance, self._rows = chance, rows
        self._engine = min(2, minute * 3 // MINUTES)
        self._prefix = f"{begins:%Y-%m-%d %H:%M:}"
        self._milliseconds = int(begins.timestamp() * 1000)
        self._streamed = 0
        self.segment = f"{WRITER}.{minute}"
        self.entries = 0

    def check(self, offset: int) -> None:
        year, chance, rows = self._year, self._chance, self._rows
        tenant = TENANTS[bisect(year.tenants, chance.random() * year.tenants[-1])]
        found, weights = year.shapes[self._engine, year.policy_of[tenant]]
        shape = found[bisect(weights, chance.random() * weights[-1])]
        noise = chance.getrandbits(512)
        number = noise & 0xFFFFFFFFFFFF
        identity = self._identity(offset, number, noise)
        at = f"{self._prefix}{offset // 1_000_000:02}.{offset % 1_000_000:06}{year.zone}"
        place, row = _PLACE, shape.record.copy()
        row[place["checked_at"]], row[place["id"]], row[place["tenant"]] = at, identity, tenant
        row[place["session"]] = f"session-{number % 3_000_000}"
        row[place["request"]] = f"{number:012x}"
        row[place["subject"]] = f"user-{number % SUBJECTS}"
        commitment = f"{noise:0128x}"
        row[place["user_commitment"]], row[place["reply_commitment"]] = commitment[:64], commitment[64:]
        if row[place["response_chars"]] is not None:
            row[place["response_commitment"]] = commitment[32:96]
        row[place["engine_ms"]] = engine_ms = round(chance.lognormvariate(5.3, 0.45), 3)
        row[place["total_ms"]] = engine_ms + 0.5
        rows["records"].append(row)
        self._enter(at, "record", identity, commitment[16:80])
        for table, some in shape.children.items():
            for child in some:
                rows[table].append([at, identity, *child[2:]])
        if number % 100 == 0:
            self._picture(row, at, identity, commitment)
        if tenant in (KEPT, STREAMS, REMEMBERED, OBSERVED):
            self._of_tenant(tenant, row, at, identity, number, commitment)
        waits = shape.waits
        if shape.late and number % 500:  # the others are awaited
            rows["late_traces"].append(self._late(at, identity, number, offset))
            self._enter(at, "late_trace", identity, commitment[24:88])
            waits = waits or number % 30 == 2 or number % 200 in (1, 3)
        if (waits or (shape.late and not number % 500)) and self._minute < MINUTES - FORTNIGHT:
            self._review(row, at, identity, number, commitment)

    def _identity(self, offset: int, number: int, noise: int) -> str:
        if self._minute == _MINUTE_OF_ASKED and not self.entries:
            return ASKED_ID
        at = self._milliseconds + offset // 1000
        return f"{at >> 16:08x}-{at & 0xFFFF:04x}-7{noise >> 60 & 0xFFF:03x}-8000-{number:012x}"

    def _enter(self, at: str, kind: str, identity: str, leaf: str) -> None:
        self._rows["entries"].append([at, kind, identity, self.segment, self.entries, leaf])
        self.entries += 1

    def _picture(self, row: list[Any], at: str, identity: str, commitment: str) -> None:
        row[_PLACE["image_count"]], row[_PLACE["image_use"]] = 1, "native"
        told = {
            "checked_at": at, "record_id": identity, "position": 0, "kind": "image", "media_type": "image/png",
            "width": 800, "height": 600, "size_bytes": 90_000, "commitment": commitment[8:72], "frame": 1,
            "frames": 1, "mode": "RGB", "orientation": 1, "perceptual_commitment": commitment[9:73],
            "use": "native", "seen_width": 896, "seen_height": 896,
        }  # fmt: skip
        self._rows["record_images"].append(listed("record_images", told))

    def _of_tenant(
        self, tenant: str, row: list[Any], at: str, identity: str, number: int, commitment: str
    ) -> None:
        """What sets four of the tenants apart from the others."""
        place = _PLACE
        answers = row[place["response_chars"]] is not None
        if tenant == STREAMS and answers:
            part = self._streamed % 4
            row[place["stream"]] = f"stream-{self._minute}-{self._streamed // 4}"
            row[place["stream_part"]], row[place["stream_final"]] = part, part == 3
            self._streamed += 1
        elif tenant == REMEMBERED and number % 10 == 0:
            row[place["repeats"]] = ASKED_ID
        elif tenant == OBSERVED:
            row[place["rollout"]] = "observe"
            if row[place["enforcement"]] == "refused":
                row[place["enforcement"]] = "observed"
        elif tenant == KEPT:
            for kind, chars in (("user", 160), ("response", 300), ("reply", 17)):
                if kind != "response" or answers:
                    begins = (number + chars) % 10_000
                    self._rows["contents"].append(
                        [at, identity, kind, 0, commitment[chars % 90 :][:32], _WORDS[begins : begins + chars],
                         False]
                    )  # fmt: skip

    def _late(self, at: str, identity: str, number: int, offset: int) -> list[Any]:
        lost, ended = number % 200 == 1, self._begins + timedelta(microseconds=offset + 4_000_000)
        told = {
            "checked_at": at,
            "record_id": identity,
            "requested_at": at,
            "ended_at": self._year._time(ended),
            "state": "lost" if lost else "received",
            "cause": "closed" if lost else None,
            "user_label": None if lost else ("unsafe" if number % 30 == 2 else "safe"),
            "disagrees": None if lost else number % 30 == 2,
            "contradicts": None if lost else number % 200 == 3,
            "engine_ms": None if lost else 3900.0,
            "trace_chars": None if lost else 600,
        }
        return listed("late_traces", told)

    def _review(self, row: list[Any], at: str, identity: str, number: int, commitment: str) -> None:
        """Somebody looked at it within two days; one in fifty was escalated, and then decided."""
        escalated = number % 50 == 7
        tenant, outcome = row[_PLACE["tenant"]], row[_PLACE["outcome"]]
        said = ("escalate", "uphold") if escalated else ("overturn" if number % 12 == 5 else "uphold",)
        for place, decision in enumerate(said):
            when = self._begins + timedelta(minutes=number % 2880 + 60 * place)
            self._rows["reviews"].append(
                [at, identity, place + 1, tenant, outcome, decision, "read it", f"reviewer-{number % 7}",
                 self._year._time(when), place or None, "benchmark"]
            )  # fmt: skip
            self._enter(
                self._year._time(when),
                "review",
                f'["{identity}", {place + 1}]',
                commitment[place : 64 + place],
            )
