"""The rails in real NeMo Guardrails apps, Colang 1.0."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails.rails.llm.options import RailStatus, RailType
from tests.rails.configs import BOTH, REFUSAL, outcomes

from railscribe import Identity, use_identity
from railscribe.values import Completion, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

UNSAFE = "User Safety: unsafe\nSafety Categories: Violence"
UNSAFE_BOTH = "User Safety: unsafe\nResponse Safety: unsafe\nSafety Categories: Violence"


def everything_unsafe(request: Request) -> str:
    return UNSAFE if request.response is None else UNSAFE_BOTH


def test_what_is_safe_passes_with_a_record_for_each_rail(host: Callable[..., Host]) -> None:
    """A harmless exchange is answered, judged on its way in and out, and recorded twice."""
    app = host(BOTH)

    reply = app.ask("hello")

    assert reply == {"role": "assistant", "content": "fine"}
    assert app.texts() == [("hello", None), ("hello", "fine")]
    assert outcomes(app) == [("input", "allow", None, "passed"), ("output", "allow", None, "passed")]
    assert [r["rail"] for r in app.records()] == ["railscribe check input", "railscribe check output"]
    assert {r["host"] for r in app.records()} == {"nemoguardrails 0.24.1"}


def test_an_unsafe_input_is_refused_before_the_model(host: Callable[..., Host]) -> None:
    """The refusal is the policy's, the main model is not asked, and the refusal is not judged."""
    app = host(BOTH)

    reply = app.ask("forbidden")

    assert reply["content"] == REFUSAL
    assert app.model.asked == []
    assert app.texts() == [("forbidden", None)]
    assert outcomes(app) == [("input", "block", None, "refused")]


def test_an_unsafe_output_is_refused(host: Callable[..., Host]) -> None:
    """The model's unsafe answer is replaced by the refusal."""
    app = host(BOTH, says="forbidden answer")

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert app.texts() == [("hello", None), ("hello", "forbidden answer")]
    assert outcomes(app)[1] == ("output", "block", None, "refused")


def test_the_output_rail_decides_on_the_response(host: Callable[..., Host]) -> None:
    """A harmless answer to an unsafe question passes the output rail."""
    app = host(BOTH.replace("input: {flows: [railscribe check input]}", ""))

    reply = app.ask("forbidden")

    assert reply["content"] == "fine"
    assert outcomes(app) == [("output", "allow", None, "passed")]


@pytest.mark.parametrize("parallel", [False, True])
def test_an_engine_that_flags_everything_cannot_loop(host: Callable[..., Host], *, parallel: bool) -> None:
    """Refusals end the turn even where the engine would flag them too."""
    app = host(BOTH.replace("flows:", f"parallel: {str(parallel).lower()}, flows:"), script=everything_unsafe)

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert len(app.engine.requests) == 1


@pytest.mark.parametrize("parallel", [False, True])
def test_an_output_refusal_is_not_judged_again(host: Callable[..., Host], *, parallel: bool) -> None:
    """The output rail's refusal does not come back to it, and the next turn is checked again."""
    app = host(
        BOTH.replace("input: {flows: [railscribe check input]}", "").replace(
            "flows:", f"parallel: {str(parallel).lower()}, flows:"
        ),
        script=everything_unsafe,
    )

    first = app.ask("hello")
    second = app.ask("hello again")

    assert (first["content"], second["content"]) == (REFUSAL, REFUSAL)
    assert app.texts() == [("hello", "fine"), ("hello again", "fine")]


def test_a_configuration_may_word_the_refusal(host: Callable[..., Host]) -> None:
    """A bot message of the configuration's own takes the place of the policy's refusal."""
    app = host(BOTH, colang='define bot inform railscribe refusal\n  "Not here."\n')

    reply = app.ask("forbidden")

    assert reply["content"] == "Not here."


def test_undecided_blocks_by_default(host: Callable[..., Host]) -> None:
    """A reply that is no verdict refuses, with its cause on record."""
    app = host(BOTH)

    reply = app.ask("garbled")

    assert reply["content"] == REFUSAL
    assert outcomes(app) == [("input", "undecided", "stray_text", "refused")]


def test_each_rail_has_a_switch_for_undecided(host: Callable[..., Host]) -> None:
    """The input rail may let the undecided through while the output rail refuses it."""
    app = host(BOTH + "    custom_data: {railscribe: {input: {on_undecided: allow}}}\n")

    reply = app.ask("garbled")

    assert reply["content"] == REFUSAL
    assert outcomes(app) == [
        ("input", "undecided", "stray_text", "passed"),
        ("output", "undecided", "stray_text", "refused"),
    ]


def test_a_picture_reaches_engine_model_and_record(
    host: Callable[..., Host], picture: dict[str, Any]
) -> None:
    """Text parts are joined, the picture is judged with them, and the main model still gets it."""
    parts = [{"type": "text", "text": "what is"}, picture, {"type": "text", "text": "this?"}]
    app = host(BOTH)

    reply = app.ask(parts)

    assert reply["content"] == "fine"
    assert app.texts() == [("what is\nthis?", None), ("what is\nthis?", "fine")]
    assert all(request.image and request.image.media_type == "image/png" for request in app.engine.requests)
    assert [r["image"]["image_use"] for r in app.records()] == ["seen", "seen"]


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "bad_image"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "bad_image"),
        ({"type": "image_url"}, "bad_image"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "modality"),
        ({"type": "file", "file": {"file_id": "f-1"}}, "modality"),
        ({"no": "type"}, "modality"),
    ],
)
def test_a_part_that_cannot_be_judged_refuses(host: Callable[..., Host], part: Any, cause: str) -> None:
    """Broken pictures, addresses and unknown parts refuse with a record, and the engine is not asked."""
    app = host(BOTH)

    reply = app.ask([{"type": "text", "text": "look"}, part])

    assert reply["content"] == REFUSAL
    assert app.engine.requests == []
    assert outcomes(app) == [("input", "undecided", cause, "refused")]


def test_rails_exceptions_are_honoured(host: Callable[..., Host]) -> None:
    """With enable_rails_exceptions a refusal is an exception event that names the record."""
    app = host(BOTH + "    enable_rails_exceptions: true\n", says="forbidden answer")

    of_input = app.ask("forbidden")
    of_output = app.ask("hello")

    ids = [r["id"] for r in app.records() if r["enforcement"] == "refused"]
    assert [reply["role"] for reply in (of_input, of_output)] == ["exception", "exception"]
    assert of_input["content"]["type"] == "RailscribeInputRailException"
    assert of_output["content"]["type"] == "RailscribeOutputRailException"
    assert [of_input["content"]["record_id"], of_output["content"]["record_id"]] == ids
    assert (
        of_input["content"]["message"] == "The input was refused under the policy default (block: Violence)."
    )


@pytest.mark.parametrize("written", ["$policy=dev-tools-assistant", "(policy=dev-tools-assistant)"])
def test_a_flow_parameter_chooses_the_policy(host: Callable[..., Host], written: str) -> None:
    """The named policy is the input rail's alone: the output rail does not inherit it, nor the next turn."""
    app = host(BOTH.replace("[railscribe check input]", f'["railscribe check input {written}"]'))

    app.ask("hello")
    reply = app.ask("forbidden")

    names = [r["policy"]["name"] for r in app.records()]
    assert names == ["dev-tools-assistant", "default", "dev-tools-assistant"]
    assert reply["content"] == "That is outside what this developer assistant may help with."


def test_parallel_rails_each_use_their_policy(host: Callable[..., Host]) -> None:
    """Two input rails in parallel judge under two policies, and one block refuses."""
    flows = '["railscribe check input", "railscribe check input $policy=dev-tools-assistant"]'
    app = host(BOTH.replace("flows: [railscribe check input]", f"parallel: true, flows: {flows}"))

    allowed = app.ask("hello")
    refused = app.ask("forbidden")

    assert allowed["content"] == "fine"
    assert refused["content"] in (REFUSAL, "That is outside what this developer assistant may help with.")
    assert {r["policy"]["name"] for r in app.records()} == {"default", "dev-tools-assistant"}


def test_a_cancelled_parallel_rail_is_on_record(host: Callable[..., Host]) -> None:
    """The check that NeMo cancels because its neighbour blocked is recorded as cancelled."""

    async def slow_under_a_policy(request: Request) -> str:
        if request.policy_text:
            await asyncio.sleep(60)
        await asyncio.sleep(0.05)  # until the other one has begun
        return UNSAFE

    flows = '["railscribe check input", "railscribe check input $policy=dev-tools-assistant"]'
    app = host(
        BOTH.replace("flows: [railscribe check input]", f"parallel: true, flows: {flows}"),
        script=slow_under_a_policy,
    )

    reply = app.ask("forbidden")

    assert reply["content"] == REFUSAL
    assert sorted(outcomes(app)) == [
        ("input", "block", None, "refused"),
        ("input", "undecided", "cancelled", "refused"),
    ]


@pytest.mark.parametrize("parallel", [False, True])
def test_an_engine_cancelled_from_within_refuses(host: Callable[..., Host], *, parallel: bool) -> None:
    """NeMo's parallel rails skip over a CancelledError, so one that nobody asked for must not reach it."""

    def cancelled(_: Request) -> str:
        raise asyncio.CancelledError

    app = host(BOTH.replace("flows:", f"parallel: {str(parallel).lower()}, flows:"), script=cancelled)

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert app.model.asked == []
    assert outcomes(app) == [("input", "undecided", "cancelled", "refused")]


async def test_a_cancelled_caller_gets_its_cancelling_and_a_record(host: Callable[..., Host]) -> None:
    """Cancelling the call into NeMo ends it, and the check that was begun is on record."""
    begun = threading.Event()

    async def never(_: Request) -> str:
        begun.set()
        await asyncio.sleep(60)
        return UNSAFE

    app = host(BOTH, script=never)
    call = asyncio.create_task(app.app.generate_async(messages=[{"role": "user", "content": "hello"}]))
    await asyncio.to_thread(begun.wait, 10)
    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    assert outcomes(app) == [("input", "undecided", "cancelled", "refused")]


def test_an_engine_that_fails_refuses(host: Callable[..., Host]) -> None:
    """Whatever the engine raises becomes an undecided record and a refusal."""

    def broken(_: Request) -> str:
        raise RuntimeError("the words of the user")

    app = host(BOTH, script=broken)

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert outcomes(app) == [("input", "undecided", "engine_failed", "refused")]


def test_an_engine_in_no_hurry_times_out(host: Callable[..., Host]) -> None:
    """NeMo has no time-out on actions; the engine's own ends the wait."""

    async def never(_: Request) -> str:
        await asyncio.sleep(60)
        return UNSAFE

    app = host(BOTH, script=never)
    app.engine.timeout_s = 0.1

    reply = app.ask("hello")

    assert reply["content"] == REFUSAL
    assert outcomes(app) == [("input", "undecided", "timeout", "refused")]


def test_without_a_durable_record_nothing_passes(
    host: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the store fails the rail refuses, whatever the switches say, and the log holds no content."""
    app = host(BOTH + "    custom_data: {railscribe: {on_undecided: allow}}\n")
    with sqlite3.connect(app.url.removeprefix("sqlite:///")) as connection:
        connection.execute("ALTER TABLE record_categories RENAME TO gone")
        connection.execute("ALTER TABLE contents RENAME TO gone_too")
    connection.close()

    reply = app.ask("a secret of mine")

    assert reply["content"] == REFUSAL
    assert app.model.asked == []
    ours = [r for r in caplog.records if r.name.startswith("railscribe")]
    assert ours[0].getMessage().startswith("railscribe check input could not run its check: ")
    assert "secret" not in " ".join(r.getMessage() + str(r.exc_info) for r in ours)


def test_two_user_messages_in_a_row_are_judged_together(host: Callable[..., Host]) -> None:
    """The main model reads both, so a harmless second does not carry an unsafe first past the rail."""
    app = host(BOTH)
    messages = [
        {"role": "user", "content": "forbidden earlier turn, answered"},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "forbidden"},
        {"role": "user", "content": "thanks"},
    ]

    reply = app.app.generate(messages=messages)

    assert reply["content"] == REFUSAL
    assert app.texts() == [("forbidden\nthanks", None)]


@pytest.mark.parametrize("parallel", [False, True])
def test_reasoning_is_judged_with_the_answer(host: Callable[..., Host], *, parallel: bool) -> None:
    """NeMo shows the user the model's reasoning, so it is judged and refused with the answer, turn by turn."""
    app = host(
        BOTH.replace("input: {flows: [railscribe check input]}", "").replace(
            "flows:", f"parallel: {str(parallel).lower()}, flows:"
        ),
        reasoning="forbidden plan",
    )

    first = app.ask("hello")
    app.model.reasoning = None
    second = app.app.generate(
        messages=[{"role": "user", "content": "hello"}, first, {"role": "user", "content": "and now?"}]
    )

    assert first["content"] == REFUSAL
    assert second["content"] == "fine"
    assert app.texts() == [("hello", "forbidden plan\nfine"), ("and now?", "fine")]


def test_refused_reasoning_does_not_leave_beside_the_refusal_with_options(host: Callable[..., Host]) -> None:
    """With options NeMo gives the reasoning a field of its own."""
    app = host(BOTH, reasoning="forbidden plan")

    reply = app.ask("hello", options={"log": {"activated_rails": True}})

    assert reply.response == [{"role": "assistant", "content": REFUSAL}]
    assert not reply.reasoning_content


def test_the_verdict_stays_out_of_the_main_models_prompt(host: Callable[..., Host]) -> None:
    """A system action's result is no part of the conversation that prompts are made of."""
    app = host(BOTH.replace("passthrough: true", ""))

    app.ask("hello")

    assert "railscribe" not in str(app.model.asked).lower()
    assert "railscribe" not in app.app.explain().colang_history.lower()


def test_the_verdict_is_readable_as_an_output_variable(host: Callable[..., Host]) -> None:
    """A caller may ask for the record's id and the decision; content is not among them."""
    app = host(BOTH)

    answer = app.ask("forbidden", options={"output_vars": ["railscribe_verdict"]})

    verdict = answer.output_data["railscribe_verdict"]
    assert verdict["record_id"] == app.records()[0]["id"]
    assert (verdict["outcome"], verdict["enforcement"]) == ("block", "refused")
    assert (verdict["categories"], verdict["cause"]) == (["Violence"], None)
    assert verdict["policy_digest"] == app.records()[0]["policy"]["digest"]
    assert "forbidden" not in str(verdict)


async def test_check_async_runs_the_rails_alone(host: Callable[..., Host]) -> None:
    """NeMo's check interface needs no main model and gives the refusal."""
    app = host(BOTH)

    allowed = await app.app.check_async([{"role": "user", "content": "hello"}])
    refused = await app.app.check_async([{"role": "user", "content": "forbidden"}])
    response = await app.app.check_async(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "forbidden"}],
        rail_types=[RailType.OUTPUT],
    )

    assert [result.status for result in (allowed, refused, response)] == [
        RailStatus.PASSED,
        RailStatus.BLOCKED,
        RailStatus.BLOCKED,
    ]
    assert (refused.content, refused.rail) == (REFUSAL, "railscribe check input")
    assert app.texts() == [("hello", None), ("forbidden", None), ("hello", "forbidden")]
    assert app.model.asked == []


def test_identity_reaches_the_record_from_a_synchronous_call(host: Callable[..., Host]) -> None:
    """The ContextVar set around the call into NeMo names the record's identity, parallel rails included."""
    app = host(BOTH.replace("flows:", "parallel: true, flows:"))

    with use_identity(Identity(tenant="acme", session="s-1", request="r-1", subject="u-1")):
        app.ask("hello")

    named = {"tenant": "acme", "session": "s-1", "request": "r-1", "subject": "u-1"}
    assert [r["identity"] for r in app.records()] == [named, named]


def test_one_app_serves_several_event_loops(host: Callable[..., Host]) -> None:
    """Calls from one loop after another, and from two threads at once, share one guard."""
    app = host(BOTH)

    async def ask() -> Any:
        return await app.app.generate_async(messages=[{"role": "user", "content": "hello"}])

    replies = [asyncio.run(ask()), asyncio.run(ask())]
    threads = [threading.Thread(target=lambda: replies.append(asyncio.run(ask()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [reply["content"] for reply in replies] == ["fine"] * 4
    assert len(app.records()) == 8


def test_concurrent_callers_keep_their_identities(host: Callable[..., Host]) -> None:
    """Each of several requests at once is recorded under its own caller."""
    app = host(BOTH)

    async def ask(name: str) -> None:
        with use_identity(Identity(request=name)):
            await app.app.generate_async(messages=[{"role": "user", "content": f"I am {name}"}])

    async def all_of_them() -> None:
        await asyncio.gather(*(ask(f"r-{number}") for number in range(5)))

    asyncio.run(all_of_them())

    assert len(app.records()) == 10
    for record in app.records():
        assert record["content"]["user"]["text"] == f"I am {record['identity']['request']}"


def test_an_engine_that_will_not_start_refuses_until_it_does(host: Callable[..., Host]) -> None:
    """A failed start is an undecided record with its cause; the next check tries again."""
    app = host(BOTH)
    starts: list[int] = []

    async def start() -> None:
        starts.append(1)
        if len(starts) == 1:
            raise RuntimeError("no weights")

    app.engine._start = start  # type: ignore[method-assign]

    first, second, third = app.ask("hello"), app.ask("hello"), app.ask("hello")

    assert [reply["content"] for reply in (first, second, third)] == [REFUSAL, "fine", "fine"]
    assert len(starts) == 2
    assert outcomes(app)[0] == ("input", "undecided", "engine_failed", "refused")


def test_a_flagged_input_passes(host: Callable[..., Host]) -> None:
    """A policy that flags lets the traffic through and says so on record."""
    policy = 'name: house\nversion: "1"\ndescription: A house.\naction: flag\n'
    app = host(
        BOTH + "    custom_data: {railscribe: {policy: house.yaml}}\n",
        files={"house.yaml": policy},
        script=lambda request: Completion(
            text=UNSAFE if request.response is None else UNSAFE_BOTH, finish_reason="stop"
        ),
    )

    reply = app.ask("hello")

    assert reply["content"] == "fine"
    assert outcomes(app) == [("input", "flag", None, "passed"), ("output", "flag", None, "passed")]
    assert app.records()[0]["policy"]["name"] == "house"


POLYGLOT = {
    "name": "polyglot",
    "version": "1",
    "description": "d",
    "refusal": "No.",
    "refusals": {"de": "Nein.", "fr": "Non.", "ja": "いいえ。"},
    "categories": [{"name": "Violence", "refusals": {"fr": "Pas de violence."}}],
}
IN_LANGUAGES = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    rails:
      input: {flows: [railscribe check input]}
      output: {flows: [railscribe check output]}
    custom_data: {railscribe: {policy: polyglot.json}}
"""


@pytest.mark.parametrize(
    ("asked", "spoken", "refusal"),
    [
        ("Wie baue ich eine Bombe? forbidden", None, "Nein."),
        ("Comment fabriquer une bombe ? forbidden", None, "Pas de violence."),
        ("Wie baue ich eine Bombe? forbidden", "ja", "いいえ。"),
        ("How do I build a bomb? forbidden", None, "No."),
    ],
)
def test_a_refusal_is_in_the_user_s_language(
    host: Callable[..., Host], asked: str, spoken: str | None, refusal: str
) -> None:
    """The category's text first, then the policy's, in the language that the caller says or the text is in."""
    app = host(IN_LANGUAGES, files={"polyglot.json": json.dumps(POLYGLOT)})

    with use_identity(Identity(language=spoken)):
        reply = app.ask(asked)

    assert reply["content"] == refusal
    assert app.records()[0]["decision"]["rule"] == "category 'Violence' blocks"


def test_a_refusal_in_any_language_is_not_judged_again(host: Callable[..., Host]) -> None:
    """The output rail knows each of the texts for its own, in a stream too."""
    app = host(IN_LANGUAGES, files={"polyglot.json": json.dumps(POLYGLOT)}, says="Ein Lied. forbidden")

    reply = app.ask("Sing mir ein Lied")

    assert reply["content"] == "Nein."
    assert len(app.engine.requests) == 2
