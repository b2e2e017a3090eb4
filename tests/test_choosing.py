"""Which policy judges: by request, rail, tenant and setting, through tags that move while guards run."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import pytest

from railscribe.audit import AuditStore, PolicyRegistry
from railscribe.choosing import KnownPolicies, find_policy, open_policy
from railscribe.errors import AuditError, PolicyError
from railscribe.guard import Guard
from railscribe.policy import Policy, load_policy, parse_policy
from railscribe.policy.registration import Registration
from railscribe.settings import Settings
from railscribe.testing import ScriptedEngine
from railscribe.values import Exchange, Identity

Clock = Callable[[float], None]


def bank(version: str = "1.0", **fields: Any) -> Policy:
    document = {
        "name": "retail-bank",
        "version": version,
        "description": "A bank.",
        "disallowed": ["Advice."],
    }
    return parse_policy(document | fields)


def push(store: AuditStore, policy: Policy, tag: str | None = None, tenant: str | None = None) -> str:
    """Register *policy*, point *tag* to it, and return its digest."""
    registry = PolicyRegistry(store)
    registry.register(Registration(policy=policy), by="tester")
    if tag:
        registry.move(policy.name, tag, policy.digest, by="tester", tenant=tenant)
    return policy.digest


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Lets time pass."""
    now = [1000.0]
    monkeypatch.setattr("railscribe.choosing.time.monotonic", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def guard_with(store: AuditStore, **settings: Any) -> Guard:
    settings = {"policy": "retail-bank@prod"} | settings
    return Guard(
        engine=ScriptedEngine(lambda _: "User Safety: safe"),
        store=store,
        policy=settings["policy"],
        settings=Settings(**settings),
    )


async def judged(guard: Guard, named: Any = None, **identity: Any) -> str:
    """Return the version of the policy that a check was decided by."""
    record = await guard.check(Exchange(user="Hello."), policy=named, identity=Identity(**identity))
    return record.rendering.policy_version


@pytest.mark.parametrize("by", ["tag", "version", "name", "digest", "beginning"])
def test_every_kind_of_reference_finds_the_policy(store: AuditStore, by: str) -> None:
    """A tag, a version, a bare name (its prod), a digest and its beginning all name the one policy."""
    digest = push(store, bank(), "prod")
    reference = {
        "tag": "retail-bank@prod",
        "version": "retail-bank@1.0",
        "name": "retail-bank",
        "digest": digest,
        "beginning": digest[:8],
    }[by]

    assert find_policy(reference, lambda: PolicyRegistry(store)) == bank()


def test_files_and_ready_policies_need_no_store() -> None:
    """The registry is not even made where a name or a file says it all."""

    def registry() -> PolicyRegistry:
        raise AssertionError

    assert find_policy("default", registry) == load_policy("default")
    with pytest.raises(PolicyError, match="Cannot read the policy file"):
        find_policy("absent.yaml", registry)


def test_a_misspelt_name_is_told_the_nearest(store: AuditStore) -> None:
    """A bare name that nothing knows is treated as a slip, one with a tag as what it says."""
    with pytest.raises(PolicyError, match="dev-tools-assistant"):
        find_policy("dev-tool-assistant", lambda: PolicyRegistry(store))
    with pytest.raises(PolicyError, match="The registry has no policy dev-tool-assistant@prod"):
        find_policy("dev-tool-assistant@prod", lambda: PolicyRegistry(store))


def test_commands_open_the_store_only_where_needed(store: AuditStore, database_url: str) -> None:
    """A reference to the registry is found in the store of the settings; without a store it is told so."""
    push(store, bank(), "prod")

    assert open_policy("retail-bank@prod", Settings(database_url=database_url)) == bank()
    nowhere = Settings(database_url="sqlite:///nowhere/at-all.db")
    assert open_policy("default", nowhere).name == "default"
    with pytest.raises(AuditError):
        open_policy("retail-bank@prod", nowhere)


async def test_the_nearest_word_counts(store: AuditStore) -> None:
    """A policy in code, the request's, the rail's, the tenant's, the guard's: in that order."""
    for version in ("guard", "tenant", "rail", "request"):
        push(store, bank(version), f"for-{version}")
    guard = guard_with(
        store, policy="retail-bank@for-guard", policy_by_tenant={"acme": "retail-bank@for-tenant"}
    )
    acme = {"tenant": "acme"}

    assert await judged(guard) == "guard"
    assert await judged(guard, **acme) == "tenant"
    assert await judged(guard, "retail-bank@for-rail", **acme) == "rail"
    request = {**acme, "policy": "retail-bank@for-request"}
    assert await judged(guard, "retail-bank@for-rail", **request) == "request"
    assert await judged(guard, bank("code"), **request) == "code"


async def test_a_tag_may_be_another_policy_s_for_one_tenant(store: AuditStore) -> None:
    """A tenant's own position of a tag goes before everybody's, and is nobody else's."""
    push(store, bank("1"), "prod")
    push(store, bank("1-acme"), "prod", tenant="acme")
    guard = guard_with(store)

    assert [await judged(guard, tenant=tenant) for tenant in ("acme", "other")] == ["1-acme", "1"]


async def test_a_moved_tag_counts_without_a_restart(store: AuditStore, later: Clock) -> None:
    """The engine reads the new policy's text, and the record bears the new digest, once the time is over."""
    push(store, bank("1"), "prod")
    guard = guard_with(store, policy_refresh_s=5)
    assert await judged(guard) == "1"
    push(store, bank("2", disallowed=["Loans."]), "prod")

    assert await judged(guard) == "1"
    later(5.1)
    assert await judged(guard) == "2"

    texts = [request.policy_text or "" for request in guard.engine.requests]  # type: ignore[attr-defined]
    assert ["Loans." in text for text in texts] == [False, False, True]
    assert guard.policy.version == "2"


async def test_a_decision_shows_the_text_that_it_was_made_under(store: AuditStore, later: Clock) -> None:
    """After a move an old record still has its own text, tags and digest, and the new one the new ones."""
    old, guard = push(store, bank("1"), "prod"), guard_with(store)
    before = await guard.check(Exchange(user="Hello."))
    new = push(store, bank("2", disallowed=["Loans."]), "prod")
    later(6)
    after = await guard.check(Exchange(user="Hello."))

    shown = [store.record(record.id)["policy"] for record in (before, after)]

    assert [policy["digest"] for policy in shown] == [old, new]
    assert [policy["text"] for policy in shown] == [before.rendering.text, after.rendering.text]
    assert ["- Advice." in policy["text"] for policy in shown] == [True, False]
    assert [policy["tags"] for policy in shown] == [["retail-bank@prod"]] * 2


def test_with_no_store_what_was_last_known_counts(
    store: AuditStore, later: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is at hand goes on counting, and the log says so; what is not at hand is an error."""
    push(store, bank(), "prod")
    known = KnownPolicies(store, refresh_s=5)
    known.find("retail-bank@prod")

    def gone(*_: Any, **__: Any) -> Any:
        raise AuditError("The database is gone.")

    monkeypatch.setattr(PolicyRegistry, "resolve", gone)
    later(60)

    with caplog.at_level(logging.WARNING):
        assert known.find("retail-bank@prod") == bank()
    assert "stays as it was last known: The database is gone." in caplog.text
    with pytest.raises(AuditError):
        known.find("retail-bank@staging")


def test_a_whole_digest_is_asked_once(
    store: AuditStore, later: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can never come to mean another policy."""
    digest = push(store, bank())
    known = KnownPolicies(store, refresh_s=5)
    known.find(digest)
    monkeypatch.setattr(PolicyRegistry, "resolve", None)
    later(1e6)

    assert known.find(digest) == bank()


def test_a_tenant_s_policy_is_looked_up_when_the_guard_is_made(store: AuditStore) -> None:
    """A setting that names nothing shows at once, not at the tenant's first request."""
    push(store, bank(), "prod")

    with pytest.raises(PolicyError, match="no policy retail-bank@staging"):
        guard_with(store, policy_by_tenant={"acme": "retail-bank@staging"})


async def test_a_request_s_unknown_policy_releases_no_decision(store: AuditStore) -> None:
    """There is nothing to decide by, so nothing is decided and the engine is not asked."""
    push(store, bank(), "prod")
    guard = guard_with(store)

    with pytest.raises(PolicyError):
        await judged(guard, policy="retail-bank@nothing")

    assert guard.engine.requests == []  # type: ignore[attr-defined]


def test_a_policy_built_in_code_needs_no_registry(store: AuditStore) -> None:
    """A guard that was given a policy keeps it, whatever the setting says."""
    policy = dataclasses.replace(bank(), refusal="No.")

    guard = Guard(engine=ScriptedEngine([]), store=store, policy=policy, settings=Settings())

    assert guard.policy is policy
