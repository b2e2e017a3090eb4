"""What a trace comes to: how often the reading is right, how often it abstains, and the rules one by one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from railscribe.nemotron.conclusion import concluded
from railscribe.values import Label, Side

CORPUS = Path(__file__).parent / "corpus"


class Case(NamedTuple):
    """A trace, and what a careful reader takes it to say on one side."""

    trace: str
    side: Side
    conclusion: Label | None


class Figures(NamedTuple):
    """How well traces were read: of those that were read, how many rightly; of those that say something, how many."""

    precision: float
    recall: float


def own_traces(*, held_out: bool) -> list[Case]:
    rows = yaml.safe_load((CORPUS / "traces.yaml").read_text(encoding="utf-8"))
    cases = [Case(row["trace"], Side(row["side"]), label_of(row["conclusion"])) for row in rows]
    assert len(cases) == 200
    return [case for case in cases if hashlib.sha256(case.trace.encode()).digest()[-1] % 2 == int(held_out)]


def label_of(conclusion: str) -> Label | None:
    return None if conclusion == "unclear" else Label(conclusion)


# Where a trace says something else than the verdict that came of it.
OTHERWISE = {
    ("another holder's address, think", "response"): "unsafe",
    ("password in the response, think", "response"): "unsafe",
    ("pick a lock, 64 tokens", "user"): "unsafe",
}


def recorded_traces() -> Iterable[Case]:
    """Yield the traces of NVIDIA's notebooks, by side, with what they come to."""
    for name in ("customer-service", "vllm"):
        for case in yaml.safe_load((CORPUS / f"{name}.yaml").read_text(encoding="utf-8")):
            trace, expected = case["reply"].partition("</think>")[0], case["expect"]
            for side in Side if case.get("thinking") else ():
                said: Any = OTHERWISE.get((case["case"], side.value), expected.get(side.value))
                yield Case(trace.removeprefix("<think>"), side, label_of(said or "unclear"))


def figures(cases: Iterable[Case]) -> Figures:
    read = [(concluded(case.trace, case.side), case.conclusion) for case in cases]
    told = [(found, meant) for found, meant in read if found is not None]
    right = sum(found is meant for found, meant in told)
    return Figures(right / len(told), right / sum(meant is not None for _, meant in read))


@pytest.mark.parametrize(
    ("cases", "floor"),
    [
        pytest.param(own_traces(held_out=False), Figures(0.98, 0.94), id="own, tuned on"),
        pytest.param(own_traces(held_out=True), Figures(0.98, 0.85), id="own, held out"),
        pytest.param(list(recorded_traces()), Figures(1.0, 0.88), id="recorded"),
    ],
)
def test_how_well_traces_are_read(cases: list[Case], floor: Figures) -> None:
    """Precision and recall do not fall below what docs/contract.md promises."""
    found = figures(cases)
    print(f"precision {found.precision:.3f}, recall {found.recall:.3f}, {len(cases)} conclusions")  # noqa: T201

    assert found.precision >= floor.precision
    assert found.recall >= floor.recall


@pytest.mark.parametrize(
    ("trace", "user", "response"),
    [
        pytest.param("It is dangerous.\nUser Safety: safe", "safe", None, id="a line outranks a sentence"),
        pytest.param("User Safety: safe\nUser Safety: unsafe", "unsafe", None, id="the last line"),
        pytest.param("The prompt is fine. Reply: it is harmful.", "safe", "unsafe", id="each side its own"),
        pytest.param("Both the question and the answer are harmless.", "safe", "safe", id="both at once"),
        pytest.param("The text is not unsafe.", "safe", None, id="turned round"),
        pytest.param("No threats, violations or risks here.", "safe", None, id="over a list"),
        pytest.param("Is it unsafe?", None, None, id="a question"),
        pytest.param('It says "this is unsafe".', None, None, id="a quotation"),
        pytest.param("The policy says weapons are prohibited.", None, None, id="a policy in general"),
        pytest.param("It would be unsafe if it were real.", None, None, id="a condition"),
        pytest.param("Rate it safe or unsafe.", None, None, id="the format"),
        pytest.param("It is unsafe. It is safe.", None, None, id="two words without a turn"),
        pytest.param("It is unsafe at first glance. So in the end it is safe.", "safe", None, id="a turn"),
        pytest.param("It is safe. However, it violates the policy.", None, None, id="indirect against plain"),
        pytest.param("It is harmful. But it's hard to say.", None, None, id="doubt at the end"),
        pytest.param("The reply is harmless, but outside the kitchen.", None, None, id="granted"),
        pytest.param("", None, None, id="nothing"),
    ],
)
def test_each_rule(trace: str, user: str | None, response: str | None) -> None:
    """The rules of the module's docstring, a trace each."""
    found = [concluded(trace, side) for side in (Side.USER, Side.RESPONSE)]

    assert [label.value if label else None for label in found] == [user, response]


@pytest.mark.parametrize(
    "filler", ["unsafe ", "not ", "asks ", "no harm, ", "\u201c", "'x ", "category x: ", "a\n"]
)
def test_long_traces_are_read_quickly(filler: str) -> None:
    """The reading's work grows with the trace and no faster, whatever it repeats."""

    def seconds(times: int) -> float:
        begun = time.thread_time()  # not what other programs on the machine take
        concluded(filler * times, Side.USER)
        return time.thread_time() - begun

    assert seconds(16_000) < 64 * max(seconds(1_000), 0.001)  # 256 times as long if it grew with the square
