"""``railscribe policy test`` on the shell, against a model that says what each text tells it to say."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
SCIENTIST = "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}"
POLICY = {
    "name": "chess-club",
    "version": "1",
    "description": "A chess club.",
    "builtin": False,
    "categories": [
        {"name": "Betting", "definition": "Bets on games.", "action": "flag"},
        {"name": "Cheating"},
    ],
}


@pytest.fixture
def policy_test(railscribe: Run, loopback: Any, answer: Any, chat: Any, tmp_path: Path) -> Run:
    """Runs ``policy test``: a text with ``[Betting]`` is unsafe with that category, ``[coin]`` now and then."""
    flips = count()

    def judge(body: dict[str, Any]) -> Any:
        said = json.dumps(body["messages"])
        names = re.findall(r"\[(Betting|Cheating)\]", said)
        if "[coin]" in said and next(flips) % 2:
            names = ["Cheating"]
        labels = f"User Safety: {'unsafe' if names else 'safe'}"
        if '"assistant"' in said:
            labels = f"User Safety: safe\nResponse Safety: {'unsafe' if names else 'safe'}"
        categories = f"\nSafety Categories: {', '.join(names)}" if names else ""
        return answer(chat(labels + categories))

    loopback.judge = judge
    (tmp_path / "chess.json").write_text(json.dumps(POLICY), encoding="utf-8")

    def run(cases: list[dict[str, Any]], *flags: str) -> Any:
        document = {"policy": "chess.json", "cases": cases}
        (tmp_path / "cases.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        server = ("--base-url", loopback.base_url, "--model", loopback.model)
        return railscribe("policy", "test", "cases.json", *server, *flags)

    return run


def case(name: str, text: str, **others: Any) -> dict[str, Any]:
    """A case that expects what *others* say; ``allow`` if they say nothing."""
    return {"name": name, "text": text, "expect": others.pop("expect", {"decision": "allow"}), **others}


CASES = [
    case("opening", "Which opening suits a beginner?"),
    case(
        "wager",
        "Ten on white [Betting]",
        expect={"decision": "flag", "category": "Betting", "user": "unsafe"},
    ),
    case(
        "answer",
        "And then?",
        response="Use an engine under the table [Cheating]",
        expect={"decision": "block", "response": "unsafe", "category": ["Betting", "Cheating"]},
    ),
]


def test_what_is_expected_passes(policy_test: Run) -> None:
    """Decision, side and category are each compared, on the user's side and on the response's."""
    ran = policy_test(CASES)

    assert ran.code == 0, ran.err
    assert "100% of the cases pass" in ran.out
    assert "FAILED" not in ran.out


def test_what_differs_is_told(policy_test: Run) -> None:
    """A failed case shows its place, its text, what was expected, what came and why the author expects it."""
    ran = policy_test([*CASES, case("blunder", "I lost [Cheating]", reason="Losing is no crime.")])

    assert ran.code == 1
    told = ran.out.split("\n\n")[0]
    assert re.search(r"FAILED  blunder  \(cases\.json:\d+\)", told)
    assert "I lost [Cheating]" in told
    assert "decision: expected allow, got block" in told
    assert "verdict:  user unsafe" in told
    assert "expected because: Losing is no crime." in told
    assert "75% of the cases pass" in ran.out


def test_what_does_not_always_end_alike_is_flaky(policy_test: Run) -> None:
    """Repeating shows how often a case came otherwise; one that always does is failed, not flaky."""
    cases = [case("coin", "heads [coin]"), case("never", "[Cheating]"), case("always", "hello")]
    ran = policy_test(cases, "--repeat", "6", "--concurrency", "1", "--json")

    assert ran.code == 1
    file = ran.json()["files"][0]
    assert {each["name"]: (each["standing"], each["failed_runs"]) for each in file["cases"]} == {
        "coin": ("flaky", 3),
        "never": ("failed", 6),
        "always": ("passed", 0),
    }
    assert (file["passed"], file["flaky"], file["failed"], file["pass_rate"]) == (
        1,
        1,
        1,
        pytest.approx(1 / 3, abs=1e-4),
    )


def test_a_known_failure_counts_apart_and_only_for_its_guard(policy_test: Run) -> None:
    """It does not fail the run; that it passes after all is said, and fails a strict run."""
    known = case("known", "[Cheating]", known_failure={"openai_compatible": "It takes losing for cheating."})
    healed = case("healed", "hello", known_failure={"openai_compatible": "It once did."})
    others = case("others", "[Cheating]", known_failure={"embedded": "Not this guard's."})

    tolerant, strict = policy_test([known, healed]), policy_test([known, healed], "--strict")
    failed = policy_test([others])

    assert (tolerant.code, strict.code, failed.code) == (0, 1, 1)
    assert "KNOWN FAILURE  known" in tolerant.out
    assert "It takes losing for cheating." in tolerant.out
    assert "UNEXPECTED PASS  healed" in tolerant.out
    assert "FAILED  others" in failed.out


def test_a_share_may_be_enough(policy_test: Run) -> None:
    """A small guard need not pass everything: --min-pass says how much it must."""
    cases = [*CASES, case("blunder", "I lost [Cheating]")]

    assert policy_test(cases, "--min-pass", "0.75").code == 0
    assert policy_test(cases, "--min-pass", "0.76").code == 1


def test_cases_are_chosen_by_name(policy_test: Run) -> None:
    """Only those that fit are run; a pattern that fits none is an error, not a success."""
    ran = policy_test(CASES, "-k", "w*", "--json")
    none = policy_test(CASES, "-k", "x*")

    assert [each["name"] for each in ran.json()["files"][0]["cases"]] == ["wager"]
    assert (none.code, none.err.strip()) == (2, "railscribe: No case has a name like x*.")


def test_a_file_that_the_choice_leaves_empty_does_not_fail(policy_test: Run, tmp_path: Path) -> None:
    """What nobody ran is not held against a share that must pass, and what was left out is said."""
    others = {"policy": "chess.json", "cases": [case("ending", "How do I mate with a rook?")]}
    (tmp_path / "others.json").write_text(json.dumps(others), encoding="utf-8")
    flags = ("others.json", "-k", "w*", "--min-pass", "1")
    ran, as_json = policy_test(CASES, *flags), policy_test(CASES, *flags, "--json")

    assert ran.code == 0, ran.out
    assert "100% of the cases pass; -k left out 2 others" in ran.out
    assert ran.out.endswith("others.json: none of its 1 cases is chosen by -k\n")
    assert [(file["ok"], file["left_out"], file["pass_rate"]) for file in as_json.json()["files"]] == [
        (True, 2, 1.0),
        (True, 1, None),
    ]


def test_junit_is_what_ci_systems_read(policy_test: Run, tmp_path: Path) -> None:
    """Failures and known failures are told apart, and what XML cannot hold, and nothing else, is replaced."""
    pytest.importorskip("junitparser")
    cases = [
        CASES[0],
        case("blunder \u0007", f"I lost \u0007\u0000 [Cheating] <&> {SCIENTIST}"),
        case("known", "[Cheating]", known_failure={"openai_compatible": "Known."}),
    ]
    ran = policy_test(cases, "--junit", "out.xml")

    suite = ET.parse(tmp_path / "out.xml").getroot().find("testsuite")  # noqa: S314 - our own file
    assert ran.code == 1
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    failure = suite.find("testcase[@name='blunder \ufffd']/failure")
    assert failure is not None
    assert failure.get("message") == "decision: expected allow, got block"
    assert f"I lost \ufffd\ufffd [Cheating] <&> {SCIENTIST}" in suite.findtext("testcase/system-out", "")


@pytest.mark.parametrize(
    ("flags", "code", "failed", "skipped"),
    [
        ((), 1, {"blunder"}, {"known"}),
        (("--strict",), 1, {"blunder", "healed"}, {"known"}),
        (("--min-pass", "0.5"), 0, set(), {"blunder", "known"}),
        (("--min-pass", "0.5", "--strict"), 1, {"healed"}, {"blunder", "known"}),
        (("--min-pass", "0.9"), 1, {"blunder", "--min-pass 0.9"}, {"known"}),
    ],
)
def test_junit_tells_the_story_of_the_exit_code(
    policy_test: Run, tmp_path: Path, flags: tuple[str, ...], code: int, failed: set[str], skipped: set[str]
) -> None:
    """What --strict holds against the policy, or --min-pass does not, is so in the file as well."""
    pytest.importorskip("junitparser")
    cases = [
        CASES[0],
        case("blunder", "I lost [Cheating]"),
        case("known", "[Cheating]", known_failure={"openai_compatible": "Known."}),
        case("healed", "hello", known_failure={"openai_compatible": "It once did."}),
    ]
    ran = policy_test(cases, "--junit", "out.xml", *flags)

    root = ET.parse(tmp_path / "out.xml").getroot()  # noqa: S314 - our own file
    assert ran.code == code
    assert {each.get("name") for each in root.findall(".//testcase[failure]")} == failed
    assert {each.get("name") for each in root.findall(".//testcase[skipped]")} == skipped
    assert ("fewer than the 90.0% that must" in ran.out) is ("--min-pass 0.9" in failed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expect": {"decision": "blocked"}}, r"line \d+, cases\.0\.expect\.decision: "),
        ({"expect": {}}, r"cases\.0\.expect: expects nothing"),
        ({"expects": {}}, r"cases\.0\.expects: no such field"),
        (
            {"expect": {"category": "Bets"}},
            r"cases\.0\.expect\.category: 'Bets' is no category of the policy 'chess-club'",
        ),
        ({"expect": {"response": "safe"}}, r"cases\.0: expects something of a response and has none"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line(
    policy_test: Run, change: dict[str, Any], message: str
) -> None:
    """Nothing is run, and nothing is skipped without a word."""
    ran = policy_test([{**CASES[0], **change}])

    assert ran.code == 2
    assert re.search(message, ran.err), ran.err


def test_two_cases_of_one_name_are_refused(policy_test: Run) -> None:
    """A report that says "opening failed" must mean one case."""
    ran = policy_test([CASES[0], CASES[0]])

    assert ran.code == 2
    assert "'opening' is the name of two cases" in ran.err


def test_an_engine_that_cannot_be_reached_is_said_so(railscribe: Run, tmp_path: Path) -> None:
    """Exit code 3: nothing was learnt about the policy."""
    (tmp_path / "chess.json").write_text(json.dumps(POLICY), encoding="utf-8")
    (tmp_path / "cases.json").write_text(
        json.dumps({"policy": "chess.json", "cases": CASES}), encoding="utf-8"
    )

    ran = railscribe("policy", "test", "cases.json", "--base-url", "http://127.0.0.1:9/v1", "--model", "x")

    assert ran.code == 3, ran.err
