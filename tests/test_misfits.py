"""What pydantic finds wrong, as people are told it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from railscribe.errors import PolicyError, SettingsError
from railscribe.misfits import misfits
from railscribe.policy import parse_policy
from railscribe.policy.cases import parse_suite
from railscribe.policy.schema import Document
from railscribe.settings import Settings, load_settings

HEAD = {"name": "mine", "version": "1", "description": "My own."}
CASE = {"name": "a", "text": "t", "expect": {"decision": "allow"}}
ODD: list[Any] = [None, "", "x", 0, -1, 1.5, True, [], ["x"], [None], [[1]], {}, {"x": "y"}, {"x": {"y": 1}}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": ["Violence"]}, "categories.0: must be written as fields, such as 'name: ...'"),
        ({"categories": "Violence"}, "categories: must be a list; write each item after '- '"),
        ({"categories": [{"name": "A", "refusals": "No."}]}, "categories.0.refusals: must be names with a value each"),
        ({"categories": [{"name": "A", "defintion": "d"}]}, "no such field; did you mean 'definition'"),
        ({"reasoning": {"mod": "off"}}, "reasoning.mod: no such field; did you mean 'mode'?"),
        ({"sides": ["user"]}, "sides: must be written as fields, such as 'input: ...'"),
        ({"action": "blok"}, "action: must be 'allow', 'flag' or 'block'; did you mean 'block'?"),
        ({"description": ["a", "b"]}, "description: must be one text, not a list"),
        ({"description": None}, "description: is empty"),
        ({"allowed": None}, "allowed: is empty"),
        ({"allowed": [""]}, "allowed.0: is empty"),
        ({"builtin": "perhaps"}, "builtin: must be true or false"),
        ({"threshold": "high"}, "threshold: must be a number"),
    ],
)  # fmt: skip
def test_a_policy_is_told_what_must_stand_there(change: dict[str, Any], message: str) -> None:
    """In the words of the file, not in those of the code."""
    with pytest.raises(PolicyError) as refused:
        parse_policy({**HEAD, **change})

    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("a", "cases.0: must be written as fields, such as 'name: ...'"),
        ({**CASE, "expect": "block"}, "cases.0.expect: must be written as fields, such as 'decision: ...'"),
        ({**CASE, "expect": "unsafe"}, "cases.0.expect: must be written as fields, such as 'user: ...'"),
        ({**CASE, "exepct": {}}, "cases.0.exepct: no such field; did you mean 'expect'"),
        ({**CASE, "expect": {"decision": "deny"}}, "must be 'allow', 'flag', 'block' or 'undecided'"),
    ],
)
def test_cases_are_told_in_the_same_words(case: Any, message: str) -> None:
    """One helper reads for policies and for their cases."""
    with pytest.raises(PolicyError) as refused:
        parse_suite(
            {"policy": "p", "cases": [case]},
            file="cases.yaml",
            policy=lambda _: parse_policy(HEAD),
            is_there=lambda _: True,
        )

    assert message in str(refused.value)


def test_settings_are_told_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a flag, a variable or a file gave them; and what was given is not quoted."""
    with pytest.raises(SettingsError, match=r"timeout_s: must be more than 0; max_retries: must be a whole"):
        load_settings({"timeout_s": 0, "max_retries": "hunter2"})
    with pytest.raises(SettingsError, match=r"Bad settings: enigne: no such field; did you mean 'engine'"):
        load_settings({"enigne": "embedded"})
    monkeypatch.setenv("RAILSCRIBE_ADAPTERS", "hunter2")
    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value).startswith(
        "Bad settings: adapters: must be written as JSON in the environment."
    )
    assert not re.search("hunter2|EnvSettingsSource", str(refused.value))


@pytest.mark.parametrize("model", [Document, Settings])
def test_no_field_whatever_stands_there_is_told_in_the_words_of_the_code(
    model: type[Document] | type[Settings],
) -> None:
    """No name of a class, and none of pydantic's sentences."""
    told = []
    for name, field in model.model_fields.items():
        for odd in ODD:
            for given in (odd, [odd], {"name": odd, "mode": odd}):
                try:
                    model.model_validate({**(HEAD if model is Document else {}), field.alias or name: given})
                except ValidationError as error:
                    told += [message for _, message, _ in misfits(error, model)]

    assert len(told) > 200
    assert [each for each in told if re.search(r"Input|valid|instance|class|[a-z][A-Z]|Document", each)] == []
