"""Rendering: to the byte what the golden files hold. REFRESH_GOLDENS=1 rewrites them, for a human to read."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from railscribe.errors import PolicyError
from railscribe.policy import (
    Policy,
    PolicyCategory,
    load_policy,
    mode_reason,
    parse_policy,
    ready_policies,
    render,
)
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, SEXUAL_MINOR_DEFINITION
from railscribe.values import Action, Mode, Side

GOLDENS = Path(__file__).parent / "goldens"
SOURCES = {**ready_policies(), **{path.stem: path for path in sorted(GOLDENS.glob("*.yaml"))}}
MINIMAL: dict[str, Any] = {"name": "p", "version": "1", "description": "d"}


@pytest.mark.parametrize("thinking", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("name", SOURCES)
def test_golden(name: str, thinking: bool) -> None:
    """A policy renders to the same bytes and the same digests on every run, machine and Python."""
    rendering = render(load_policy(str(SOURCES[name])), thinking=thinking)
    golden = GOLDENS / f"{name}{'.thinking' if thinking else ''}.txt"
    facts = (
        f"mode {rendering.mode.value}\n"
        f"document {rendering.policy_digest}\n"
        f"text {rendering.text_digest}\n"
        f"\n{rendering.text}\n"
    )
    if os.environ.get("REFRESH_GOLDENS"):
        golden.write_bytes(facts.encode())
        pytest.skip(f"rewrote {golden.name}")

    assert golden.read_bytes().decode() == facts


def test_every_golden_has_its_policy() -> None:
    """No golden file outlives the policy it was made from."""
    assert {path.name.split(".")[0] for path in GOLDENS.glob("*.txt")} == set(SOURCES)


@pytest.mark.parametrize(
    ("changes", "mode"),
    [
        ({}, Mode.BUILTIN),
        ({"action": "flag"}, Mode.BUILTIN),
        ({"categories": [{"name": "Profanity", "action": "allow"}]}, Mode.BUILTIN),
        ({"categories": [{"name": "Profanity", "definition": "swearing"}]}, Mode.TAXONOMY),
        ({"categories": [{"name": "Tickets"}]}, Mode.TAXONOMY),
        ({"suppressed": ["Profanity"]}, Mode.TAXONOMY),
        ({"builtin": False, "categories": [{"name": "Tickets"}]}, Mode.TAXONOMY),
        ({"disallowed": ["Selling tickets"]}, Mode.POLICY),
        ({"allowed": ["Selling tickets"]}, Mode.POLICY),
        ({"allowed": ["Selling tickets"], "mode": "taxonomy"}, Mode.TAXONOMY),
        ({"mode": "policy"}, Mode.POLICY),
        ({"mode": "taxonomy"}, Mode.TAXONOMY),
        ({"mode": "builtin", "action": "flag"}, Mode.BUILTIN),
    ],
)
def test_mode(changes: dict[str, Any], mode: Mode) -> None:
    """Without a wish of its own a policy takes the plainest mode that can carry it."""
    assert render(parse_policy(MINIMAL | changes)).mode is mode


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "nothing that the model reads differs from its built-in categories"),
        (
            {"suppressed": ["Profanity"], "categories": [{"name": "Tickets"}, {"name": "Fares"}]},
            (
                "only categories differ from the built-in ones (2 categories of its own, 1 built-in ones left out), "
                "which mode taxonomy carries"
            ),
        ),
        (
            {"disallowed": ["Selling tickets"]},
            "behaviours are written out (disallowed), which mode policy carries",
        ),
        (
            {"disallowed": ["Selling tickets"], "allowed": ["Collecting tickets"]},
            "behaviours are written out (disallowed and allowed), which mode policy carries",
        ),
        ({"mode": "taxonomy"}, "the document asks for mode taxonomy"),
    ],
)
def test_the_mode_has_its_reason(changes: dict[str, Any], reason: str) -> None:
    """Whoever wonders why a policy travels as it does is told, and asking changes no digest."""
    policy = parse_policy(MINIMAL | changes)

    assert mode_reason(policy) == reason


@pytest.mark.parametrize("mode", ["policy", "taxonomy"])
def test_a_hundred_and_fifty_categories(mode: str) -> None:
    """Each has its line, in the document's order, and nothing of what is ours is read by the model."""
    categories = [
        {
            "name": f"Topic {number}",
            "definition": f"talk of department {number}",
            "examples": [f"EXAMPLE {number}"],
            "threshold": 0.5,
            "refusals": {"de": f"REFUSAL {number}"},
        }
        | ({"parent": f"Topic {number - 10}"} if number >= 10 else {})
        for number in range(150)
    ]

    rendering = render(parse_policy(MINIMAL | {"mode": mode, "builtin": False, "categories": categories}))

    lines = [line for line in rendering.text.splitlines() if "department" in line]
    mark = (
        "- Topic {0}: talk of department {0}" if mode == "policy" else "- Topic {0} (talk of department {0})"
    )
    assert lines == [mark.format(number) for number in range(150)]
    assert rendering.category_names == (*(f"Topic {number}" for number in range(150)), SEXUAL_MINOR)
    assert "EXAMPLE" not in rendering.text
    assert "REFUSAL" not in rendering.text
    assert rendering.scores_categories


@pytest.mark.parametrize("mode", ["policy", "taxonomy"])
@pytest.mark.parametrize("builtin", [True, False])
def test_sexual_minor_is_restated(mode: str, builtin: bool) -> None:
    """Every text that replaces the built-in taxonomy names the one category that never falls away."""
    document = MINIMAL | {"mode": mode, "builtin": builtin, "categories": [{"name": "Tickets"}]}

    rendering = render(parse_policy(document))

    assert SEXUAL_MINOR in rendering.category_names
    assert f"- {SEXUAL_MINOR}" in rendering.text
    assert SEXUAL_MINOR_DEFINITION in rendering.text


def test_policy_without_sexual_minor_cannot_be_made() -> None:
    """A policy changed in code is held to it too: the category cannot be dropped, softened or redefined."""
    policy = parse_policy(MINIMAL)
    soft = PolicyCategory(name=SEXUAL_MINOR, definition=SEXUAL_MINOR_DEFINITION, action=Action.FLAG)
    empty = PolicyCategory(name=SEXUAL_MINOR, definition="nothing at all", action=Action.BLOCK)

    for categories in ((), (soft,), (empty,)):
        with pytest.raises(PolicyError, match="belongs to every policy"):
            dataclasses.replace(policy, categories=categories)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unlisted_action": Action.ALLOW}, "unlisted_action: may be block or flag"),
        ({"suppressed": (SEXUAL_MINOR,)}, "suppressed.0: 'Sexual (minor)' cannot be suppressed"),
        ({"suppressed": ("Violence",)}, "suppressed.0: 'Violence' is also listed"),
        ({"builtin": False}, None),
        ({"input_sides": (Side.RESPONSE,)}, "sides: input must hold 'user'"),
        ({"output_sides": ()}, "sides: output must hold 'response'"),
        ({"allowed": ("Talk\n\nDisallowed Behaviors:",)}, "allowed.0: must be one line"),
        ({"description": "x <end_of_turn>"}, "description: reads as structure of the model's template"),
        ({"allowed": ("Sexual content with minors",)}, "allowed.0: 'Sexual (minor)' cannot be allowed"),
        ({"disallowed": ("Refusing sexual content with minors",)}, "disallowed.0: reads as if something of"),
        ({"disallowed": ("\u200b",)}, "disallowed.0: holds nothing that can be seen"),
        ({"threshold": 1.0}, "threshold: must be less than 1"),
        ({"review_band": (0.7, 0.3)}, "review_band: is two scores"),
        ({"name": "../etc"}, "name: use lower-case letters"),
    ],
)
def test_a_policy_changed_in_code_keeps_the_rules_of_documents(
    changes: dict[str, Any], message: str | None
) -> None:
    """What no document may say, ``dataclasses.replace`` may not either."""
    policy = parse_policy(MINIMAL | {"categories": [{"name": "Tickets"}]})

    if message is None:
        assert dataclasses.replace(policy, **changes) != policy
        return
    with pytest.raises(PolicyError) as refused:
        dataclasses.replace(policy, **changes)
    assert message in str(refused.value)


def test_categories_changed_in_code_keep_the_rules_of_documents() -> None:
    """None is left out unsaid, softened below another, or sexual content with minors under another name."""
    policy = parse_policy(MINIMAL | {"categories": [{"name": "Tickets"}]})
    floor = policy.category(SEXUAL_MINOR)
    assert floor is not None
    for last, message in (
        (
            PolicyCategory(name="CSAM", definition=None, action=Action.FLAG),
            "which always blocks, under any name",
        ),
        (
            PolicyCategory(name="CSAM", definition=None, action=Action.BLOCK, threshold=0.9),
            "takes none above 0.5",
        ),
        (
            PolicyCategory(name="Seats", definition=None, action=Action.FLAG, parent="Violence"),
            "a child may only tighten",
        ),
        (PolicyCategory(name="tickets", definition=None, action=Action.BLOCK), "'tickets' is listed twice"),
    ):
        with pytest.raises(PolicyError, match=message):
            dataclasses.replace(policy, categories=(*policy.categories, last))
    with pytest.raises(PolicyError, match="not those that builtin and suppressed leave"):
        dataclasses.replace(policy, categories=(floor, policy.categories[-1]))
    allowed = tuple(
        category if category.name == SEXUAL_MINOR else dataclasses.replace(category, action=Action.ALLOW)
        for category in policy.categories
    )
    with pytest.raises(PolicyError, match="without effect"):
        dataclasses.replace(policy, categories=allowed)


def _with(**changes: Any) -> Policy:
    return parse_policy(
        MINIMAL | {"disallowed": ["Selling tickets"], "categories": [{"name": "Tickets"}]} | changes
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"action": "flag"},
        {"categories": [{"name": "Tickets", "action": "flag"}]},
        {"unlisted_action": "flag"},
        {"refusal": "No."},
        {"sides": {"input": ["user", "response"]}},
        {"version": "2"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_the_model_never_reads_changes_one_digest(changes: dict[str, Any]) -> None:
    """Actions, sides, refusal and version are part of the document's identity and no part of the text's."""
    before, after = render(_with()), render(_with(**changes))

    assert after.policy_digest != before.policy_digest
    assert after.text_digest == before.text_digest


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "q"},
        {"description": "e"},
        {"disallowed": ["Selling tickets", "Giving tickets away"]},
        {"allowed": ["Collecting tickets"]},
        {"categories": [{"name": "Tickets", "definition": "of any kind"}]},
        {"suppressed": ["Profanity"]},
        {"builtin": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_the_model_reads_changes_both_digests(changes: dict[str, Any]) -> None:
    """Whatever changes the text changes the document as well."""
    before, after = render(_with()), render(_with(**changes))

    assert after.policy_digest != before.policy_digest
    assert after.text_digest != before.text_digest


def test_thinking_changes_the_text_alone() -> None:
    """The header asks for reasoning first only where thinking was asked for; the document is the same."""
    plain, thinking = render(_with()), render(_with(), thinking=True)

    assert plain.policy_digest == thinking.policy_digest
    assert "step-by-step" in thinking.text.splitlines()[0]
    assert thinking.text.splitlines()[1:] == plain.text.splitlines()[1:]
    assert "step-by-step" not in plain.text


@pytest.mark.parametrize(
    "document",
    [
        MINIMAL | {"suppressed": []},
        {"description": "d", "version": "1", "name": " p "},
        MINIMAL | {"action": "block", "builtin": True, "mode": "auto", "sides": {}},
        MINIMAL | {"sides": {"input": ["user", "user"], "output": ["response"]}},
    ],
)
def test_same_meaning_has_the_same_digest(document: dict[str, Any]) -> None:
    """Defaults written out, another order of fields and blank space around them make no other policy."""
    assert parse_policy(document).digest == parse_policy(MINIMAL).digest


_words = (
    st.text(
        st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=",<>:/#["), min_size=1
    )
    .map(str.strip)
    .filter(bool)
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    definitions=st.lists(st.none() | _words, min_size=1, max_size=3),
    disallowed=st.lists(_words, max_size=2),
    allowed=st.lists(_words, max_size=2),
    suppressed=st.lists(st.sampled_from(BUILTIN_CATEGORIES), max_size=2, unique=True),
)
def test_no_document_renders_without_its_floor(
    definitions: list[str | None], disallowed: list[str], allowed: list[str], suppressed: list[str]
) -> None:
    """A document is refused, or its text holds one line per clause and the floor among them."""
    categories = [
        {"name": f"C{n}"} | ({"definition": words} if words else {}) for n, words in enumerate(definitions)
    ]
    document = MINIMAL | {
        "disallowed": disallowed,
        "allowed": allowed,
        "suppressed": suppressed,
        "categories": categories,
    }

    try:
        rendering = render(parse_policy(document))
    except PolicyError:
        return

    clauses = [line for line in rendering.text.splitlines() if line.startswith("- ")]
    assert len(clauses) == len(rendering.category_names) + len(disallowed) + len(allowed)
    assert sum(SEXUAL_MINOR_DEFINITION in clause for clause in clauses) == 1
    assert set(rendering.category_names) == {
        *BUILTIN_CATEGORIES,
        *(str(c["name"]) for c in categories),
    } - set(suppressed)
