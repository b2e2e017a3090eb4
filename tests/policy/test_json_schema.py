"""The JSON Schema for editors: up to date, and of one mind with the reader about fields and their kinds.

REFRESH_GOLDENS=1 rewrites the shipped file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from railscribe.errors import PolicyError
from railscribe.policy import parse_policy, ready_policies
from railscribe.policy.json_schema import document_schema, schema_text

SHIPPED = next(iter(ready_policies().values())).parent / "policy.schema.json"
GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.yaml"))
MINIMAL: dict[str, Any] = {"name": "p", "version": "1", "description": "d"}
EVERYTHING: dict[str, Any] = MINIMAL | {
    "languages": ["en", "de"],
    "applies_to": ["input", "output", "tools"],
    "mode": "policy",
    "builtin": True,
    "suppressed": ["Profanity"],
    "categories": [
        {
            "name": "Competitor Talk",
            "definition": "praising or comparing other vendors",
            "action": "block",
            "threshold": 0.5,
            "examples": ["Is X better than you?"],
            "refusals": {"de": "Dazu sage ich nichts."},
        },
        {"name": "Price Comparison", "parent": "Competitor Talk", "threshold": 0.4},
    ],
    "disallowed": ["Promising delivery dates"],
    "allowed": ["Published prices"],
    "action": "flag",
    "unlisted_action": "block",
    "sides": {"input": ["user"], "output": ["user", "response"]},
    "refusal": "No.",
    "refusals": {"de": "Nein.", "fr": "Non."},
    "reasoning": {"mode": "deferred", "for": "sample", "sample": 0.05},
    "review_band": [0.3, 0.7],
    "threshold": 0.6,
    "wait_for": "sealed",
}


def test_the_shipped_file_is_up_to_date() -> None:
    """What ships is what the models say today."""
    if os.environ.get("REFRESH_GOLDENS"):
        SHIPPED.write_text(schema_text(), encoding="utf-8")
        pytest.skip(f"rewrote {SHIPPED.name}")

    assert SHIPPED.read_text(encoding="utf-8") == schema_text()


def test_it_is_a_schema() -> None:
    """It is valid by its own draft, and describes every field of a document and of a category."""
    schema = document_schema()

    jsonschema.Draft202012Validator.check_schema(schema)
    described = [schema["properties"], schema["$defs"]["DocumentCategory"]["properties"]]
    assert all("description" in field for fields in described for field in fields.values())
    assert set(schema["properties"]) == set(EVERYTHING)


@pytest.mark.parametrize("path", [*ready_policies().values(), *GOLDENS], ids=lambda path: path.stem)
def test_policies_validate(path: Path) -> None:
    """The ready policies, and those of the goldens, are what an editor would call right."""
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), document_schema())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        EVERYTHING,
        {"reasoning": {"mode": False}},
        {"zzz": 1},
        {"name": "Dev Tools"},
        {"version": 1.0},
        {"languages": ["english"]},
        {"languages": ["en", "en"]},
        {"applies_to": []},
        {"applies_to": ["retrieval"]},
        {"suppressed": ["Sexual (minor)"]},
        {"unlisted_action": "allow"},
        {"threshold": 1},
        {"refusals": {"german": "Nein."}},
        {"refusals": {"de": ""}},
        {"categories": [{"name": "A, B"}]},
        {"categories": [{"name": "A", "threshold": 0}]},
        {"categories": [{"name": "A", "examples": [""]}]},
        {"categories": [{"name": "A", "severity": 3}]},
        {"sides": {"inputs": []}},
    ],
    ids=str,
)
def test_editor_and_reader_agree_on_fields(changes: dict[str, Any]) -> None:
    """A wrong field or kind is marked in the editor as it is refused by the reader, and a right one by neither."""
    document = MINIMAL | changes
    try:
        parse_policy(document)
        read = True
    except PolicyError:
        read = False

    assert jsonschema.Draft202012Validator(document_schema()).is_valid(document) == read
