"""The thirty questions of examples/audit_queries.sql, against answers that Python works out from the records."""

from __future__ import annotations

import random
import re
import runpy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from railscribe.audit import AuditStore, PolicyRegistry, attesting, policies, tables
from railscribe.audit.bundle import write_bundle
from railscribe.audit.formats import Format
from railscribe.audit.rows import EntryKind, Rows, fingerprint
from railscribe.audit.selecting import Selection
from railscribe.audit.store import _plain
from railscribe.policy import load_policy, render
from railscribe.policy.load import load_registration
from railscribe.values import (
    Cause,
    Decision,
    Enforcement,
    Exchange,
    Flags,
    Identity,
    ImageReading,
    ImageUse,
    Label,
    LateState,
    LateTrace,
    Lost,
    Outcome,
    Reasoning,
    Record,
    Review,
    Side,
    SideVerdict,
    Verdict,
)

QUESTIONS = Path(__file__).parents[2] / "examples" / "audit_queries.sql"
DAY = "2026-03-14"
NOON = datetime(2026, 3, 14, 12, tzinfo=timezone.utc)
BEGUN = datetime(2026, 3, 13, 19, 30, tzinfo=timezone.utc)
"""When the writer begins."""
LOST = 7
"""Entries that a gap of the hour before noon says were not recorded."""

Row = tuple[Any, ...]
Answer = Callable[["History"], list[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a policy."""

    at: datetime
    event: str
    name: str
    digest: str
    version: str
    by: str
    reason: str | None = None
    tag: str | None = None
    tenant: str | None = None
    previous: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a test puts into a store."""

    records: list[Record]
    lates: list[LateTrace]
    events: list[Event]

    def late(self, record: Record) -> LateTrace | None:
        return next((late for late in self.lates if late.record_id == record.id), None)

    def on(self, day: str) -> list[Record]:
        return [record for record in self.records if day_of(record) == day]


def questions() -> dict[str, str]:
    """Return the questions by their titles, as a reader of the file would run them."""
    text = QUESTIONS.read_text(encoding="utf-8")
    return dict(re.findall(r"^-- (\d+\. .*)\n([^;]+;)", text, re.MULTILINE))


# --- what is put in


@pytest.fixture
def history(
    blocked: Callable[..., Record], undecided: Callable[..., Record], late: Callable[..., LateTrace]
) -> History:
    """Three days of two tenants: every outcome, three engines, two policies, pictures, thinking, and failures."""
    chance = random.Random(14)
    records = [blocked(0)]
    for number in range(1, 80):
        kind = chance.choices(("blocked", "undecided", "allowed"), (30, 12, 38))[0]
        record = undecided(number) if kind == "undecided" else blocked(number)
        record = _allowed(record, chance) if kind == "allowed" else record
        records.append(_varied(record, chance))
    lates = [
        _late_of(late(record), record, chance)
        for record in records
        if record.reasoning is Reasoning.DEFERRED and chance.random() < 0.8
    ]
    return History(records=records, lates=lates, events=[])


def _allowed(record: Record, chance: random.Random) -> Record:
    unsafe = chance.random() < 0.3
    score, label = (0.6, Label.UNSAFE) if unsafe else (0.01, Label.SAFE)
    return replace(
        record,
        exchange=Exchange(user="hello", response="hi"),
        image=None,
        readings=(),
        neutralised=(),
        verdict=Verdict(
            user=SideVerdict(label=label, score=score),
            response=SideVerdict(label=Label.UNREADABLE, cause=Cause.TRUNCATED)
            if chance.random() < 0.2
            else SideVerdict(label=Label.SAFE, score=0.02),
            reply="User Safety: safe",
        ),
        decision=Decision(outcome=Outcome.ALLOW, sides=(Side.USER,), rule="nothing applies"),
        enforcement=Enforcement.PASSED,
    )


def _varied(record: Record, chance: random.Random) -> Record:
    """Return *record* at another time, of somebody else, by another engine, thought about or not."""
    outcome = record.decision.outcome
    if outcome is Outcome.BLOCK:
        turn = chance.random()
        if turn < 0.3:
            record = replace(
                record,
                decision=replace(record.decision, outcome=Outcome.FLAG, rule="category 'Malware' flags"),
                enforcement=Enforcement.PASSED,
            )
        elif turn < 0.5:
            record = replace(record, decision=replace(record.decision, categories=(), rule=""))
        elif turn < 0.7:
            record = replace(record, decision=replace(record.decision, categories=("Violence", "spite")))
    elif outcome is Outcome.UNDECIDED:
        cause = chance.choice([Cause.TIMEOUT, Cause.MODALITY])
        record = replace(
            record,
            decision=replace(record.decision, cause=cause),
            enforcement=chance.choice(list(Enforcement)),
        )
    thinking = chance.choice([Reasoning.OFF, Reasoning.OFF, Reasoning.DEFERRED])
    reviews = [(), (Review.SCORE_IN_BAND,), (Review.THINK_DISAGREES, Review.TRACE_MISSING)]
    return replace(
        record,
        checked_at=datetime(2026, 3, 13, 20, tzinfo=timezone.utc)
        + timedelta(minutes=chance.randrange(48 * 60), microseconds=int(record.id[-2:], 16)),
        identity=Identity(
            tenant=chance.choice(["acme", "other"]),
            session=chance.choice([None, "s-1"]),
            subject=chance.choice([None, "user-42", "user-7"]),
        ),
        rendering=chance.choice(
            [record.rendering, render(load_policy("default")), render(load_policy("dev-tools-assistant"))]
        ),
        engine=chance.choice([record.engine, replace(record.engine, dtype="bfloat16", adapter="acme")]),
        flags=Flags(thinking=chance.random() < 0.5),
        neutralised=chance.choice([(), ("user_marker", "conversation_marker")]),
        image=chance.choice([record.image, None, ImageReading(use=ImageUse.NOT_JUDGED)]),
        reasoning=thinking,
        reviews=chance.choice(reviews),
        latency_ms={
            "render": 0.5,
            "engine": float(chance.randrange(10, 400)),
            "decide": chance.randrange(8) / 8,
        }
        if chance.random() < 0.9
        else {},
    )


def _late_of(late: LateTrace, record: Record, chance: random.Random) -> LateTrace:
    turn = chance.random()
    if turn < 0.2:
        return replace(late, state=LateState.LOST, cause=Lost.CLOSED, verdict=None, completion=None,
                       disagrees=None, contradicts=None, engine_ms=None)  # fmt: skip
    label = chance.choice([Label.SAFE, Label.UNSAFE])
    told = record.verdict.user.label
    verdict = Verdict(
        user=SideVerdict(label=label, score=0.5), trace="Because.", reply="<think>Because.</think>"
    )
    return replace(
        late,
        verdict=verdict,
        disagrees=told is not Label.UNREADABLE and told is not label,
        contradicts=turn > 0.8,
    )


def put(store: AuditStore, history: History, monkeypatch: pytest.MonkeyPatch) -> History:
    """Put *history* into *store*, and some events of policies; return it with these."""
    registry = PolicyRegistry(store)
    events: list[Event] = []
    clock = BEGUN
    monkeypatch.setattr(attesting, "now", lambda: clock)
    store.append_rows([_gap()], "Writing a gap")
    times = iter(NOON + timedelta(hours=hours) for hours in (-9, -8, -2, 1, 6))
    monkeypatch.setattr(policies, "_now", lambda: next(times))
    dev, default = (load_registration(name) for name in ("dev-tools-assistant", "default"))
    for registration, by, reason in ((dev, "alice", "first"), (default, "bob", None)):
        at = NOON + timedelta(hours=-9 + len(events))
        registry.register(registration, by=by, reason=reason)
        events.append(_event(registration.policy, at, event="registered", by=by, reason=reason))
    previous: dict[Any, Any] = {}
    for policy, tag, tenant, hours in (
        (dev.policy, "prod", None, -2),
        (dev.policy, "prod", "acme", 1),
        (dev.policy, "canary", None, 6),
    ):
        registry.move(policy.name, tag, policy.digest, by="carol", tenant=tenant, reason="because")
        key = (policy.name, tag, tenant)
        event = _event(policy, NOON + timedelta(hours=hours), event="moved", by="carol", reason="because")
        events.append(replace(event, tag=tag, tenant=tenant, previous=previous.get(key)))
        previous[key] = policy.digest
    for record in in_order(history.records):
        clock = record.checked_at
        store.append(record)
    for late in history.lates:
        store.append_late_trace(late)
    return replace(history, events=events)


def _gap() -> Rows:
    row = {
        "at": NOON,
        "id": "gap-1",
        "writer": "w-1",
        "count": LOST,
        "since": NOON - timedelta(minutes=1),
        "until": NOON,
        "cause": "spool_full",
    }
    return Rows(kind=EntryKind.GAP, at=NOON, id="gap-1", shared={}, own={tables.gaps: [row]})


def _event(policy: Any, at: datetime, **more: Any) -> Event:
    return Event(at=at, name=policy.name, digest=policy.digest, version=policy.version, **more)


# --- what Python says of it


def when(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


def day_of(record: Record) -> str:
    return when(record.checked_at)[:10]


def cause_of(record: Record) -> str | None:
    return record.decision.cause.value if record.decision.cause else None


def unsafe(record: Record) -> bool:
    sides = (record.verdict.user, record.verdict.response)
    return any(side is not None and side.label is Label.UNSAFE for side in sides)


def policy_of(record: Record) -> tuple[str, str, str]:
    rendering = record.rendering
    return rendering.policy_name, rendering.policy_version, rendering.policy_digest


def counted(rows: Iterable[Row]) -> list[Row]:
    """Return each of *rows* once, with how often it is there, in their order."""
    return [
        (*row, count) for row, count in sorted(Counter(rows).items(), key=lambda item: nulls_first(item[0]))
    ]


def most_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(counted(rows), key=lambda row: (-row[-1], nulls_first(row[:-1])))


def nulls_first(row: Sequence[Any]) -> list[tuple[bool, Any]]:
    return [(value is not None, value if value is not None else 0) for value in row]


def in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda record: (record.checked_at, record.id))


def deciding(record: Record) -> list[str]:
    """Return the categories that decided, in the order in which they are listed."""
    return list(record.decision.categories)


def named(record: Record) -> str | None:
    return ", ".join(deciding(record)) or None


def by_category(records: Iterable[Record]) -> Iterable[tuple[Record, str]]:
    for record in records:
        for name in deciding(record) or ["(none named)"]:
            yield record, name


def why(record: Record) -> str:
    name, version, _ = policy_of(record)
    if record.decision.outcome is Outcome.BLOCK:
        return f"Blocked by policy {name} {version}: {record.decision.rule or 'judged unsafe'}"
    if record.decision.outcome is Outcome.UNDECIDED:
        cause = cause_of(record)
        return f"No decision could be made ({cause}), and the rail refuses what is undecided"
    outcome = record.decision.outcome.value
    return f"Refused by the rail, although the decision of policy {name} {version} was: {outcome}"


def clause(record: Record, name: str | None) -> tuple[str | None, str | None, int | None]:
    """Return the clause of the record's policy that the category *name* is of, with its file and line."""
    if name is not None:
        for found in load_registration(record.rendering.policy_name).clauses:
            text = found.text
            if found.kind == "category" and (text == name or text.startswith(f"{name}: ")):
                source = found.source
                return text, source.file if source else None, source.line if source else None
    return None, None, None


def first_clause(record: Record) -> tuple[str | None, str | None, int | None]:
    return clause(record, next(iter(deciding(record)), None))


def refused(history: History) -> list[Record]:
    return in_order(r for r in history.records if r.enforcement is Enforcement.REFUSED)


def engine_of(record: Record) -> tuple[Any, ...]:
    return record.engine.name, record.engine.model


def nearest_rank(values: Iterable[float], percent: int) -> float | None:
    """Return the smallest of *values* that at least *percent* of them do not exceed."""
    ordered = sorted(values)
    return next(
        (value for place, value in enumerate(ordered, 1) if place * 100 >= percent * len(ordered)), None
    )


def latencies(history: History) -> dict[Row, list[Record]]:
    groups = defaultdict(list)
    for record in history.records:
        groups[(day_of(record), *policy_of(record), fingerprint(record.engine))].append(record)
    return groups


def stage(records: Iterable[Record], name: str) -> list[float]:
    latencies = [record.latency_ms for record in records if record.latency_ms]
    return [sum(ms.values()) if name == "total" else ms[name] for ms in latencies]


ANSWERS: dict[int, Answer] = {}


def answers(number: int) -> Callable[[Answer], Answer]:
    def note(answer: Answer) -> Answer:
        ANSWERS[number] = answer
        return answer

    return note


@answers(1)
def _how_checks_ended(history: History) -> list[Row]:
    return counted((day_of(r), r.decision.outcome.value, r.enforcement.value) for r in history.records)


@answers(2)
def _blocked(history: History) -> list[Row]:
    found = [r for r in history.records if r.decision.outcome is Outcome.BLOCK]
    return most_first((r.rendering.policy_name, name) for r, name in by_category(found))


@answers(3)
def _share(history: History) -> list[Row]:
    rows = []
    for (month, tenant), count in sorted(
        Counter((day_of(r)[:7], r.identity.tenant) for r in history.records).items()
    ):
        away = sum(
            r.enforcement is Enforcement.REFUSED for r in history.records if r.identity.tenant == tenant
        )
        rows.append((month, tenant, count, away, pytest.approx(100 * away / count, abs=0.006)))
    return rows


@answers(4)
def _categories_of_tenant(history: History) -> list[Row]:
    found = [
        r
        for r in history.records
        if r.identity.tenant == "acme" and r.decision.outcome in (Outcome.BLOCK, Outcome.FLAG)
    ]
    return counted((day_of(r), name, r.decision.outcome.value) for r, name in by_category(found))


@answers(5)
def _who_was_refused(history: History) -> list[Row]:
    return [
        (when(r.checked_at), r.id, r.identity.tenant, r.identity.subject, r.direction.value, why(r), *first_clause(r))
        for r in refused(history)
        if day_of(r) == DAY
    ]  # fmt: skip


@answers(6)
def _refused_to_one(history: History) -> list[Row]:
    return [
        (when(r.checked_at), r.id, named(r), why(r), *policy_of(r), first_clause(r)[0])
        for r in refused(history)
        if (r.identity.tenant, r.identity.subject) == ("acme", "user-42")
    ]


@answers(7)
def _why_this_one(history: History) -> list[Row]:
    record = history.records[0]
    decided = (record.decision.outcome.value, record.enforcement.value, record.decision.rule)
    rows = []
    for category in record.verdict.categories:
        scores = [of[category.name] for of in record.verdict.category_scores.values() if category.name in of]
        told = (category.name in deciding(record), max(scores, default=None), *policy_of(record)[:2])
        name = (category.name, category.said, category.known)
        rows.append((*decided, *name, *told, *clause(record, category.name)))
    return sorted(rows, key=lambda row: (not row[6], row[3]))


@answers(8)
def _whose_words(history: History) -> list[Row]:
    found = in_order(r for r in history.records if r.decision.outcome is Outcome.BLOCK)[::-1][:20]
    return [
        (when(r.checked_at), r.identity.tenant, r.identity.subject, "block", named(r), r.exchange.user,
         r.exchange.response, r.verdict.trace)
        for r in found
    ]  # fmt: skip


@answers(9)
def _undecided(history: History) -> list[Row]:
    return most_first(
        (cause_of(r), r.enforcement.value, r.engine.name)
        for r in history.records
        if r.decision.outcome is Outcome.UNDECIDED
    )


@answers(10)
def _let_through(history: History) -> list[Row]:
    return counted(
        (day_of(r), r.identity.tenant, r.rail, r.rendering.policy_name, cause_of(r))
        for r in history.records
        if r.enforcement is Enforcement.PASSED and r.decision.outcome is Outcome.UNDECIDED
    )


@answers(11)
def _passed_although_unsafe(history: History) -> list[Row]:
    groups = defaultdict(list)
    for r in history.records:
        if r.enforcement is Enforcement.PASSED:
            groups[(*policy_of(r)[:2], r.decision.outcome.value)].append(unsafe(r))
    rows = [(*key, sum(found), len(found)) for key, found in groups.items() if any(found)]
    return sorted(rows, key=lambda row: (-row[3], row[:3]))


@answers(12)
def _failures(history: History) -> list[Row]:
    rows = []
    for r in history.on(DAY):
        failed = []
        if r.decision.outcome is Outcome.UNDECIDED:
            failed.append(("decision", cause_of(r)))
        else:
            sides = (("user", r.verdict.user), ("response", r.verdict.response))
            failed += [(name, side.cause.value) for name, side in sides if side is not None and side.cause]
        late = history.late(r)
        if late is not None and late.state is not LateState.RECEIVED and late.cause:
            failed.append(("late_trace", late.cause.value))
        ended = (r.decision.outcome.value, r.enforcement.value, r.engine.name)
        reason = r.completion.finish_reason if r.completion else None
        rows += [(when(r.checked_at), r.id, *failure, *ended, reason) for failure in failed]
    return sorted(rows, key=lambda row: row[:3])


@answers(13)
def _flagged(history: History) -> list[Row]:
    return [
        (when(r.checked_at), r.id, r.identity.tenant, r.rendering.policy_name, named(r), r.decision.rule)
        for r in in_order(history.records)
        if r.decision.outcome is Outcome.FLAG
    ][:50]


@answers(14)
def _to_look_at(history: History) -> list[Row]:
    found = []
    for r in history.on(DAY):
        rest = (r.rendering.policy_name, r.decision.outcome.value)
        found += [(review.value, "check", *rest) for review in r.reviews]
        late = history.late(r)
        if late is None:
            found += [("trace_awaited", "check", *rest)] * (r.reasoning is Reasoning.DEFERRED)
            continue
        found += [("think_disagrees", "late_trace", *rest)] * bool(late.disagrees)
        found += [("trace_contradicts", "late_trace", *rest)] * bool(late.contradicts)
        found += [("trace_missing", "late_trace", *rest)] * (late.verdict is None)
    return most_first(found)


@answers(15)
def _disagreements(history: History) -> list[Row]:
    found: list[Row] = []
    for r in history.on(DAY) + history.on("2026-03-15"):
        rest = (r.rendering.policy_name, r.engine.name)
        if Review.THINK_DISAGREES in r.reviews:
            found.append(("think_disagrees", "check", *rest, None))
        late = history.late(r)
        if late is None or late.verdict is None:
            continue
        both = (r.verdict.user.label, late.verdict.user.label)
        thinking = {(Label.SAFE, Label.UNSAFE): "stricter", (Label.UNSAFE, Label.SAFE): "milder"}.get(both)
        found += [("think_disagrees", "late_trace", *rest, thinking)] * bool(late.disagrees)
        found += [("trace_contradicts", "late_trace", *rest, thinking)] * bool(late.contradicts)
    return most_first(found)


@answers(16)
def _missing_traces(history: History) -> list[Row]:
    asked = defaultdict(list)
    for r in history.records:
        if r.flags.thinking:
            key = (r.engine.name, r.engine.model, r.rendering.policy_name)
            asked[key].append(r.verdict.trace is None)
    rows = [(*key, len(missing), sum(missing)) for key, missing in asked.items()]
    return sorted(rows, key=lambda row: (-row[4], row[:3]))


@answers(17)
def _deferred(history: History) -> list[Row]:
    found: dict[Row, list[bool]] = defaultdict(list)
    for r in history.on(DAY):
        if r.reasoning is Reasoning.DEFERRED:
            late = history.late(r)
            cause = late.cause.value if late and late.cause else None
            found[late.state.value if late else "awaited", cause].append(bool(late and late.disagrees))
    rows = [(*key, len(late), sum(late)) for key, late in found.items()]
    return sorted(rows, key=lambda row: (-row[2], nulls_first(row)))


@answers(18)
def _under_which_policy(history: History) -> list[Row]:
    groups = defaultdict(list)
    for r in history.records:
        groups[policy_of(r)].append(when(r.checked_at))
    rows = [(*policy, min(times), max(times), len(times)) for policy, times in groups.items()]
    return sorted(rows, key=lambda row: (row[3], row[2]))


@answers(19)
def _policy_changes(history: History) -> list[Row]:
    return [
        (when(e.at), e.event, e.name, e.tag, e.tenant, e.version, e.digest, e.previous, e.by, e.reason)
        for e in history.events
    ]


@answers(20)
def _tags_at_noon(history: History) -> list[Row]:
    return [
        (e.name, e.tag, e.tenant, e.version, e.digest, when(e.at), None)
        for e in history.events
        if e.event == "moved" and e.at <= NOON
    ]


@answers(21)
def _machinery(history: History) -> list[Row]:
    groups = defaultdict(list)
    for r in history.records:
        groups[r.engine].append(r)
    rows: list[Row] = []
    before = None
    for engine, records in sorted(groups.items(), key=lambda item: min(r.checked_at for r in item[1])):
        fields = [*("name", "model", "revision", "adapter", "adapter_digest", "template_digest")]
        fields += ["backend", "backend_version", "dtype", "decoding"]
        changed = None
        if before is not None:
            differing = [name for name in fields if getattr(engine, name) != getattr(before, name)]
            changed = ", ".join("engine" if name == "name" else name for name in differing)
        shown = [engine.name, engine.model, engine.revision, engine.adapter, engine.backend]
        shown += [engine.backend_version, engine.dtype]
        times = [when(r.checked_at) for r in records]
        days = len({day_of(r) for r in records})
        rows.append((*shown, min(times), max(times), days, len(records), changed))
        before = engine
    return rows


@answers(22)
def _machinery_of_a_day(history: History) -> list[Row]:
    count = Counter(r.engine for r in history.on("2026-03-15"))
    rows = sorted(count.items(), key=lambda item: (-item[1], fingerprint(item[0])))
    return [
        (e.name, e.model, e.revision, e.adapter_digest, e.template_digest, e.backend, e.backend_version, n)
        for e, n in rows
    ]


@answers(23)
def _how_long(history: History) -> list[Row]:
    rows = []
    for (day, name, _, digest, engine), records in sorted(
        latencies(history).items(), key=lambda item: (item[0][0], item[0][1], item[0][3], item[0][4])
    ):
        del digest, engine
        told = [nearest_rank(stage(records, of), p) for of in ("engine", "total") for p in (50, 95, 99)]
        rows.append((day, name, records[0].engine.name, len(records), *told))
    return sorted(rows, key=lambda row: row[:3])  # stable


@answers(24)
def _slowest(history: History) -> list[Row]:
    rows: list[tuple[Any, ...]] = []
    for (day, name, _, digest, engine), records in latencies(history).items():
        total = stage(records, "total")
        if total:
            shown = (day, name, records[0].engine.name, len(records), nearest_rank(total, 95), max(total))
            rows.append((shown, digest, engine))
    rows.sort(key=lambda row: (-row[0][4], row[0][0], row[1], row[2]))
    return [row[0] for row in rows[:10]]


@answers(25)
def _forged(history: History) -> list[Row]:
    return [
        (when(r.checked_at), r.id, r.identity.tenant, r.identity.subject, r.identity.session, marker,
         r.decision.outcome.value)
        for r in in_order(history.records)[::-1]
        for marker in r.neutralised
    ][:100]  # fmt: skip


@answers(26)
def _pictures(history: History) -> list[Row]:
    return counted((r.image.use.value, r.decision.outcome.value) for r in history.records if r.image)


@answers(27)
def _held(history: History) -> list[Row]:
    mine = in_order(
        r for r in history.records if (r.identity.tenant, r.identity.subject) == ("acme", "user-42")
    )
    held: dict[str, list[Record]] = defaultdict(list)
    for r in mine:
        kinds = ["record", "user"]
        kinds += ["response"] * (r.exchange.response is not None) + ["trace"] * (r.verdict.trace is not None)
        kinds += ["reply"] * (r.verdict.reply is not None)
        kinds += ["image_text"] * bool(r.readings)
        kinds += ["image", "image_perceptual"] * len(r.exchange.images)
        late = history.late(r)
        if late is not None and late.verdict is not None:
            kinds += ["late_trace", "late_reply"]
        for kind in kinds:
            held[kind].append(r)
    return [
        ("default", "full", kind, len({r.id for r in records}), len(records), when(records[0].checked_at),
         when(records[-1].checked_at))
        for kind, records in sorted(held.items())
    ]  # fmt: skip


@answers(28)
def _statements(history: History) -> list[Row]:
    rows = []
    for r in refused(history):
        if day_of(r) != DAY or r.identity.tenant != "acme":
            continue
        name, version, digest = policy_of(r)
        rows.append(
            (r.id, when(r.checked_at), "refused", "text and image" if r.exchange.images else "text",
             next(iter(deciding(r)), "none named"), why(r),
             "undecided" if r.decision.outcome is Outcome.UNDECIDED else "policy",
             f"{name} {version} ({digest})", first_clause(r)[0], "yes", "full")
        )  # fmt: skip
    return rows


def checkpoints(history: History) -> list[datetime]:
    """Return when checkpoints are made: at the beginning, and by an append a minute or more after the last."""
    made = [BEGUN]
    for record in in_order(history.records):
        if record.checked_at >= made[-1] + timedelta(seconds=60):
            made.append(record.checked_at)
    return made


def hour(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:00")


def hours(history: History) -> list[str]:
    last = max(record.checked_at for record in history.records)
    count = int((last.replace(minute=0) - BEGUN.replace(minute=0)).total_seconds() // 3600) + 1
    return [hour(BEGUN + timedelta(hours=number)) for number in range(count)]


@answers(29)
def _not_vouched_for(history: History) -> list[Row]:
    checks = Counter(hour(r.checked_at) for r in history.records)
    signed = Counter(map(hour, checkpoints(history)))
    gap = "2026-03-14 11:00"
    return [
        (name, checks[name], signed[name], int(name == gap), LOST * (name == gap))
        for name in hours(history)
        if not signed[name] or name == gap
    ]


@answers(30)
def _coverage(history: History) -> list[Row]:
    times = sorted(when(r.checked_at) for r in history.records)
    counts = (
        len({r.identity.tenant for r in history.records}),
        len({policy_of(r) for r in history.records}),
        len({r.engine for r in history.records}),
    )
    all_hours = hours(history)
    covered = len(set(map(hour, checkpoints(history))))
    return [("2026-03", times[0], times[-1], len(times), *counts, len(all_hours), covered, 1, LOST)]


# --- and whether they agree


def test_duckdb_answers_an_export_alike(
    any_url: str, history: History, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over Parquet, with the views that the export ships, DuckDB says of each question what Python says."""
    duckdb_questions = runpy.run_path(str(QUESTIONS.with_name("duckdb_questions.py")))
    with AuditStore.open(any_url) as store:
        history = put(store, history, monkeypatch)
        with store.transaction("Exporting", snapshot=True) as connection:
            write_bundle(
                connection, tmp_path / "export", form=Format.PARQUET, selection=Selection(content=True)
            )

    with duckdb_questions["open_export"](tmp_path / "export") as export:
        found = {
            title: [tuple(map(_plain, row)) for row in duckdb_questions["ask"](export, sql)]
            for title, sql in duckdb_questions["questions"]()
        }

    expected = {title: ANSWERS[int(title.partition(".")[0])](history) for title in found}
    assert {title: (rows, expected[title]) for title, rows in found.items() if rows != expected[title]} == {}
    assert len(found) == 30


def test_every_answer_is_known(any_url: str, history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question has an answer, which is what Python works out from the records alone."""
    with AuditStore.open(any_url) as store:
        history = put(store, history, monkeypatch)
        found = {title: store.select(sql)[1] for title, sql in questions().items()}
        store.seal()
        store.summarise()
        summed = {title: store.select(sql)[1] for title, sql in questions().items()}

    numbers = [int(title.partition(".")[0]) for title in found]
    wrong = {
        title: (rows, expected)
        for number, (title, rows) in zip(numbers, found.items(), strict=True)
        if rows != (expected := ANSWERS[number](history)) or not rows
    }
    assert wrong == {}
    assert numbers == list(range(1, 31))
    assert {title for title in found if found[title] != summed[title]} == set()
