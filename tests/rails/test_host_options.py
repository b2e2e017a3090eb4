"""The host's other ways to be asked: parallel rails beside settings of ours, options, state, ``TestChat``."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails.testing import TestChat
from tests.rails.conftest import judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

    from railscribe.values import Request

REFUSAL = "I'm sorry, I can't help with that."
BOTH = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    rails:
      input: {flows: [railscribe check input]}
      output: {flows: [railscribe check output]}
"""
_STOPPING = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    custom_data: {railscribe: %s}
    rails:
      input: {parallel: true, flows: [railscribe check input, another rail]}
"""
_ANOTHER = """
define subflow another rail
  $waited = execute wait_until_begun
  if $waited
    bot refuse to respond
    stop
"""


@pytest.mark.parametrize(
    ("settings", "enforcement"),
    [("{cache_verdicts: 100}", "refused"), ("{rollout: observe}", "observed")],
)
def test_a_check_that_another_rail_cancels_is_on_record(
    host: Callable[..., Host], settings: str, enforcement: str
) -> None:
    """Whatever else is set, a check that a parallel rail of somebody else's cut short is recorded as cancelled."""
    begun = threading.Event()

    async def never(_: Request) -> str:
        begun.set()
        await asyncio.sleep(60)
        raise AssertionError

    app = host(_STOPPING % settings, colang=_ANOTHER, script=never)

    async def wait_until_begun(**_: Any) -> bool:
        await asyncio.to_thread(begun.wait, 10)
        return True

    app.app.register_action(wait_until_begun, name="wait_until_begun")

    app.ask("hello")

    assert app.model.asked == []
    assert [(r["decision"]["cause"], r["enforcement"]) for r in app.records()] == [("cancelled", enforcement)]


def test_a_cancelled_check_is_no_verdict_to_repeat(host: Callable[..., Host]) -> None:
    """With a cache, the same words are judged anew after a check of them was cut short."""
    stuck = [True]
    begun = threading.Event()

    async def once_stuck(request: Request) -> str:
        if stuck.pop() if stuck else False:
            begun.set()
            await asyncio.sleep(60)
        return judge(request)

    app = host(_STOPPING % "{cache_verdicts: 100}", colang=_ANOTHER, script=once_stuck)
    stops = [True, False]

    async def wait_until_begun(**_: Any) -> bool:
        await asyncio.to_thread(begun.wait, 10)
        return stops.pop(0)

    app.app.register_action(wait_until_begun, name="wait_until_begun")

    app.ask("hello")
    app.ask("hello")

    assert len(app.engine.requests) == 2
    assert [r["decision"]["outcome"] for r in app.records()] == ["undecided", "allow"]


def test_a_test_chat_goes_through_the_rails(host: Callable[..., Host]) -> None:
    """NeMo's own ``TestChat`` on a configuration of ours is refused and answered like any caller, and recorded."""
    app = host(BOTH)
    chat = TestChat(app.app.config, llm_completions=["fine"])
    chat.app = app.app
    chat >> "forbidden"
    chat << REFUSAL
    chat >> "hello"
    chat << "fine"

    assert [(r["direction"], r["decision"]["outcome"]) for r in app.records()] == [
        ("input", "block"),
        ("input", "allow"),
        ("output", "allow"),
    ]


def test_the_state_of_a_conversation_goes_round(host: Callable[..., Host]) -> None:
    """A second turn that hands NeMo's own state back is judged like the first, and refused where it is unsafe."""
    app = host(BOTH)

    first = app.ask("hello", state={})
    second = app.ask("forbidden", state=first.state)
    third = app.ask("hello again", state=second.state)

    assert [answer.response[-1]["content"] for answer in (first, second, third)] == ["fine", REFUSAL, "fine"]
    assert len(app.model.asked) == 2
    inputs = [r["decision"]["outcome"] for r in app.records() if r["direction"] == "input"]
    assert inputs == ["allow", "block", "allow"]


def test_the_log_of_activated_rails_names_ours(host: Callable[..., Host]) -> None:
    """With ``log`` and ``output_vars`` together the caller reads which rail stopped, and the record's id."""
    app = host(BOTH)

    answer = app.ask(
        "forbidden",
        options={"log": {"activated_rails": True}, "output_vars": ["railscribe_verdict"]},
    )

    assert [(rail.name, rail.stop) for rail in answer.log.activated_rails] == [
        ("railscribe check input", True)
    ]
    assert answer.output_data["railscribe_verdict"]["record_id"] == app.records()[0]["id"]


def test_an_earlier_turn_that_was_answered_is_not_judged_again(host: Callable[..., Host]) -> None:
    """What the caller says was answered counts as judged then: docs/doors.md names it as open."""
    app = host(BOTH)

    app.app.generate(
        messages=[
            {"role": "user", "content": "forbidden"},
            {"role": "assistant", "content": "Well."},
            {"role": "user", "content": "And now?"},
        ]
    )

    assert app.texts()[0] == ("And now?", None)
    assert len(app.model.asked) == 1
