"""The registry of policies, on both databases: nothing is overwritten, and no move is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore, PolicyRegistry, registrations, schema
from railscribe.audit.database import open_engine, parse_url, writing
from railscribe.errors import AuditError, PolicyError, TagMovedError, UsageError
from railscribe.policy import Policy, load_policy, parse_policy, render
from railscribe.policy.diagnostics import Diagnostic, Severity
from railscribe.policy.load import load_registration
from railscribe.policy.reference import parse_reference
from railscribe.policy.registration import Registration
from railscribe.values import Record

RecordFactory = Callable[..., Record]


def bank(version: str = "1.0", name: str = "retail-bank") -> Policy:
    document = {
        "name": name,
        "version": version,
        "description": "A bank.",
        "disallowed": [f"Rule {version}."],
    }
    return parse_policy(document)


@pytest.fixture
def registry(any_store: AuditStore) -> PolicyRegistry:
    """A registry without policies, on each of the two databases in turn."""
    return PolicyRegistry(any_store)


def pushed(registry: PolicyRegistry, *versions: str) -> list[str]:
    """Register versions of one policy and return their digests."""
    return [
        registry.register(Registration(policy=bank(version)), by="alice").policy_digest
        for version in versions
    ]


def found(registry: PolicyRegistry, reference: str, tenant: str | None = None) -> str:
    asked = parse_reference(reference)
    assert asked is not None
    return registry.resolve(asked, tenant=tenant).version


def test_a_registration_is_kept_with_all_that_it_says(registry: PolicyRegistry) -> None:
    """Source, clauses with their lines, diagnostics, allowances, who, why and by what: as they were given."""
    read = load_registration("dev-tools-assistant")
    odd = Diagnostic(code="C110", severity=Severity.ERROR, message="m\x00", file="a.co", line=3, hint="h")
    given = Registration(
        policy=read.policy,
        sources=read.sources,
        clauses=read.clauses,
        diagnostics=(odd,),
        allowances=("C110@a.co:3",),
    )

    registered = registry.register(given, by=" alice ", reason="first")
    (kept,) = registry.registrations(registered.policy_digest)

    assert (kept["registered_by"], kept["reason"], kept["compiler"]) == ("alice", "first", "documents 1")
    assert kept["text"] == render(read.policy).text
    assert [source["body"] for source in kept["sources"]] == [source.text for source in read.sources]
    assert len(kept["clauses"]) == len(read.clauses)
    malware = next(clause for clause in kept["clauses"] if clause["text"].startswith("Malware:"))
    line = read.sources[0].text.splitlines().index("  - name: Malware") + 1
    assert malware["source"] == {
        "file": "dev-tools-assistant.yaml",
        "line": line,
        "construct": "categories.0",
    }
    assert kept["diagnostics"][0]["message"] == "m\u241a0000"
    assert kept["allowances"] == ["C110@a.co:3"]


def test_the_same_registration_is_kept_once_as_it_first_was(registry: PolicyRegistry) -> None:
    """Who comes second changes nothing; another source of the same policy is another registration."""
    first = registry.register(Registration(policy=bank()), by="alice")
    again = registry.register(Registration(policy=bank()), by="bob")
    other = registry.register(Registration(policy=bank(), allowances=("C110",)), by="bob")

    assert (first.is_new, again.is_new, other.is_new) == (True, False, True)
    assert first.digest == again.digest != other.digest
    assert [row["registered_by"] for row in registry.registrations(first.policy_digest)] == ["alice", "bob"]


def test_history_is_never_overwritten(registry: PolicyRegistry) -> None:
    """After any series of moves the timeline holds each of them in order, each from where the one before ended."""
    rng = random.Random(5)
    digests = pushed(registry, "1", "2", "3")
    made: list[tuple[str, str | None, str, str | None]] = []
    at: dict[tuple[str, str | None], str] = {}
    for _ in range(25):
        tag, tenant, digest = rng.choice(["prod", "staging"]), rng.choice([None, "acme"]), rng.choice(digests)
        registry.move("retail-bank", tag, digest, by="alice", tenant=tenant)
        if at.get((tag, tenant)) != digest:
            made.append((tag, tenant, digest, at.get((tag, tenant))))
            at[tag, tenant] = digest

    events = [event for event in registry.history("retail-bank") if event["event"] == "moved"]

    assert [
        (event["tag"], event["tenant"], event["policy_digest"], event["previous_digest"]) for event in events
    ] == made
    open_ = {
        (event["tag"], event["tenant"]): event["policy_digest"] for event in events if not event["until"]
    }
    assert open_ == at
    for (tag, tenant), digest in at.items():
        versions = dict(zip(digests, "123", strict=True))
        assert found(registry, f"retail-bank@{tag}", tenant) == versions[digest]


def test_two_movers_at_once_are_both_on_record(any_url: str) -> None:
    """Every move of many movers is there, numbered without a gap, from where the one before it ended."""
    with AuditStore.open(any_url) as store:
        digests = pushed(PolicyRegistry(store), *"12345678")
    failures: list[BaseException] = []
    ready = threading.Barrier(len(digests))

    def move(digest: str) -> None:
        try:
            with AuditStore.open(any_url) as own:  # as another process would
                ready.wait()
                PolicyRegistry(own).move("retail-bank", "prod", digest, by=digest[:4])
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    threads = [threading.Thread(target=move, args=(digest,)) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    with AuditStore.open(any_url) as store:
        rows = store.select(
            "SELECT number, policy_digest, previous_digest, moved_at FROM policy_moves ORDER BY number"
        )[1]
    assert [row[0] for row in rows] == list(range(1, len(digests) + 1))
    assert {row[1] for row in rows} == set(digests)
    assert [row[2] for row in rows] == [None, *(row[1] for row in rows[:-1])]
    assert [row[3] for row in rows] == sorted({row[3] for row in rows})


def test_of_two_that_expect_the_same_one_wins(any_url: str) -> None:
    """Compare and set: the second is told where the tag now points, and moves nothing."""
    with AuditStore.open(any_url) as store:
        registry = PolicyRegistry(store)
        one, two, three = pushed(registry, "1", "2", "3")
        registry.move("retail-bank", "prod", one, by="alice", expect="none")
        registry.move("retail-bank", "prod", two, by="alice", expect=one[:8])

        with pytest.raises(TagMovedError, match=f"points to {two[:12]}, not to {one[:12]}"):
            registry.move("retail-bank", "prod", three, by="bob", expect=one)
        with pytest.raises(TagMovedError):
            registry.move("retail-bank", "prod", three, by="bob", expect="none")

        assert found(registry, "retail-bank@prod") == "2"


def test_a_move_to_where_it_points_is_none(registry: PolicyRegistry) -> None:
    """A deployment that runs twice leaves one move."""
    (one,) = pushed(registry, "1")

    moves = [registry.move("retail-bank", "prod", one, by=who) for who in ("alice", "bob")]

    assert moves[0] == moves[1]
    assert moves[0].number == 1


def test_what_is_not_there_or_not_clear_is_an_error(registry: PolicyRegistry) -> None:
    """Unknown digests, other names, versions as tags, two policies of one version: each is told with what to do."""
    one, _ = pushed(registry, "1", "2")
    twin = parse_policy({"name": "retail-bank", "version": "2", "description": "Another."})
    registry.register(Registration(policy=twin), by="alice")

    with pytest.raises(PolicyError, match="registry has no policy 00000000"):
        registry.move("retail-bank", "prod", "00000000", by="alice")
    with pytest.raises(PolicyError, match="is no digest"):
        registry.move("retail-bank", "prod", "latest", by="alice")
    with pytest.raises(PolicyError, match="is called retail-bank, not bank"):
        registry.move("bank", "prod", one, by="alice")
    with pytest.raises(PolicyError, match="'1' is a version"):
        registry.move("retail-bank", "1", one, by="alice")
    with pytest.raises(UsageError, match="--by NAME"):
        registry.move("retail-bank", "prod", one, by=" ")
    with pytest.raises(PolicyError, match=r"retail-bank@2 is more than one policy: .*, retail-bank 2 "):
        found(registry, "retail-bank@2")
    with pytest.raises(PolicyError, match="railscribe policy tag retail-bank@prod DIGEST"):
        found(registry, "retail-bank@prod")
    assert found(registry, "retail-bank@1") == "1"


@pytest.mark.parametrize("change", ["UPDATE {} SET {} = 'x'", "DELETE FROM {}"])
@pytest.mark.parametrize(
    ("table", "column"), [("policy_moves", "moved_by"), ("policy_registrations", "registered_by")]
)
def test_the_database_itself_refuses_changes(any_url: str, change: str, table: str, column: str) -> None:
    """Moves and registrations are evidence like records."""
    with AuditStore.open(any_url) as store:
        registry = PolicyRegistry(store)
        registry.move("retail-bank", "prod", pushed(registry, "1")[0], by="alice")
    engine = writing(open_engine(parse_url(any_url)))

    with pytest.raises(sa.exc.DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(sa.text(change.format(table, column)))

    engine.dispose()


def test_a_record_knows_its_tags_and_the_clause_that_won(
    any_store: AuditStore, blocked: RecordFactory
) -> None:
    """Tags as they stood when it was made, though they moved since; and where the deciding category is written."""
    registry = PolicyRegistry(any_store)
    read = load_registration("dev-tools-assistant")
    registry.register(read, by="alice")
    other = parse_policy({"name": read.policy.name, "version": "2", "description": "Another."})
    registry.register(Registration(policy=other), by="alice")
    first = registry.move(read.policy.name, "prod", read.policy.digest, by="alice")
    registry.move(read.policy.name, "prod", read.policy.digest, by="alice", tenant="acme")
    second = registry.move(read.policy.name, "prod", other.digest, by="alice")
    decision = blocked().decision
    times = [first.moved_at - timedelta(seconds=1), first.moved_at, second.moved_at]
    malware = decision.__class__(outcome=decision.outcome, sides=decision.sides, categories=("Malware",))
    records = [
        blocked(number, checked_at=time, decision=malware, rendering=render(read.policy))
        for number, time in enumerate(times)
    ]
    for record in records:
        any_store.append(record)

    shown = [any_store.record(record.id)["policy"] for record in records]

    name = read.policy.name
    assert [policy["tags"] for policy in shown] == [[], [f"{name}@prod"], [f"{name}@prod (acme)"]]
    assert {policy["text"] for policy in shown} == {render(read.policy).text}
    assert [policy["registration"]["registered_by"] for policy in shown] == ["alice"] * 3
    clauses = shown[0]["deciding_clauses"]
    assert [clause["source"]["construct"] for clause in clauses] == ["categories.0"]


def test_a_policy_that_was_never_registered_says_so(any_store: AuditStore, blocked: RecordFactory) -> None:
    """A record of a policy from a file is whole all the same."""
    any_store.append(blocked())

    policy = any_store.record(blocked().id)["policy"]

    assert (policy["tags"], policy["registration"], policy["deciding_clauses"]) == ([], None, [])
    assert policy["text"] == render(load_policy("dev-tools-assistant"), thinking=True).text


def test_going_back_never_drops_the_registry(url_at_0004: str) -> None:
    """A downgrade past 0004 is refused while there is a registration, or a move."""
    read = load_registration("dev-tools-assistant")
    _, rows = registrations.rows_of(read, by="alice", reason=None, at=datetime.now(timezone.utc))
    engine = writing(open_engine(parse_url(url_at_0004)))
    with engine.begin() as connection:
        for table, row in rows.shared.items():
            connection.execute(sa.insert(table), row)
        for table, own in rows.own.items():
            if own:
                connection.execute(sa.insert(table), own)
    engine.dispose()

    with pytest.raises(AuditError, match="would drop what 1 rows of policy_registrations say"):
        schema.downgrade(url_at_0004, "0003")

    assert schema.current(url_at_0004) == "0004"


@pytest.fixture
def listed(registry: PolicyRegistry) -> list[tuple[str, str, list[str]]]:
    """What a list shows of three policies, one of them tagged."""
    digests = pushed(registry, "1", "2")
    registry.register(Registration(policy=bank(name="another")), by="alice")
    registry.move("retail-bank", "prod", digests[0], by="alice")
    return [(row["name"], row["version"], [tag["tag"] for tag in row["tags"]]) for row in registry.names()]


def test_the_list_has_the_latest_first_by_name(listed: list[tuple[str, str, list[str]]]) -> None:
    """By name, then the latest registered first, each with its tags."""
    assert listed == [("another", "1.0", []), ("retail-bank", "2", []), ("retail-bank", "1", ["prod"])]
