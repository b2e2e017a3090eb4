"""The names that others build on."""

from __future__ import annotations

import importlib
import re

import pytest

import railscribe
import railscribe.nemotron
import railscribe.policy

PUBLIC = {
    "railscribe": [
        "AuditStore",
        "Decision",
        "Exchange",
        "Guard",
        "Identity",
        "Policy",
        "RailscribeError",
        "Record",
        "Settings",
        "Verdict",
        "use_identity",
    ],
    "railscribe.nemotron": ["build_request", "chat_messages", "neutralise", "parse_reply", "template_kwargs"],
    "railscribe.policy": [
        "Policy",
        "PolicyCategory",
        "decide",
        "load_policy",
        "mode_reason",
        "parse_policy",
        "policy_documents",
        "ready_policies",
        "refusal_for",
        "refusals_of",
        "render",
    ],
}


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_pinned(module: str) -> None:
    """A name is added to a façade, or taken from it, on purpose."""
    assert sorted(importlib.import_module(module).__all__) == PUBLIC[module]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names]
)
def test_public_name_resolves(module: str, name: str) -> None:
    """Each name a façade promises is there and says what it is."""
    found = getattr(importlib.import_module(module), name)

    assert found.__name__ == name
    assert (found.__doc__ or "").strip()


def test_version_is_the_distribution_s() -> None:
    """The version is the installed one, not a second copy of it."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", str(railscribe.__version__))
    assert railscribe.__version__ == importlib.import_module("importlib.metadata").version("railscribe")


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as it does on any module."""
    with pytest.raises(AttributeError, match="no attribute 'Gaurd'"):
        _ = railscribe.Gaurd
