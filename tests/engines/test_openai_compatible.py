"""The remote engine against a server of this machine that misbehaves on demand."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from railscribe.engines import open_engine
from railscribe.engines.openai_compatible import OpenAICompatibleEngine
from railscribe.errors import (
    ContextLengthError,
    EngineError,
    EngineProtocolError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModalityError,
    SettingsError,
)
from railscribe.images import images_from_url
from railscribe.settings import Settings
from railscribe.testing import example_request, solid_picture
from railscribe.values import Flags, ImageUse, Side

if TYPE_CHECKING:
    from tests.conftest import Answer, Loopback

    Make = type[Answer]

QUOTED = "the user's own words"
SOON = {"retry-after-ms": "10"}


@pytest.fixture
async def engine(loopback: Loopback) -> AsyncIterator[OpenAICompatibleEngine]:
    """An engine on the loopback server, not started."""
    made = _engine(loopback.base_url, model=loopback.model)
    yield made
    await made.aclose()


def _engine(
    base_url: str, *, model: str, timeout_s: float = 5.0, max_retries: int = 1
) -> OpenAICompatibleEngine:
    return OpenAICompatibleEngine(
        base_url=base_url, model=model, api_key=None, timeout_s=timeout_s, max_retries=max_retries
    )


# What goes over the wire.
async def test_policy_and_flags_are_template_arguments(
    loopback: Loopback, engine: OpenAICompatibleEngine
) -> None:
    """The policy and the flags lie in a top-level chat_template_kwargs, and nowhere else."""
    await engine.complete(
        example_request(policy_text="No gore.", flags=Flags(categories=False, thinking=True))
    )

    (body,) = loopback.bodies
    assert body.pop("chat_template_kwargs") == {
        "custom_policy": "No gore.",
        "enable_thinking": True,
        "request_categories": "/no_categories",
    }
    assert body == {
        "model": loopback.model,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
        "max_tokens": 1024,
        "logprobs": True,
        "top_logprobs": 5,
    }


async def test_messages_are_one_user_and_one_assistant_turn(
    loopback: Loopback, engine: OpenAICompatibleEngine
) -> None:
    """A picture goes before the text as a data URL, a response after it, and there is no system turn."""
    completion = await engine.complete(
        example_request("Look.", response="A square.", picture=solid_picture())
    )

    user, assistant = loopback.bodies[0]["messages"]
    assert assistant == {"role": "assistant", "content": "A square."}
    assert user["role"] == "user"
    picture, text = user["content"]
    assert picture["type"] == "image_url"
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert text == {"type": "text", "text": "Look."}
    assert completion.image is not None
    assert completion.image.use is ImageUse.SEEN


async def test_an_allowed_address_is_handed_on(loopback: Loopback, engine: OpenAICompatibleEngine) -> None:
    """A picture that is only an address reaches the server as that address."""
    url = "https://example.org/cat.png"
    (image,) = images_from_url(url, Settings(allow_image_urls=True))
    request = dataclasses.replace(example_request("Look."), image=image)

    await engine.complete(request)

    assert loopback.bodies[0]["messages"][0]["content"][0] == {"type": "image_url", "image_url": {"url": url}}


async def test_another_service_s_key_is_not_shown(
    loopback: Loopback, engine: OpenAICompatibleEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's OPENAI_API_KEY stays at home; RAILSCRIBE_API_KEY goes out."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    settings = Settings(
        engine="openai_compatible",
        base_url=loopback.base_url,
        model=loopback.model,
        api_key=SecretStr("ours"),
    )

    await engine.complete(example_request())
    async with open_engine(settings) as keyed:
        await keyed.complete(example_request())

    assert loopback.authorisations == ["Bearer none", "Bearer ours"]


# What comes back.
async def test_a_reply_comes_back_whole(loopback: Loopback, engine: OpenAICompatibleEngine) -> None:
    """Text, reason to end, token counts and the served name are the server's own."""
    completion = await engine.complete(example_request())

    assert completion.text == "User Safety: unsafe\nSafety Categories: Violence"
    assert (completion.finish_reason, completion.prompt_tokens, completion.completion_tokens) == (
        "stop",
        500,
        12,
    )
    assert completion.served_model == loopback.model
    assert completion.scores == {}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_parsed_out_trace_is_put_back(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any, name: str
) -> None:
    """A server's reasoning parser does not lose the trace."""
    loopback.script = [answer(chat("User Safety: safe", message={name: "It is fine."}))]

    completion = await engine.complete(example_request())

    assert completion.text == "<think>It is fine.</think>User Safety: safe"


async def test_a_trace_that_never_ended_stays_open(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any
) -> None:
    """Reasoning without content is an unclosed trace, not a missing reply."""
    body = chat(None, message={"reasoning_content": "Well"}, choice={"finish_reason": "length"})
    loopback.script = [answer(body)]

    completion = await engine.complete(example_request())

    assert (completion.text, completion.finish_reason) == ("<think>Well", "length")


def _logprobs(*tokens: tuple[str, float, dict[str, float]]) -> dict[str, Any]:
    return {
        "logprobs": {
            "content": [
                {
                    "token": token,
                    "logprob": logprob,
                    "bytes": None,
                    "top_logprobs": [{"token": t, "logprob": p, "bytes": None} for t, p in top.items()],
                }
                for token, logprob, top in tokens
            ]
        }
    }


async def test_logprobs_give_a_score(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any
) -> None:
    """The score is the share of unsafe where the label was written."""
    label = (" unsafe", -0.2877, {" unsafe": -0.2877, " safe": -1.3863, "\n": -9.0})
    written = _logprobs(("User", 0.0, {}), (" Safety", 0.0, {}), (":", 0.0, {}), label)
    loopback.script = [answer(chat("User Safety: unsafe", choice=written))]

    completion = await engine.complete(example_request())

    assert completion.scores == {Side.USER: pytest.approx(0.75, abs=1e-4)}


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": [{"token": "User Safety: safe"}]}, [1]]
)
async def test_odd_logprobs_are_no_score(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any, logprobs: Any
) -> None:
    """A server that gives no usable probabilities still gives a reply."""
    loopback.script = [answer(chat(choice={"logprobs": logprobs}))]

    completion = await engine.complete(example_request())

    assert completion.text
    assert completion.scores == {}


async def test_rejected_logprobs_are_left_out_from_then_on(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """A server that takes no logprobs is asked once without, and never again with."""
    loopback.script = [answer({"error": {"message": "logprobs are not supported"}}, status=400)]

    await engine.complete(example_request())
    await engine.complete(example_request())

    assert ["logprobs" in body for body in loopback.bodies] == [True, False, False]


async def test_content_cannot_switch_scores_off(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """A refusal that quotes the word from the content does not stop later requests from asking for scores."""
    refusal = answer({"error": {"message": "cannot read: 'logprobs'"}}, status=400)
    loopback.script = [refusal, refusal]

    with pytest.raises(EngineRefusedError):
        await engine.complete(example_request("logprobs"))
    await engine.complete(example_request())

    assert ["logprobs" in body for body in loopback.bodies] == [True, False, True]


# What a server cannot take.
ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


async def test_a_response_is_folded_for_a_server_that_takes_none(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """After SGLang's refusal the response goes into the user's turn, from then on at once, and the name says so."""
    loopback.script = [answer({"object": "error", "message": ALTERNATE, "code": 400}, status=400)]
    pair = example_request("Capital?", response="Paris.")

    await engine.complete(pair)
    await engine.complete(pair)
    await engine.complete(example_request("Capital?"))

    folded = [{"role": "user", "content": "Capital?\nresponse: agent:  ### Answer: Paris."}]
    turns = [body["messages"] for body in loopback.bodies]
    assert [len(messages) for messages in turns] == [2, 1, 1, 1]
    assert turns[1] == turns[2] == folded
    assert turns[3] == [{"role": "user", "content": "Capital?"}]
    assert engine.info.backend == "server, response folded"


async def test_scores_and_the_response_may_both_be_refused(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """One refusal after the other is worked around in the same request."""
    loopback.script = [
        answer({"error": {"message": "logprobs are not supported"}}, status=400),
        answer({"error": {"message": ALTERNATE}}, status=400),
    ]

    await engine.complete(example_request(response="Paris."))

    assert [("logprobs" in body, len(body["messages"])) for body in loopback.bodies] == [
        (True, 2),
        (False, 2),
        (False, 1),
    ]


async def test_content_cannot_have_responses_folded(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """A refusal that quotes those words from the content changes nothing for later requests."""
    refusal = answer({"error": {"message": f"cannot read: {ALTERNATE}"}}, status=400)
    loopback.script = [refusal, refusal]

    with pytest.raises(EngineRefusedError):
        await engine.complete(example_request(ALTERNATE, response="Paris."))
    await engine.complete(example_request(response="Paris."))

    assert [len(body["messages"]) for body in loopback.bodies] == [2, 1, 2]
    assert engine.info.backend is None


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "base is not a multimodal model"),
        (400, "At most 0 image(s) may be provided in one prompt."),
        (500, "image input is not supported - hint: you may need to provide the mmproj"),
    ],
    ids=["vllm", "vllm limit", "llama.cpp"],
)
async def test_a_model_without_eyes_is_told_apart(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, status: int, message: str
) -> None:
    """A picture that the served model cannot take is a matter of modality, as with an engine in this process."""
    loopback.script = [answer({"error": {"message": message}}, status=status, headers=SOON)] * 2

    with pytest.raises(ModalityError):
        await engine.complete(example_request(picture=solid_picture()))


# Misbehaviour that passes.
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_passing_trouble_is_waited_out(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, status: int
) -> None:
    """A check is idempotent: after a busy or broken answer it is asked again."""
    loopback.script = [answer({"error": {"message": "not now"}}, status=status, headers=SOON)]

    completion = await engine.complete(example_request())

    assert completion.text
    assert len(loopback.bodies) == 2


async def test_a_cut_connection_is_tried_again(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """An answer that breaks off is asked for again."""
    loopback.script = [answer({"choices": []}, cut=True)]

    completion = await engine.complete(example_request())

    assert completion.text


# Misbehaviour that does not.
@pytest.mark.parametrize(
    ("status", "error", "attempts"),
    [
        (500, EngineUnavailableError, 2),
        (429, EngineUnavailableError, 2),
        (400, EngineRefusedError, 1),
        (401, EngineRefusedError, 1),
        (403, EngineRefusedError, 1),
        (404, EngineRefusedError, 1),
        (422, EngineRefusedError, 1),
        (413, ContextLengthError, 1),
    ],
)
async def test_a_failure_is_named_by_its_status_alone(
    loopback: Loopback,
    engine: OpenAICompatibleEngine,
    answer: Make,
    status: int,
    error: type[EngineError],
    attempts: int,
) -> None:
    """A final failure has its own error, only passing ones are repeated, and no body is quoted."""
    body = {"error": {"message": f"bad: {QUOTED}"}}
    loopback.script = [answer(body, status=status, headers=SOON) for _ in range(4)]

    with pytest.raises(error) as caught:
        await engine.complete(example_request(QUOTED))

    assert type(caught.value) is error
    assert QUOTED not in str(caught.value)
    assert error is ContextLengthError or str(status) in str(caught.value)
    assert len(loopback.bodies) == attempts


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "the request exceeds the available context size",
        "should not exceed max_seq_len",
    ],
    ids=["vllm", "vllm prompt", "sglang", "llama.cpp", "tensorrt-llm"],
)
async def test_a_prompt_that_is_too_long_is_told_apart(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, message: str
) -> None:
    """Each server's way of saying that the context is full is understood."""
    loopback.script = [answer({"object": "error", "message": message, "code": 400}, status=400)]

    with pytest.raises(ContextLengthError):
        await engine.complete(example_request())


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>It works!</html>", "text/html"),
        (b"<html>It works!</html>", "application/json"),
        (b'{"choices": [{"message": {"cont', "application/json"),
        (b"", "application/json"),
        (b"[]", "application/json"),
        (b'"User Safety: safe"', "application/json"),
        (b"null", "application/json"),
        ({}, "application/json"),
        ({"choices": []}, "application/json"),
        ({"choices": None}, "text/plain"),
        ({"choices": [{}]}, "application/json"),
        ({"choices": ["User Safety: safe"]}, "application/json"),
        ({"choices": [{"message": None, "finish_reason": "stop"}]}, "application/json"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}, "application/json"),
        ({"choices": [{"message": {"content": ["safe"]}, "finish_reason": "stop"}]}, "application/json"),
    ],
    ids=str,
)
async def test_what_is_no_completion_is_not_read_as_one(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, body: Any, content_type: str
) -> None:
    """A body that is not JSON, or JSON of another shape, is a protocol error."""
    loopback.script = [answer(body, headers={"Content-Type": content_type})]

    with pytest.raises(EngineProtocolError):
        await engine.complete(example_request())


async def test_a_connection_cut_for_good_is_unavailable(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make
) -> None:
    """An answer that breaks off every time is no answer."""
    loopback.script = [answer({"choices": []}, cut=True) for _ in range(2)]

    with pytest.raises(EngineUnavailableError):
        await engine.complete(example_request())


async def test_a_refused_connection_says_what_to_look_at() -> None:
    """With no server there, the message has the address without its password, and a hint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    engine = _engine(f"http://user:hunter2@127.0.0.1:{port}/v1", model="m", max_retries=0)

    for call in (engine.start(), engine.complete(example_request())):
        with pytest.raises(EngineUnavailableError, match="Is it up") as caught:
            await call

        assert f"http://127.0.0.1:{port}/v1" in str(caught.value)
        assert "hunter2" not in str(caught.value)
    await engine.aclose()


async def test_the_time_out_covers_every_attempt(loopback: Loopback, answer: Make) -> None:
    """A server that asks for patience again and again does not get more than the time-out."""
    engine = _engine(loopback.base_url, model=loopback.model, timeout_s=0.4, max_retries=10)
    busy = answer({"error": {"message": "busy"}}, status=429, headers={"Retry-After": "1"})
    loopback.script = [busy for _ in range(10)]
    began = time.monotonic()

    with pytest.raises(EngineTimeoutError):
        await engine.complete(example_request())

    assert time.monotonic() - began < 2
    await engine.aclose()


async def test_a_cancelled_request_leaves_the_server(
    loopback: Loopback, engine: OpenAICompatibleEngine
) -> None:
    """Cancelling closes the connection, and the next request is answered."""
    loopback.think_s = 1.0
    task = asyncio.create_task(engine.complete(example_request(flags=Flags(thinking=True))))
    await asyncio.sleep(0.2)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (await engine.complete(example_request())).text


async def test_concurrent_requests_do_not_wait_for_one_another(
    loopback: Loopback, engine: OpenAICompatibleEngine
) -> None:
    """Eight slow replies take as long as one."""
    loopback.think_s = 0.5
    requests = [example_request(f"Hello {n}.", flags=Flags(thinking=True)) for n in range(8)]
    began = time.monotonic()

    await asyncio.gather(*(engine.complete(request) for request in requests))

    assert time.monotonic() - began < 2.5
    assert {body["messages"][0]["content"] for body in loopback.bodies} == {
        request.user for request in requests
    }


# Which model it is.
async def test_a_reply_in_another_model_s_name_is_refused(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any
) -> None:
    """A verdict by another model is no verdict of this one."""
    loopback.script = [answer(chat("User Safety: safe", model="meta/llama-guard-4"))]

    with pytest.raises(EngineProtocolError, match="another model"):
        await engine.complete(example_request())


@pytest.mark.parametrize(
    "name", ["nemotron-3.5-content-safety", "/models/Nemotron-3.5-Content-Safety/", None, ""]
)
async def test_the_same_model_by_another_name_is_accepted(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, chat: Any, name: str | None
) -> None:
    """Servers shorten names, put paths before them, or leave them out."""
    loopback.script = [answer(chat(model=name))]

    assert (await engine.complete(example_request())).text


async def test_the_checkpoint_behind_a_served_name_is_accepted(
    loopback: Loopback, answer: Make, chat: Any
) -> None:
    """vLLM lists what a served name stands for; a reply in that name is the same model's."""
    loopback.models = answer({"data": [{"id": "guard", "owned_by": "vllm", "root": "/weights/guard-4b"}]})
    loopback.script = [answer(chat(model="/weights/guard-4b"))]

    async with _engine(loopback.base_url, model="guard") as engine:
        completion = await engine.complete(example_request())

    assert completion.served_model == "/weights/guard-4b"


async def test_starting_learns_who_serves(loopback: Loopback, engine: OpenAICompatibleEngine) -> None:
    """The server's kind and version are evidence."""
    await engine.start()

    assert (engine.info.backend, engine.info.backend_version) == ("vllm", "0.25.1")


async def test_starting_notices_that_the_model_is_not_served(loopback: Loopback) -> None:
    """The message says which models are."""
    engine = _engine(loopback.base_url, model="nvidia/other")

    with pytest.raises(
        EngineRefusedError, match=r"'nvidia/other'.*It serves nvidia/Nemotron-3\.5-Content-Safety"
    ):
        await engine.start()

    await engine.aclose()


@pytest.mark.parametrize(
    ("status", "body"), [(404, {}), (200, b"hello"), (200, {"data": None}), (200, [])], ids=str
)
async def test_a_gateway_that_lists_no_models_is_no_obstacle(
    loopback: Loopback, engine: OpenAICompatibleEngine, answer: Make, status: int, body: Any
) -> None:
    """Without a list the name is checked in each reply alone."""
    loopback.models = answer(body, status=status)

    await engine.start()

    assert engine.info.backend is None
    assert (await engine.complete(example_request())).text


async def test_starting_is_bounded_in_time(loopback: Loopback, answer: Make) -> None:
    """A server that never lists its models does not hold up the start for ever."""
    loopback.models = answer({}, delay_s=1.0)
    engine = _engine(loopback.base_url, model=loopback.model, timeout_s=0.2)

    with pytest.raises(EngineTimeoutError):
        await engine.start()

    await engine.aclose()


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"model": "m"}, "--base-url or RAILSCRIBE_BASE_URL"),
        ({"model": "m", "base_url": "127.0.0.1:8000"}, "--base-url or RAILSCRIBE_BASE_URL"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "--model or RAILSCRIBE_MODEL"),
    ],
    ids=["no address", "no scheme", "no model"],
)
def test_missing_settings_are_asked_for_by_name(given: dict[str, Any], hint: str) -> None:
    """What the engine cannot do without is named with the flag and the variable that set it."""
    with pytest.raises(SettingsError, match=hint):
        open_engine(Settings(engine="openai_compatible", **given))


# Adapters.
async def test_an_adapter_is_a_served_name(
    loopback: Loopback, answer: Make, chat: Callable[..., Any]
) -> None:
    """A request for an adapter goes to the name that the server gives it, and only there is its reply accepted."""
    engine = OpenAICompatibleEngine(
        base_url=loopback.base_url,
        model=loopback.model,
        api_key=None,
        timeout_s=5,
        max_retries=0,
        adapters={"bank": "guard-bank"},
    )
    loopback.script = [
        answer(chat(model="guard-bank")),
        answer(chat(model="guard-bank")),
    ]
    async with engine:
        await engine.complete(dataclasses.replace(example_request(), adapter="bank"))
        with pytest.raises(EngineProtocolError, match="another model's name"):
            await engine.complete(example_request())
        with pytest.raises(EngineRefusedError, match="no adapter called 'shop'"):
            await engine.complete(dataclasses.replace(example_request(), adapter="shop"))

    assert [body["model"] for body in loopback.bodies] == ["guard-bank", loopback.model]
    assert engine.info_for("bank").adapter == "bank"
