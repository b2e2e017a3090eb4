"""Pruning: whole sealed segments whose term is over, named by an entry; the chain verifies without them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, Holds, Scope, prune
from railscribe.audit.content_keys import LocalKeyFile, SubjectKeys
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.audit.keeping import Keeping
from railscribe.audit.verify import verify_database
from railscribe.errors import UsageError
from railscribe.values import ContentMode, LateTrace, Record

RecordFactory = Callable[..., Record]
LateFactory = Callable[..., LateTrace]
NOW = datetime.now(tz=timezone.utc)
OLD, YOUNG = NOW - timedelta(days=400), NOW - timedelta(days=3)
_ADD = """INSERT INTO pruned_segments SELECT p.prune_id, s.id, s.root, s.entry_count
          FROM pruned_segments p, segments s WHERE s.retention_class = 'six_years'"""
TERMS = {"default": 183, "six_years": 2192}


def keeping(retention_class: str = "default") -> Keeping:
    """Keep content under keys, so that there are keys to go."""
    wrapper = LocalKeyFile(b"k" * 32)
    return Keeping(
        mode=ContentMode.ENCRYPTED,
        wrapper=wrapper,
        keys=SubjectKeys(wrapper),
        retention_class=retention_class,
    )


def history(url: str, undecided: RecordFactory, late: LateFactory) -> None:
    """Two old records, one with late reasoning in a later segment; a young one; an old one of another class."""
    with AuditStore.open(url, keeping=keeping()) as store:
        for number in range(2):
            store.append(undecided(number, checked_at=OLD))
        store.append(undecided(2, checked_at=YOUNG))
    with AuditStore.open(url, keeping=keeping("six_years")) as store:
        store.append(undecided(3, checked_at=OLD))
    with AuditStore.open(url, keeping=keeping("six_years")) as store:
        # By mistake of another class than its record: it lies in a segment that stays.
        store.append_late_trace(late(undecided(1, checked_at=OLD)))


def ids(store: AuditStore) -> set[int]:
    """Return the numbers of the records that are there."""
    return {int(record["id"][-12:], 16) for record in store.records()}


def test_what_is_over_its_term_goes_and_the_chain_holds(
    any_url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """Records, contents, keys, late reasoning and entries go; segments, checkpoints and the prune itself stay."""
    history(any_url, undecided, late)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        before = dict(store.select("SELECT id, root FROM segments")[1])

        (done, other) = prune(store, terms=TERMS, by="operator", reason="its term is over")

        assert ids(store) == {2, 3}
        assert (done.segments, done.entries, done.records, done.held) == (1, 2, 2, 0)
        assert (other.retention_class, other.segments, other.prunes) == ("six_years", 0, ())
        for table, column in (
            ("contents", "record_id"),
            ("subject_keys", "record_id"),
            ("late_traces", "record_id"),
        ):
            found = {row[0] for row in store.select(f"SELECT {column} FROM {table}")[1]}  # noqa: S608
            assert not found & {undecided(0).id, undecided(1).id}
        assert before.items() <= dict(store.select("SELECT id, root FROM segments")[1]).items()
        assert store.select("SELECT retention_class, pruned_by, records FROM v_prunes")[1] == [
            ("default", "operator", 2)
        ]
    report = verify_database(any_url)
    assert report.ok, report.failures
    assert report.checked["segments_pruned"] == report.checked["entries_pruned"] == 1
    assert [told["id"] for told in report.told["prunes"]] == list(done.prunes)
    assert report.records == 2


def test_a_dry_run_prunes_nothing(any_url: str, undecided: RecordFactory, late: LateFactory) -> None:
    """It tells what would go, and nothing has."""
    history(any_url, undecided, late)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        (done, _) = prune(store, terms=TERMS, by="operator", reason="a look", dry_run=True)

        assert (done.segments, done.records, done.prunes) == (1, 2, ())
        assert ids(store) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("terms", "before", "left"),
    [
        ({"default": 500}, None, {0, 1, 2, 3}),
        ({"default": 2}, None, {3}),
        ({"default": 2}, OLD - timedelta(days=1), {0, 1, 2, 3}),
        ({"default": 183}, NOW, {2, 3}),
        ({"six_years": 2192, "operations": 1}, None, {0, 1, 2, 3}),
    ],
)
def test_a_term_is_a_term(
    any_url: str,
    undecided: RecordFactory,
    late: LateFactory,
    terms: dict[str, int],
    before: datetime | None,
    left: set[int],
) -> None:
    """``before`` only narrows what goes; a class without a term, and operations, never go."""
    history(any_url, undecided, late)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        prune(store, terms=terms, before=before, by="operator", reason="its term is over")
        assert ids(store) == left
        with pytest.raises(UsageError, match="'mine' has no term"):
            prune(store, terms=terms, retention_class="mine", by="operator", reason="?")
    assert verify_database(any_url).ok


@pytest.mark.parametrize(
    "scope", [Scope(tenant="default"), Scope(retention_class="default"), Scope(record_id="last")]
)
def test_a_hold_keeps_the_whole_segment(
    any_url: str, undecided: RecordFactory, late: LateFactory, scope: Scope
) -> None:
    """One held record keeps its segment; the release lets it go."""
    history(any_url, undecided, late)
    if scope.record_id:
        scope = Scope(record_id=undecided(1).id)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        held = Holds(store).add(scope, by="legal", reason="a suit")
        (done, _) = prune(store, terms=TERMS, by="operator", reason="its term is over")
        assert (done.segments, done.held) == (0, 1)
        assert ids(store) == {0, 1, 2, 3}

        Holds(store).release(held, by="legal", reason="settled")
        (done, _) = prune(store, terms=TERMS, by="operator", reason="its term is over")
        assert (done.segments, done.held) == (1, 0)
    assert verify_database(any_url).ok


def test_what_is_not_sealed_stays(any_url: str, undecided: RecordFactory) -> None:
    """However old: no checkpoint vouches for it yet."""
    with AuditStore.open(any_url) as store:
        store.append(undecided(0, checked_at=OLD))
        (done, _) = prune(store, terms=TERMS, by="operator", reason="its term is over")
        assert done.segments == 0
        store.seal()
        (done, _) = prune(store, terms=TERMS, by="operator", reason="its term is over")
        assert done.segments == 1
    assert verify_database(any_url).ok


@pytest.mark.parametrize(
    ("statements", "codes"),
    [
        pytest.param(
            ["DELETE FROM pruned_entries", "DELETE FROM pruned_segments", "DELETE FROM prunes"],
            {"evidence_missing", "entry_missing"},
            id="the prune itself taken away",
        ),
        pytest.param(
            ["UPDATE pruned_segments SET root = 'x'"], {"evidence_altered", "prune_wrong"}, id="another root"
        ),
        pytest.param(["DELETE FROM pruned_segments"], {"evidence_altered", "entry_missing"}, id="unnamed"),
        pytest.param(
            [_ADD],
            {"evidence_altered", "entry_beside"},
            id="a segment added to it",
        ),
    ],
)
def test_a_prune_that_was_tampered_with_is_found(
    any_url: str,
    undecided: RecordFactory,
    late: LateFactory,
    past_triggers: Callable[..., None],
    statements: list[str],
    codes: set[str],
) -> None:
    """What a prune says is attested: it excuses nothing that it did not name when it was made."""
    history(any_url, undecided, late)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        prune(store, terms=TERMS, by="operator", reason="its term is over")
    if any_url.startswith("sqlite"):
        statements = ["PRAGMA defer_foreign_keys=ON", *statements]

    past_triggers(any_url, *statements)

    assert codes <= {failure.code for failure in verify_database(any_url).failures}


def test_only_what_a_prune_names_may_be_deleted(
    any_url: str, undecided: RecordFactory, late: LateFactory
) -> None:
    """The rest of the records is refused to be deleted after a prune as before it."""
    history(any_url, undecided, late)
    with AuditStore.open(any_url, keeping=keeping()) as store:
        prune(store, terms=TERMS, by="operator", reason="its term is over")
    engine = writing(open_engine(parse_url(any_url)))
    for table in ("records", "contents", "entries", "record_kept", "segments", "checkpoints", "prunes"):
        with (
            pytest.raises(sa.exc.DBAPIError, match="railscribe: append-only"),
            engine.begin() as connection,
        ):
            connection.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608
    engine.dispose()
