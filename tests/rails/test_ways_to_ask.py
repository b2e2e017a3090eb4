"""Every way in which a program asks an app of NeMo Guardrails: its methods, options, state, and test harness."""

from __future__ import annotations

import asyncio
import json
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails import RailsConfig
from nemoguardrails.rails.llm.options import RailStatus, RailType
from nemoguardrails.testing import TestChat
from tests.rails.configs import BOTH, CONFIG_2, MAIN_2, REFUSAL
from tests.scripted import judge

from railscribe.rails import rails_path
from railscribe.rails.binding import attach
from railscribe.rails.configuration import Configuration
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

    from railscribe.values import Request

TWO_RAILS = '["railscribe check input", "railscribe check input $policy=dev-tools-assistant"]'


def asked(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def outcomes(host: Host) -> list[tuple[str, str | None, str]]:
    return [(r["decision"]["outcome"], r["decision"]["cause"], r["enforcement"]) for r in host.records()]


async def streamed(app: Host, text: str) -> str:
    return "".join([str(chunk) async for chunk in app.app.stream_async(messages=asked(text))])


def chat(config: str, colang: str | None, completions: list[str]) -> TestChat:
    """Return NeMo's own test harness on an app with a scripted guard."""
    text = textwrap.dedent(config).replace("{rails}", rails_path())
    made = TestChat(
        RailsConfig.from_content(yaml_content=text, colang_content=colang), llm_completions=completions
    )
    configuration = Configuration.of(made.app.config)
    attach(made.app, StandingGuard.stand(configuration.settings, engine=ScriptedEngine(judge)), configuration)
    return made


@pytest.mark.parametrize(("config", "colang"), [(BOTH, None), (CONFIG_2, MAIN_2)], ids=["1.0", "2.x"])
@pytest.mark.filterwarnings("ignore:Use 'nim_:DeprecationWarning")
def test_the_host_s_test_harness_works(config: str, colang: str | None) -> None:
    """A test of somebody's, written with TestChat, sees answers and refusals over several turns."""
    made = chat(config, colang, ["fine", "a forbidden answer", "fine again"])

    made >> "hello"
    made << "fine"
    made >> "tell me"
    made << REFUSAL
    made >> "forbidden"
    made << REFUSAL
    made >> "and now?"
    made << "fine again"


@pytest.mark.filterwarnings("ignore:Use 'nim_:DeprecationWarning")
async def test_the_host_s_asynchronous_test_harness_works() -> None:
    """So does its asynchronous form, which 1.0 has."""
    made = chat(BOTH, None, ["fine"])

    made.user("hello")
    await made.bot_async("fine")
    made.user("forbidden")
    await made.bot_async(REFUSAL)


@pytest.mark.parametrize(("config", "colang"), [(BOTH, None), (CONFIG_2, MAIN_2)], ids=["1.0", "2.x"])
async def test_generate_async_judges(host: Callable[..., Host], config: str, colang: str | None) -> None:
    """Called from a running loop, in either version."""
    app = host(config, colang=colang)

    replies = [await app.app.generate_async(messages=asked(text)) for text in ("hello", "forbidden")]

    assert [reply["content"] for reply in replies] == ["fine", REFUSAL]
    assert outcomes(app) == [
        ("allow", None, "passed"),
        ("allow", None, "passed"),
        ("block", None, "refused"),
    ]


@pytest.mark.parametrize(("config", "colang"), [(BOTH, None), (CONFIG_2, MAIN_2)], ids=["1.0", "2.x"])
def test_a_prompt_in_place_of_messages_is_judged(
    host: Callable[..., Host], config: str, colang: str | None
) -> None:
    """``generate(prompt=...)`` gives a text back, and the same rails run."""
    app = host(config, colang=colang)

    assert app.app.generate(prompt="hello") == "fine"
    assert app.app.generate(prompt="forbidden") == REFUSAL
    assert app.texts()[-1] == ("forbidden", None)


def test_check_is_check_async(host: Callable[..., Host]) -> None:
    """The synchronous form gives the same answers, and an output check needs no user."""
    app = host(BOTH)

    results = [
        app.app.check(asked("hello")),
        app.app.check(asked("forbidden")),
        app.app.check([{"role": "assistant", "content": "forbidden"}]),
        app.app.check(asked("forbidden"), rail_types=[RailType.INPUT]),
    ]

    assert [result.status for result in results] == [RailStatus.PASSED, *[RailStatus.BLOCKED] * 3]
    assert [result.rail for result in results[1:]] == [
        "railscribe check input",
        "railscribe check output",
        "railscribe check input",
    ]
    assert len(app.records()) == 4


def test_checks_of_2x_are_the_host_s_to_refuse(host: Callable[..., Host]) -> None:
    """NeMo has no check interface for Colang 2.x; it says so, and lets nothing pass."""
    app = host(CONFIG_2, colang=MAIN_2)

    with pytest.raises(ValueError, match="log"):
        app.app.check(asked("forbidden"))


@pytest.mark.parametrize("option", [{"log": {"activated_rails": True}}, {"output_vars": ["x"]}])
def test_options_of_2x_that_the_host_refuses(host: Callable[..., Host], option: dict[str, Any]) -> None:
    """The verdict is read from the state there, not by options."""
    app = host(CONFIG_2, colang=MAIN_2)

    with pytest.raises(ValueError, match=next(iter(option))):
        app.ask("hello", options=option)


@pytest.mark.parametrize(
    ("rails", "texts"),
    [
        (["input"], [("forbidden", None)]),
        (["input", "output"], [("forbidden", None)]),
        (["output"], []),
        ({"input": True, "output": False}, [("forbidden", None)]),
    ],
)
def test_a_program_chooses_the_rails_that_run(host: Callable[..., Host], rails: Any, texts: Any) -> None:
    """``options: {rails: ...}`` of a program's own call holds: what it names is judged."""
    app = host(BOTH)

    app.ask("forbidden", options={"rails": rails})

    assert app.texts() == texts


def test_the_host_s_log_names_the_rail_and_its_verdict(host: Callable[..., Host]) -> None:
    """``activated_rails`` holds the outcome, whose metadata names the record."""
    app = host(BOTH)

    answer = app.ask("forbidden", options={"log": {"activated_rails": True}})

    (rail,) = [each for each in answer.log.activated_rails if each.type == "input"]
    assert (rail.name, rail.stop) == ("railscribe check input", True)
    outcome = rail.executed_actions[0].return_value
    assert outcome.is_blocked
    assert outcome.metadata["record_id"] == app.records()[0]["id"]


def test_a_state_goes_round(host: Callable[..., Host]) -> None:
    """1.0: what comes back is handed in again, each new turn is judged, and no verdict stays from the last one."""
    app = host(BOTH)
    options = {"output_vars": ["railscribe_verdict"]}

    replies: list[tuple[str, str]] = []
    state: dict[str, Any] = {}
    for text in ("hello", "forbidden", "and now?"):
        reply = app.app.generate(messages=asked(text), options=options, state=state)
        state = reply.state
        replies.append((reply.response[0]["content"], reply.output_data["railscribe_verdict"]["outcome"]))

    assert replies == [("fine", "allow"), (REFUSAL, "block"), ("fine", "allow")]
    assert [user for user, _ in app.texts()] == ["hello", "hello", "forbidden", "and now?", "and now?"]
    with pytest.raises(TypeError):  # of NeMo's own rails as well: docs/nemo.md
        json.dumps(state)


async def test_a_stream_without_output_rails_has_its_input_judged(host: Callable[..., Host]) -> None:
    """The refusal is what is streamed, and the model is not asked."""
    app = host(BOTH.replace("output: {flows: [railscribe check output]}", ""))

    shown = [await streamed(app, text) for text in ("hello", "forbidden")]

    assert shown == ["fine", REFUSAL]
    assert len(app.model.asked) == 1


async def test_the_host_does_not_protect_streams_of_2x(host: Callable[..., Host]) -> None:
    """Tokens of 2.x leave before the output rail runs: what docs/nemo.md warns of, should the host mend it."""
    app = host(CONFIG_2, colang=MAIN_2, says="a forbidden answer")

    shown = await streamed(app, "hello")

    assert "forbidden" in shown
    assert outcomes(app)[-1] == ("block", None, "refused")  # judged, and on record, too late


async def test_a_stream_of_2x_has_its_input_judged(host: Callable[..., Host]) -> None:
    """What is refused on the way in asks no model, so that there is nothing to stream but the refusal."""
    app = host(CONFIG_2, colang=MAIN_2, says="a forbidden answer")

    shown = await streamed(app, "forbidden")

    assert "answer" not in shown
    assert app.model.asked == []
    assert outcomes(app) == [("block", None, "refused")]


def slow_under_a_policy() -> Callable[[Request], Any]:
    """Return a judge that never answers for the second rail, and for the first one once that has begun."""
    begun = asyncio.Event()

    async def judged(request: Request) -> str:
        if request.policy_text:
            begun.set()
            await asyncio.sleep(60)
        await begun.wait()
        return judge(request)

    return judged


@pytest.mark.parametrize("setting", ["cache_verdicts: 10", "cache_verdicts: 0"])
async def test_a_cancelled_check_is_on_record_and_not_remembered(
    host: Callable[..., Host], setting: str
) -> None:
    """With a cache of verdicts, too: the next time the cancelled rail's engine is asked again."""
    config = BOTH.replace("flows: [railscribe check input]", f"parallel: true, flows: {TWO_RAILS}")
    app = host(config + f"    custom_data: {{railscribe: {{{setting}}}}}\n", script=slow_under_a_policy())

    replies = [await app.app.generate_async(messages=asked("forbidden")) for _ in range(2)]

    assert [reply["content"] for reply in replies] == [REFUSAL, REFUSAL]
    records = app.records()
    assert sorted(outcomes(app)) == [
        *[("block", None, "refused")] * 2,
        *[("undecided", "cancelled", "refused")] * 2,
    ]
    assert not [r for r in records if r["repeats"] and r["decision"]["cause"] == "cancelled"]
    repeats = [bool(r["repeats"]) for r in records if r["decision"]["outcome"] == "block"]
    assert repeats == [False, setting == "cache_verdicts: 10"]


STOPPED = """
define bot say stopped
  "Stopped."

define subflow their check
  execute wait_for_ours
  bot say stopped
  stop
"""


async def test_a_check_that_only_observes_is_cancelled_on_record(host: Callable[..., Host]) -> None:
    """Somebody else's parallel rail stops the turn: ours, in mid-check, is recorded, and the turn stays stopped."""
    begun = threading.Event()  # the engine has a loop of its own

    async def never(_: Request) -> str:
        begun.set()
        await asyncio.sleep(60)
        return "User Safety: safe"

    flows = 'parallel: true, flows: ["railscribe check input", "their check"]'
    config = BOTH.replace("flows: [railscribe check input]", flows)
    app = host(config + "    custom_data: {railscribe: {rollout: observe}}\n", colang=STOPPED, script=never)

    async def wait_for_ours() -> bool:
        await asyncio.to_thread(begun.wait, 10)
        return True

    app.app.register_action(wait_for_ours, "wait_for_ours")
    reply = await app.app.generate_async(messages=asked("forbidden"))

    assert reply["content"] == "Stopped."
    assert app.model.asked == []
    assert outcomes(app) == [("undecided", "cancelled", "observed")]
