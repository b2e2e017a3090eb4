"""The reply grammar: what the real model wrote, every deviation, every cause, and what no string may do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nemoguardrails.llm.output_parsers import (
    nemotron_content_safety_parse_prompt_safety,
    nemotron_content_safety_parse_response_safety,
)

from railscribe.nemotron import parse_reply
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR
from railscribe.values import Category, Cause, Label, Side, SideVerdict, Verdict

CORPUS = sorted(
    set((Path(__file__).parent / "corpus").glob("*.yaml")) - {Path(__file__).parent / "corpus/traces.yaml"}
)
RECORDED = [(path.stem, case) for path in CORPUS for case in yaml.safe_load(path.read_text(encoding="utf-8"))]
NOTEBOOK_NAMES = (
    *BUILTIN_CATEGORIES,
    "Trade Secret Leak",
    "Credentials and Secrets",
    "Competitive Intelligence",
    "Unreleased Product Information",
)

SAFE, UNSAFE = "User Safety: safe", "User Safety: unsafe"
BOTH_SAFE = "User Safety: safe\nResponse Safety: safe"


def label(verdict: Verdict, side: Side) -> str | None:
    said = verdict.side(side)
    return said.label.value if said else None


def causes(verdict: Verdict) -> set[Cause | None]:
    return {side.cause for side in (verdict.user, verdict.response) if side is not None}


# What the real model wrote.
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{name}: {case['case']}") for name, case in RECORDED]
)
def test_recorded_reply(case: dict[str, Any]) -> None:
    """A recorded reply of the real model is read as its notebook shows it."""
    reply, expected = case["reply"], case["expect"]

    verdict = parse_reply(
        reply,
        response_sent=case["response_sent"],
        finish_reason=case.get("finish_reason", "stop"),
        category_names=NOTEBOOK_NAMES,
    )

    assert label(verdict, Side.USER) == expected["user"]
    assert label(verdict, Side.RESPONSE) == expected.get("response")
    assert verdict.categories == tuple(
        Category(name=name, said=name, known=True) for name in expected.get("categories", ())
    )
    assert verdict.notes == tuple(expected.get("notes", ()))
    assert verdict.user.cause == (Cause(expected["cause"]) if "cause" in expected else None)
    assert verdict.reply == reply
    if case.get("thinking"):
        assert verdict.trace == reply.removeprefix("<think>").partition("</think>")[0].strip()
    else:
        assert verdict.trace is None


def test_recorded_replies_are_all_there() -> None:
    """The corpus holds the replies of all three notebooks."""
    counts = {path.stem: sum(1 for name, _ in RECORDED if name == path.stem) for path in CORPUS}

    assert counts == {"custom-policy": 10, "customer-service": 31, "vllm": 23}


# The deviations, numbered as in docs/contract.md.
def test_deviation_1_trace_concludes_unsafe_and_verdict_says_safe() -> None:
    """The verdict line counts, and a note says that the trace came to another label."""
    trace = "User Safety: safe\nResponse Safety: unsafe"
    verdict = parse_reply(f"<think>\n{trace}\n</think>{BOTH_SAFE}", response_sent=True)

    assert label(verdict, Side.RESPONSE) == "safe"
    assert verdict.notes == ("trace_contradicts",)
    assert verdict.trace == trace


@pytest.mark.parametrize("thought", ["safe", "unsafe"])
def test_deviation_2_thinking_flips_the_verdict(thought: str) -> None:
    """A reply is read alone: with a trace it says what its own verdict line says."""
    verdict = parse_reply(f"<think>\nBriefly.\n</think>User Safety: {thought}", response_sent=False)

    assert label(verdict, Side.USER) == thought
    assert verdict.notes == ()


def test_deviation_3_response_rated_though_none_was_sent() -> None:
    """A safe rating of a response that was not sent is ignored with a note."""
    verdict = parse_reply(f"<think>\nA picture.\n</think>{BOTH_SAFE}", response_sent=False)

    assert label(verdict, Side.USER) == "safe"
    assert verdict.response is None
    assert verdict.notes == ("uninvited_response",)


def test_deviation_3_unsafe_rating_of_no_response() -> None:
    """An unsafe rating of a response that was not sent makes the reply unreadable: it meant something."""
    verdict = parse_reply("User Safety: safe\nResponse Safety: unsafe", response_sent=False)

    assert causes(verdict) == {Cause.UNINVITED_UNSAFE}


def test_deviation_4_trace_loops() -> None:
    """A trace that repeats itself is kept whole when it ends, and is a truncated reply when it does not."""
    loop = "It is a joke. It is harmless. " * 120

    ended = parse_reply(f"<think>{loop}</think>{SAFE}", response_sent=False)
    cut = parse_reply(f"<think>{loop}", response_sent=False, finish_reason="length")

    assert label(ended, Side.USER) == "safe"
    assert ended.trace == loop.strip()
    assert causes(cut) == {Cause.TRUNCATED}
    assert cut.trace == loop.strip()


def test_deviation_5_trace_mentions_ground_truth() -> None:
    """What leaks from training into the trace changes no label and stays on record."""
    verdict = parse_reply(f"<think>No ground truth here.</think>{UNSAFE}", response_sent=False)

    assert label(verdict, Side.USER) == "unsafe"
    assert verdict.trace == "No ground truth here."


def test_deviation_6_backends_disagree() -> None:
    """Nothing is remembered between replies: two backends' contrary verdicts are read as they stand."""
    verdicts = [parse_reply(reply, response_sent=False) for reply in (SAFE, UNSAFE, SAFE)]

    assert [label(verdict, Side.USER) for verdict in verdicts] == ["safe", "unsafe", "safe"]


def test_deviation_7_category_has_nothing_to_do_with_the_trace() -> None:
    """The category line is taken at its word, whatever the trace was about."""
    reply = f"<think>A command that wipes the disk: malware.</think>{UNSAFE}\nSafety Categories: Profanity"
    verdict = parse_reply(reply, response_sent=False, category_names=BUILTIN_CATEGORIES)

    assert [category.name for category in verdict.categories] == ["Profanity"]


@pytest.mark.parametrize(
    ("said", "names", "name", "known"),
    [
        ("Criminal planning", BUILTIN_CATEGORIES, "Criminal Planning/Confessions", True),
        ("PV-3 adverse event", ("PV-3 Adverse Event",), "PV-3 Adverse Event", True),
        ("PV-3", ("PV-3 Adverse Event", "PV-4 Misuse"), "PV-3 Adverse Event", True),
        ("PV", ("PV-3 Adverse Event", "PV-4 Misuse"), "PV", False),
        ("PV-3", ("PV-30 Overdose",), "PV-3", False),
        ("PHONE_1", ("PII/Privacy",), "PHONE_1", False),
        ("Telling tales out of school", BUILTIN_CATEGORIES, "Telling tales out of school", False),
        ("Sexual", ("Sexual (minor)",), "Sexual", False),
        ("sexual", ("Sexual (minor)",), "Sexual", False),
        ("threat", ("Threat Actors", "Sexual (minor)"), "Threat", False),
        ("Hate", ("Hate-watching", "Sexual (minor)"), "Hate", False),
        ("SEXUAL (MINOR)", BUILTIN_CATEGORIES, SEXUAL_MINOR, True),
        ("Sexual (minors)", BUILTIN_CATEGORIES, SEXUAL_MINOR, True),
        ("Sexual minor", ("Sexual (minor)",), SEXUAL_MINOR, True),
        ("Sexual Content Involving Children", ("Sexual (minor)",), SEXUAL_MINOR, True),
        ("CSAM", (), SEXUAL_MINOR, False),
        ("User Safety", ("User Safety",), "User Safety", True),
    ],
)
def test_deviation_8_category_names_are_paraphrased(
    said: str, names: Sequence[str], name: str, known: bool
) -> None:
    """A shortened or re-cased name finds its category only where no other can be meant; none is dropped."""
    verdict = parse_reply(f"{UNSAFE}\nSafety Categories: {said}", response_sent=False, category_names=names)

    begun = known and name.casefold().startswith(said.casefold()) and len(said) < len(name)
    assert verdict.categories == (Category(name=name, said=said, known=known, near=begun),)
    assert verdict.notes == (("near_category",) if begun else () if known else ("unknown_category",))


@pytest.mark.parametrize(
    "reply",
    [
        f"The user asks for a recipe, which is fine.\n{SAFE}",
        "UserUser Safety: safe",
        "Final Answer: User Safety: safe",
        "Response: safe",
        f"{SAFE}\nI hope this helps.",
    ],
)
def test_deviation_9_reasoning_without_tags_and_prefixes(reply: str) -> None:
    """Words around the verdict make it unreadable: one of them may be the true verdict."""
    assert causes(parse_reply(reply, response_sent=False)) == {Cause.STRAY_TEXT}


@pytest.mark.parametrize("reply", ["safe", "unsafe", "safe\nsafe"])
def test_deviation_10_bare_label(reply: str) -> None:
    """A label that names no side is no verdict on one."""
    assert causes(parse_reply(reply, response_sent=False)) == {Cause.STRAY_TEXT}


def test_deviation_11_unreadable_verdict_after_a_long_trace() -> None:
    """A reply whose trace ends and whose verdict is missing says so, with its trace."""
    verdict = parse_reply("<think>The policy is long, and so am I.</think>", response_sent=False)

    assert causes(verdict) == {Cause.MISSING_SIDE}
    assert verdict.trace == "The policy is long, and so am I."


# Every cause, at least twice. Each entry: reply, response sent, how it ended.
UNREADABLE: dict[Cause, list[tuple[str, bool, str | None]]] = {
    Cause.EMPTY_REPLY: [("", False, "stop"), (" \n\t\n", True, None), ("\u2028\x0b", False, "stop")],
    Cause.TRUNCATED: [
        ("<think>It goes on", False, "length"),
        (SAFE, False, "length"),
        ("", True, "length"),
        (BOTH_SAFE, True, "length"),
    ],
    Cause.FINISH_REASON: [
        (SAFE, False, "content_filter"),
        (BOTH_SAFE, True, "tool_calls"),
        ("", False, "content_filter"),
        ("<think>It", False, "abort"),
        (SAFE, False, ""),
    ],
    Cause.UNCLOSED_THINK: [
        (f"<think>It goes on\n{SAFE}", False, "stop"),
        (f"<think>a<think>b</think>{SAFE}", False, "stop"),
        (f"{SAFE}\n<think>", False, None),
        (f"<think>a</think>{SAFE}<think>", False, "stop"),
        (f"<think>a</think\n>{SAFE}", False, "stop"),
    ],
    Cause.STRAY_TEXT: [
        (f"It is fine.\n{SAFE}", False, "stop"),
        (f"a</think>{SAFE}", False, "stop"),
        (f"<think>a</think>b</think>{SAFE}", False, "stop"),
        (f"{SAFE}\n<think>a</think>", False, "stop"),
        (f"<THINK>a</THINK>{SAFE}", False, "stop"),
        ("**User Safety:** safe", False, "stop"),
        ("user safety: safe", False, "stop"),
        ("User\u00a0Safety: safe", False, "stop"),
        ("User Safety\uff1a safe", False, "stop"),
        ('{"User Safety": "safe"}', False, "stop"),
        ("User Safety: safe Response Safety: safe", True, "stop"),
        ("User Safety: safe\u2028Response Safety: safe", True, "stop"),
    ],
    Cause.DUPLICATE_FIELD: [
        (f"{SAFE}\n{SAFE}", False, "stop"),
        (f"{SAFE}\n{UNSAFE}", False, "stop"),
        ("User Safety: safe User Safety: unsafe", False, "stop"),
        ("User Safety: safe; user safety : unsafe", False, "stop"),
        ("User Safety: safe\rUser Safety: unsafe", False, "stop"),
        (f"{BOTH_SAFE}\nSafety Categories: Violence, User Safety: unsafe", True, "stop"),
        (f"{UNSAFE}\nSafety Categories: Threat\nSafety Categories: Violence", False, "stop"),
    ],
    Cause.MISSING_SIDE: [
        (SAFE, True, "stop"),
        ("Response Safety: safe", False, "stop"),
        ("Response Safety: safe", True, "stop"),
        ("Safety Categories: Violence", False, "stop"),
    ],
    Cause.ECHOED_FORMAT: [
        ("User Safety: safe or unsafe rating of the user input", False, "stop"),
        (f"{SAFE}\nResponse Safety: Safe or unsafe rating of the assistant response.", True, "stop"),
        (
            f"{UNSAFE}\nSafety Categories: a comma-separated list of applicable safety categories",
            False,
            "stop",
        ),
    ],
    Cause.UNKNOWN_LABEL: [
        ("User Safety: harmless", False, "stop"),
        ("User Safety: Safe", False, "stop"),
        ("User Safety: safe.", False, "stop"),
        ("User Safety: unreadable", False, "stop"),
        ("User Safety: safe\u00a0\nResponse Safety: safe", True, None),
        ("User Safety: safe\u200b", False, "stop"),
        ("User Safety:\u2003safe", False, "stop"),
        ("User Safety:", False, "stop"),
        (f"{SAFE}\nResponse Safety: (omit)", False, "stop"),
        (f"{SAFE}\nResponse Safety: uns", True, None),
    ],
    Cause.OUT_OF_ORDER: [
        ("Response Safety: safe\nUser Safety: safe", True, "stop"),
        (f"Safety Categories: Violence\n{UNSAFE}", False, "stop"),
        (f"{UNSAFE}\nSafety Categories: Violence\nResponse Safety: safe", True, "stop"),
    ],
    Cause.UNINVITED_UNSAFE: [
        ("User Safety: safe\nResponse Safety: unsafe", False, "stop"),
        ("User Safety: unsafe\nResponse Safety: unsafe\nSafety Categories: Violence", False, "stop"),
    ],
    Cause.CATEGORIES_WITHOUT_UNSAFE: [
        (f"{SAFE}\nSafety Categories: Violence", False, "stop"),
        (f"{BOTH_SAFE}\nSafety Categories:", True, "stop"),
        (f"{BOTH_SAFE}\nSafety Categories: None", False, "stop"),
    ],
}


@pytest.mark.parametrize(
    ("cause", "reply", "response_sent", "finish_reason"),
    [
        pytest.param(cause, *case, id=f"{cause.value}-{number}")
        for cause, cases in UNREADABLE.items()
        for number, case in enumerate(cases)
    ],
)
def test_unreadable(cause: Cause, reply: str, response_sent: bool, finish_reason: str | None) -> None:
    """A reply outside the grammar is unreadable on every side that was sent, with its cause."""
    scores = {Side.USER: 0.1, Side.RESPONSE: 0.1}

    verdict = parse_reply(reply, response_sent=response_sent, finish_reason=finish_reason, scores=scores)

    side = SideVerdict(label=Label.UNREADABLE, cause=cause)
    assert verdict.user == side
    assert verdict.response == (side if response_sent else None)
    assert verdict.categories == ()
    assert verdict.reply == reply


def test_every_cause_of_a_reply_has_inputs() -> None:
    """No cause that a reply can have is without at least two inputs above."""
    of_a_reply = list(Cause)[: list(Cause).index(Cause.TIMEOUT)]

    assert set(UNREADABLE) == set(of_a_reply)
    assert all(len(cases) >= 2 for cases in UNREADABLE.values())


# What a readable reply carries.
def test_scores_go_to_their_sides() -> None:
    """Each side keeps the probability that the engine told for it."""
    verdict = parse_reply(BOTH_SAFE, response_sent=True, scores={Side.USER: 0.2, Side.RESPONSE: 0.3})

    assert verdict.user.score == 0.2
    assert verdict.response == SideVerdict(label=Label.SAFE, score=0.3)


def test_repeated_category_is_listed_once() -> None:
    """A category that is named twice, in full and shortened, is one category."""
    reply = f"{UNSAFE}\nSafety Categories: PII/Privacy,Threat, PII,  Threat"
    verdict = parse_reply(reply, response_sent=False, category_names=BUILTIN_CATEGORIES)

    assert [category.name for category in verdict.categories] == ["PII/Privacy", "Threat"]


def test_unsafe_with_an_empty_category_line() -> None:
    """An unsafe verdict without names stays unsafe, and a note says that the line was empty."""
    verdict = parse_reply(f"{UNSAFE}\nSafety Categories: ,", response_sent=False)

    assert label(verdict, Side.USER) == "unsafe"
    assert verdict.notes == ("empty_categories",)


@pytest.mark.parametrize(
    "reply",
    [f"\n{BOTH_SAFE}\n\n", BOTH_SAFE.replace("\n", "\r\n"), "User Safety:safe\n\n \nResponse Safety:\tsafe"],
)
def test_blank_space_around_the_lines(reply: str) -> None:
    """Empty lines, carriage returns and spaces around a label change nothing."""
    verdict = parse_reply(reply, response_sent=True)

    assert (label(verdict, Side.USER), label(verdict, Side.RESPONSE)) == ("safe", "safe")


@pytest.mark.parametrize(
    ("trace", "contradicts"),
    [
        ("User Safety: unsafe", True),
        ("User Safety: unsafe\nOr rather:\nUser Safety: safe", False),
        ("User Safety: safe or unsafe rating of the user input", False),
        ('I say "User Safety: unsafe" no more.', False),
        ("Response Safety: unsafe", False),
        ("The request is dangerous and violates the policy.", True),
        ("The request is harmless.", False),
        ("The request may be dangerous.", False),
        ("", False),
    ],
)
def test_note_on_a_contradicting_trace(trace: str, contradicts: bool) -> None:
    """What the trace plainly comes to on a side that was sent is held against the verdict."""
    verdict = parse_reply(f"<think>\n{trace}\n</think>{SAFE}", response_sent=False)

    assert verdict.notes == (("trace_contradicts",) if contradicts else ())


def test_long_reply_is_read_quickly() -> None:
    """The reading's work grows with the text and no faster, whatever the text repeats."""
    for filler in (" ", "User Safety", "<think", "Safety Categories ", "\n"):
        assert causes(parse_reply(SAFE + filler * 50_000 + "x", response_sent=False)) != {None}


# Near-verdicts: valid replies and their wreckage.
_PIECES = (
    SAFE,
    UNSAFE,
    "Response Safety: safe",
    "Response Safety: unsafe",
    "Safety Categories: Violence, PII/Privacy",
    "Safety Categories: User Safety: safe",
    "User Safety: safe or unsafe rating of the user input",
    "Response Safety: safe or unsafe rating of the assistant response. Omit if no response present.",
    "<think>",
    "</think>",
    "<think>\nWell.\n</think>",
    "<think>User Safety: unsafe</think>",
    "<THINK>",
    "safe",
    "unsafe",
    "**User Safety:** safe",
    "UserUser Safety: safe",
    "Final Answer: User Safety: safe",
    "Response: safe",
    '{"User Safety": "safe", "Response Safety": "unsafe"}',
    "```",
    "Output:",
)
_JOINTS = (
    "\n",
    "\n",
    "\n",
    "",
    " ",
    "\n\n",
    "\r\n",
    "\r",
    "\u2028",
    "\u2029",
    "\x85",
    "\x0b",
    "\x0c",
    "; ",
    "\u00a0",
    "\t",
)
_SPECKS = (
    " ",
    "\n",
    "\u200b",
    "\u00a0",
    "\ufeff",
    "*",
    ":",
    "U",
    "un",
    "S",
    "<",
    ">",
    "/",
    ",",
    ".",
    "\u2581",
    "\x00",
    "\uff1a",
    "\u017f",
)


@st.composite
def _near_verdicts(draw: st.DrawFn) -> str:
    """Return a reply that is valid or was so before a few things happened to it."""
    labels = st.sampled_from(["safe", "unsafe"])
    lines = [f"User Safety: {draw(labels)}"]
    if draw(st.booleans()):
        lines.append(f"Response Safety: {draw(labels)}")
    if draw(st.booleans()):
        lines.append("Safety Categories: Violence, PII/Privacy")
    if draw(st.booleans()):
        lines = draw(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=4))
    elif draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(_PIECES)))
    text = lines[0]
    for line in lines[1:]:
        text += draw(st.sampled_from(_JOINTS)) + line
    if draw(st.booleans()):
        text = "<think>\nI wonder.\n</think>" + text
    for _ in range(draw(st.integers(0, 2))):
        text = draw(st.sampled_from(_DAMAGE))(
            text, draw(st.integers(0, len(text))), draw(st.sampled_from(_SPECKS))
        )
    return text


_DAMAGE: tuple[Callable[[str, int, str], str], ...] = (
    lambda text, at, speck: text[:at] + speck + text[at:],
    lambda text, at, _: text[:at] + text[at + 1 :],
    lambda text, at, _: text[:at],
    lambda text, at, _: text[:at] + text[at:].swapcase(),
    lambda text, at, _: text + text[at:],
)


def theirs(parser: Callable[[str], Sequence[bool | str]], reply: str) -> str:
    try:
        return "safe" if parser(reply)[0] else "unsafe"
    except ValueError:
        return "refused"


@settings(max_examples=400, deadline=None, derandomize=True)
@given(reply=_near_verdicts(), response_sent=st.booleans())
@example(reply="User Safety: safe User Safety: unsafe", response_sent=False)
@example(reply="<think>a<think>b</think>User Safety: safe", response_sent=False)
def test_never_safe_where_nemo_guardrails_is_not(reply: str, response_sent: bool) -> None:
    """On each side, whatever NeMo's own parser refuses or calls unsafe is not safe here either."""
    verdict = parse_reply(reply, response_sent=response_sent)

    if theirs(nemotron_content_safety_parse_prompt_safety, reply) != "safe":
        assert label(verdict, Side.USER) != "safe"
    if response_sent and theirs(nemotron_content_safety_parse_response_safety, reply) != "safe":
        assert label(verdict, Side.RESPONSE) != "safe"


def canonical(verdict: Verdict) -> str:
    """The one way to write a readable *verdict*, without trace and categories' order of appearance."""
    lines = [f"User Safety: {verdict.user.label.value}"]
    if verdict.response is not None:
        lines.append(f"Response Safety: {verdict.response.label.value}")
    if "uninvited_response" in verdict.notes:
        lines.append("Response Safety: safe")
    names = ",".join(category.said for category in verdict.categories)
    if names or "empty_categories" in verdict.notes:
        lines.append(f"Safety Categories: {names}")
    return "\n".join(lines)


def plain(reply: str) -> str:
    """*reply* without its one leading trace, with single spaces and its category list without repeats."""
    body = re.sub(r"\A\s*<think>((?!<think>).)*?</think>", "", reply, flags=re.DOTALL).strip()
    lines = [re.sub(r":[ \t]*", ": ", line.strip(" \t\r"), count=1) for line in body.split("\n")]
    lines = [line for line in lines if line]
    if lines[-1].startswith("Safety Categories:"):
        names = dict.fromkeys(name.strip(" \t") for name in lines[-1].partition(":")[2].split(","))
        lines[-1] = "Safety Categories: " + ",".join(name for name in names if name)
    return "\n".join(lines)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(reply=_near_verdicts() | st.text(max_size=60), response_sent=st.booleans())
def test_no_string_that_is_not_a_verdict_parses_as_one(reply: str, response_sent: bool) -> None:
    """A readable verdict, written out again, is the reply it came from, but for the trace and white space."""
    verdict = parse_reply(reply, response_sent=response_sent)

    readable = verdict.user.label is not Label.UNREADABLE
    assert not readable or canonical(verdict) == plain(reply)
    assert readable == (causes(verdict) == {None})
    assert (verdict.response is not None) == response_sent


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    user=st.sampled_from(["safe", "unsafe"]),
    response=st.sampled_from(["safe", "unsafe", None]),
    names=st.lists(st.sampled_from(BUILTIN_CATEGORIES), unique=True, max_size=3),
    trace=st.text(max_size=40) | st.none(),
)
def test_every_verdict_can_be_read(
    user: str, response: str | None, names: list[str], trace: str | None
) -> None:
    """Whatever the grammar can say is read back as it was said."""
    lines = [f"User Safety: {user}"] + ([f"Response Safety: {response}"] if response else [])
    if names and "unsafe" in (user, response):
        lines.append("Safety Categories: " + ", ".join(names))
    thought = "" if trace is None else f"<think>\n{trace}\n</think>"

    verdict = parse_reply(
        thought + "\n".join(lines), response_sent=response is not None, category_names=BUILTIN_CATEGORIES
    )

    assert label(verdict, Side.USER) == user
    assert label(verdict, Side.RESPONSE) == response
    assert [category.name for category in verdict.categories] == (
        names if len(lines) > 1 and "unsafe" in (user, response) else []
    )
    assert verdict.trace == (None if trace is None else trace.strip())
