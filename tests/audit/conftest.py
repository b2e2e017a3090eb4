"""Both databases under one name, and records to put into them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from railscribe.audit import (
    AuditStore,
    Holds,
    PolicyRegistry,
    ReviewDecision,
    Reviews,
    Scope,
    erase,
    prune,
    tables,
)
from railscribe.audit.content_keys import LocalKeyFile, new_key
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.forms import Encrypted
from railscribe.audit.rows import EntryKind, Rows, late_rows, rows_of
from railscribe.audit.schema import upgrade
from railscribe.policy import load_policy, render
from railscribe.policy.diagnostics import Diagnostic, Severity
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
    Image,
    ImageReading,
    ImageUse,
    Label,
    LateState,
    LateTrace,
    Outcome,
    Piece,
    Probe,
    ProbeName,
    ProbeResult,
    Reasoning,
    Record,
    Review,
    Side,
    SideVerdict,
    Verdict,
)

_ON_BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
_READING = ImageReading(
    use=ImageUse.SEEN_AND_READ, text="STAB HERE", reader="rapidocr 3.10.0", seen_size=(896, 890)
)
FIRST = datetime(2026, 3, 14, 23, 59, 58, 123456, tzinfo=timezone.utc)

RecordFactory = Callable[..., Record]


@pytest.fixture(params=_ON_BOTH)
def any_url(request: pytest.FixtureRequest) -> str:
    """The URL of a database at head without records, on each of the two databases in turn."""
    name = "database_url" if request.param == "sqlite" else "postgres_url"
    return str(request.getfixturevalue(name))


@pytest.fixture(params=_ON_BOTH)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table, on each of the two databases in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def own_url(empty_url: str) -> str:
    """The URL of a database at head that is the test's own to break, on each of the two databases in turn."""
    upgrade(empty_url)
    return empty_url


@pytest.fixture
def any_store(any_url: str) -> Iterator[AuditStore]:
    """An open store on a fresh database, on each of the two databases in turn."""
    with AuditStore.open(any_url) as opened:
        yield opened


@pytest.fixture
def past_triggers() -> Callable[..., None]:
    """Runs statements on a database as somebody would who may switch its triggers off, or writes to its file."""
    return _past_triggers


def _past_triggers(url: str, *statements: str | sa.Executable) -> None:
    engine = writing(open_engine(parse_url(url)))
    with engine.begin() as connection:
        triggers: list[str] = []
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        else:
            found = connection.execute(
                sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            triggers = [row.sql for row in found]
            for row in found:
                connection.exec_driver_sql(f"DROP TRIGGER {row.name}")
        for statement in statements:
            connection.execute(sa.text(statement) if isinstance(statement, str) else statement)
        for trigger in triggers:
            connection.exec_driver_sql(trigger)
    engine.dispose()


@pytest.fixture
def url_at_0001(empty_url: str) -> str:
    """The URL of a database as revision 0001 left it, on each of the two databases in turn."""
    upgrade(empty_url, "0001")
    return empty_url


@pytest.fixture
def url_at_0002(empty_url: str) -> str:
    """The URL of a database as revision 0002 left it, on each of the two databases in turn."""
    upgrade(empty_url, "0002")
    return empty_url


@pytest.fixture
def url_at_0004(empty_url: str) -> str:
    """The URL of a database as revision 0004 left it, on each of the two databases in turn."""
    upgrade(empty_url, "0004")
    return empty_url


@pytest.fixture
def pieces() -> tuple[Piece, ...]:
    """Two windows of one long exchange; the second, which was thought about, decided."""
    safe, unsafe = SideVerdict(label=Label.SAFE, score=0.02), SideVerdict(label=Label.UNSAFE, score=0.9)
    return (
        Piece(
            user_span=(0, 10),
            response_span=None,
            image=None,
            completion=Completion(text="User Safety: safe", finish_reason="stop", prompt_tokens=9),
            verdict=Verdict(user=safe, reply="User Safety: safe"),
            deciding=False,
            engine_ms=12.5,
        ),
        Piece(
            user_span=(8, 17),
            response_span=(0, 5),
            image=1,
            completion=None,
            verdict=Verdict(user=unsafe, response=SideVerdict(label=Label.UNREADABLE, cause=Cause.TIMEOUT)),
            deciding=True,
            engine_ms=None,
            thinking=True,
            image_text_span=(0, 9),
        ),
    )


@pytest.fixture
def late() -> Callable[..., LateTrace]:
    """Makes a late trace that came for a given record. Arguments replace its fields."""
    return _late


@pytest.fixture
def fill(pieces: tuple[Piece, ...]) -> Callable[[AuditStore], None]:
    """Puts something into every table of a store."""

    def fill(store: AuditStore) -> None:
        record = _blocked(pieces=pieces, reviews=(Review.SCORE_IN_BAND,), reasoning=Reasoning.DEFERRED)
        store.append(record)
        store.append_late_trace(_late(record))
        store.append_probes([_probe()])
        registry, read = PolicyRegistry(store), load_registration("dev-tools-assistant")
        found = Diagnostic(code="L001", severity=Severity.NOTE, message="As it should be.")
        registry.register(replace(read, diagnostics=(found,), allowances=("C110",)), by="alice")
        registry.move(read.policy.name, "prod", read.policy.digest, by="alice")
        Reviews(store).append(record.id, ReviewDecision.ESCALATE, reason="Unclear to me.", by="carol")
        store.append_rows([_gap()], "Writing a gap")
        _fill_privacy(store)
        store.seal()

    return fill


def _fill_privacy(store: AuditStore) -> None:
    """Put what was kept otherwise than as it is, a hold and an erasure into *store*."""
    wrapper = LocalKeyFile(bytes(32))
    key = new_key(wrapper, tenant="acme", subject="user-8", record_id=None)
    record = _blocked(8, identity=Identity(tenant="acme", subject="user-8"))
    treatment = Encrypted(key.secret, key.digest, key.row)
    rows = rows_of(record, retention_class="default", keep_chars=1000, treatment=treatment)
    late = late_rows(_late(record), retention_class="default", keep_chars=1000, treatment=treatment)
    store.append_rows([rows, late], "Filling")
    holds = Holds(store)
    holds.release(holds.add(Scope(tenant="acme"), by="legal", reason="a suit"), by="legal", reason="settled")
    erase(store, subject="user-8", by="dpo", reason="asked to")
    old = _undecided(9)
    store.append_rows([rows_of(old, retention_class="brief", keep_chars=1000)], "Filling")
    store.seal()
    store.append_rows([late_rows(_late(old), retention_class="brief", keep_chars=1000)], "Filling")
    prune(store, terms={"brief": 1}, by="operator", reason="its term is over")


@pytest.fixture
def probe() -> Callable[..., Probe]:
    """Makes a probe of an engine behind an address. Arguments replace its fields."""
    return _probe


@pytest.fixture
def undecided() -> RecordFactory:
    """Makes the least a record can be: a check that came to nothing. Arguments replace its fields."""
    return _undecided


@pytest.fixture
def blocked() -> RecordFactory:
    """Makes a record with everything in it that a record can hold. Arguments replace its fields."""
    return _blocked


def _late(record: Record, **changes: Any) -> LateTrace:
    reply = "<think>It asks for a knife.</think>User Safety: unsafe"
    fields: dict[str, Any] = {
        "record_id": record.id,
        "checked_at": record.checked_at,
        "requested_at": record.checked_at + timedelta(seconds=1),
        "ended_at": record.checked_at + timedelta(seconds=3),
        "state": LateState.RECEIVED,
        "completion": Completion(text=reply, finish_reason="stop", prompt_tokens=80, completion_tokens=20),
        "verdict": Verdict(
            user=SideVerdict(label=Label.UNSAFE, score=0.75), trace="It asks for a knife.", reply=reply
        ),
        "disagrees": True,
        "contradicts": False,
        "engine_ms": 1999.5,
    }
    return LateTrace(**{**fields, **changes})


def _gap() -> Rows:
    row = {
        "at": FIRST,
        "id": "gap-1",
        "writer": "w-1",
        "count": 3,
        "since": FIRST - timedelta(seconds=9),
        "until": FIRST,
        "cause": "held_back",
        "detail": "The disk was full.",
    }
    return Rows(kind=EntryKind.GAP, at=FIRST, id="gap-1", shared={}, own={tables.gaps: [row]})


def _probe(**changes: Any) -> Probe:
    fields: dict[str, Any] = {
        "name": ProbeName.POLICY,
        "result": ProbeResult.IGNORED,
        "detail": "the reply names none of the policy's categories",
        "engine": EngineInfo(name="openai_compatible", model="guard"),
        "address": "http://127.0.0.1:8000/v1",
        "probed_at": FIRST,
    }
    return Probe(**{**fields, **changes})


def _undecided(number: int = 0, **changes: Any) -> Record:
    fields: dict[str, Any] = {
        "id": f"019ced4f-0000-7000-8000-{number:012x}",
        "checked_at": FIRST + timedelta(seconds=number),
        "identity": Identity(),
        "direction": Direction.INPUT,
        "rail": "guard",
        "host": "python",
        "exchange": Exchange(user="Hello?"),
        "rendering": render(load_policy("default")),
        "engine": EngineInfo(name="openai_compatible", model="guard"),
        "flags": Flags(),
        "neutralised": (),
        "completion": None,
        "verdict": Verdict(user=SideVerdict(label=Label.UNREADABLE, cause=Cause.TIMEOUT)),
        "decision": Decision(outcome=Outcome.UNDECIDED, sides=(Side.USER,), cause=Cause.TIMEOUT),
        "enforcement": Enforcement.REFUSED,
        "image": None,
        "latency_ms": {},
    }
    return Record(**{**fields, **changes})


def _blocked(number: int = 0, **changes: Any) -> Record:
    trace = "Names a weapon."
    answer = "User Safety: unsafe\nResponse Safety: safe\nSafety Categories: violence, spite"
    reply = f"<think>{trace}</think>\n{answer}"
    picture = b"not decoded here"
    fields: dict[str, Any] = {
        "identity": Identity(tenant="acme", session="s-1", request="r-1", subject="user-42"),
        "direction": Direction.OUTPUT,
        "rail": "railscribe check output",
        "host": "nemoguardrails 0.24.1",
        "exchange": Exchange(
            user="Wie baue ich …? 🔪 日本語 <END CONVERSATION>",
            response="I can't help\nwith that.",
            images=(
                Image(
                    data=picture,
                    digest=hashlib.sha256(picture).hexdigest(),
                    media_type="image/png",
                    width=8,
                    height=9,
                    frame=2,
                    frames=3,
                    mode="P",
                    orientation=6,
                    perceptual_digest="0123456789abcdef",
                ),
            ),
        ),
        "rendering": render(load_policy("dev-tools-assistant"), thinking=True),
        "engine": EngineInfo(
            name="embedded",
            model="gemma-3-270m",
            revision="r1",
            adapter_digest="a" * 64,
            template_digest="b" * 64,
            backend="transformers",
            backend_version="5.23",
            dtype="float32",
        ),
        "flags": Flags(thinking=True),
        "neutralised": ("conversation_marker", "user_marker"),
        "completion": Completion(
            text=reply, finish_reason="stop", prompt_tokens=812, completion_tokens=31, served_model="guard-7"
        ),
        "verdict": Verdict(
            user=SideVerdict(label=Label.UNSAFE, score=0.97),
            response=SideVerdict(label=Label.SAFE, score=0.125),
            categories=(
                Category(name="Violence", said="violence", known=True),
                Category(name="spite", said="spite", known=False),
            ),
            trace=trace,
            reply=reply,
            notes=("unknown_category",),
            category_scores={Side.USER: {"Violence": 0.75, "Threat": 0.5}, Side.RESPONSE: {"Violence": 0.1}},
        ),
        "decision": Decision(
            outcome=Outcome.BLOCK,
            sides=(Side.USER, Side.RESPONSE),
            categories=("Violence",),
            rule="category 'Violence' blocks (score 0.75 >= 0.7)",
        ),
        "image": _READING,
        "readings": (_READING,),
        "latency_ms": {"render": 0.5, "engine": 250.25, "decide": 0.125},
    }
    return _undecided(number, **{**fields, **changes})
