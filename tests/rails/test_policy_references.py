"""Rails that name policies of the registry: by tag, by tenant and by request, through a move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from railscribe.audit import AuditStore, PolicyRegistry
from railscribe.errors import PolicyError
from railscribe.identity import use_identity
from railscribe.policy import parse_policy
from railscribe.policy.registration import Registration
from railscribe.values import Identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

CONFIG = """
import_paths: ["{rails}"]
models: []
passthrough: true
rails:
  input: {flows: [FLOW]}
custom_data: {railscribe: SETTINGS}
"""


def put(url: str, version: str, tag: str, **fields: Any) -> None:
    """Register a version of the bank's policy and point *tag* to it."""
    document = {
        "name": "retail-bank",
        "version": version,
        "description": "A bank.",
        "disallowed": ["Advice."],
    }
    policy = parse_policy(document | fields)
    with AuditStore.open(url) as store:
        registry = PolicyRegistry(store)
        registry.register(Registration(policy=policy), by="tester")
        registry.move("retail-bank", tag, policy.digest, by="tester")


def test_a_rail_follows_its_tag(host: Callable[..., Host], database: str) -> None:
    """After a move the same app judges and refuses by the new policy; each record keeps its own text."""
    put(database, "1", "prod", refusal="Not here.")
    app = host(
        CONFIG.replace("FLOW", '"railscribe check input $policy=retail-bank@prod"').replace(
            "SETTINGS", "{policy_refresh_s: 0}"
        )
    )

    before = app.ask("forbidden")
    put(database, "2", "prod", refusal="Not any more.", disallowed=["Loans."])
    after = app.ask("forbidden")

    assert [reply["content"] for reply in (before, after)] == ["Not here.", "Not any more."]
    policies = [record["policy"] for record in app.records()]
    assert [policy["version"] for policy in policies] == ["1", "2"]
    assert ["- Advice." in policy["text"] for policy in policies] == [True, False]


def test_request_goes_before_rail_and_tenant_before_default(host: Callable[..., Host], database: str) -> None:
    """The identity's policy is for its request alone; a tenant's is for rails that name none."""
    for version in ("default", "tenant", "request"):
        put(database, version, f"for-{version}")
    app = host(
        CONFIG.replace("FLOW", "railscribe check input").replace(
            "SETTINGS",
            '{policy: "retail-bank@for-default", policy_by_tenant: {acme: "retail-bank@for-tenant"}}',
        )
    )

    app.ask("hello")
    for policy in (None, "retail-bank@for-request"):
        with use_identity(Identity(tenant="acme", policy=policy)):
            app.ask("hello")

    assert [record["policy"]["version"] for record in app.records()] == ["default", "tenant", "request"]


def test_a_request_s_unknown_policy_refuses_with_a_record(host: Callable[..., Host], database: str) -> None:
    """A rail never judges by another policy than the one that was asked for."""
    app = host(CONFIG.replace("FLOW", "railscribe check input").replace("SETTINGS", "{on_undecided: allow}"))

    with use_identity(Identity(policy="retail-bank@prod")):
        app.ask("hello")

    (record,) = app.records()
    assert (record["decision"]["cause"], record["enforcement"]) == ("not_run", "refused")
    assert app.engine.requests == []


def test_a_tag_that_is_not_set_shows_when_the_guard_stands(host: Callable[..., Host], database: str) -> None:
    """A setting that names nothing in the registry stops the app from being built."""
    with pytest.raises(RuntimeError) as caught:
        host(
            CONFIG.replace("FLOW", "railscribe check input").replace(
                "SETTINGS", '{policy: "retail-bank@absent"}'
            )
        )

    assert isinstance(caught.value.__cause__, PolicyError)
    assert "The registry has no policy retail-bank@absent" in str(caught.value.__cause__)
