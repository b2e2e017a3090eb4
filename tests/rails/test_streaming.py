"""The output rail on the chunks of a stream, Colang 1.0: NeMo calls the action there, and runs no flow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from railscribe import Identity, use_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

STREAMING = """
    import_paths: ["{rails}"]
    models: []
    passthrough: PASSTHROUGH
    rails:
      input: {flows: [railscribe check input]}
      output:
        parallel: PARALLEL
        flows: [railscribe check outputPOLICY]
        streaming: {enabled: true, stream_first: false, chunk_size: 4, context_size: 1}
"""


def streaming(*, policy: str = "", parallel: bool = False, passthrough: bool = True) -> str:
    text = STREAMING.replace("PARALLEL", str(parallel).lower()).replace(
        "PASSTHROUGH", str(passthrough).lower()
    )
    return text.replace("POLICY", policy)


async def stream(host: Host, content: Any) -> list[str]:
    return [
        str(chunk) async for chunk in host.app.stream_async(messages=[{"role": "user", "content": content}])
    ]


@pytest.mark.parametrize("parallel", [False, True])
async def test_an_unsafe_chunk_ends_the_stream_unseen(host: Callable[..., Host], *, parallel: bool) -> None:
    """What was checked before is shown, the unsafe window is not, and the end says why."""
    app = host(streaming(parallel=parallel), says="one two three four five six forbidden eight nine ten")

    chunks = await stream(app, "hello")

    error = json.loads(chunks[-1])["error"]
    assert "".join(chunks[:-1]).split() == ["one", "two", "three", "four"]
    assert (error["code"], error["param"]) == ("content_blocked", "railscribe check output")
    refused = [r for r in app.records() if r["enforcement"] == "refused"]
    assert "railscribe check output (chunk)" in {r["rail"] for r in refused}
    assert {r["decision"]["outcome"] for r in refused} == {"block"}


async def test_every_chunk_has_a_record_in_the_callers_name(host: Callable[..., Host]) -> None:
    """Chunks are judged with the user's message as context, under the identity of the caller."""
    app = host(streaming(), says="one two three four five")

    with use_identity(Identity(tenant="acme", request="r-1")):
        chunks = await stream(app, "hello")

    assert "".join(chunks) == "one two three four five"
    assert [r["identity"]["request"] for r in app.records()] == ["r-1"] * len(app.engine.requests)
    assert ("hello", "one two three four") in app.texts()


async def test_a_chunk_is_judged_under_the_flows_policy(host: Callable[..., Host]) -> None:
    """The flow's parameter reaches the action without the flow."""
    app = host(streaming(policy=" $policy=dev-tools-assistant"), says="one two")

    await stream(app, "hello")

    named = {r["policy"]["name"] for r in app.records() if r["direction"] == "output"}
    assert named == {"dev-tools-assistant"}


@pytest.mark.parametrize("passthrough", [False, True])
async def test_the_input_rails_refusal_is_streamed_and_not_judged(
    host: Callable[..., Host], *, passthrough: bool
) -> None:
    """NeMo sends the refusal through the chunk check, where the rail knows its own words."""
    app = host(streaming(passthrough=passthrough).replace("chunk_size: 4", "chunk_size: 200"))

    chunks = await stream(app, "forbidden")

    assert "".join(chunks) == "I'm sorry, I can't help with that."
    assert app.texts() == [("forbidden", None)]


async def test_an_engine_that_fails_ends_the_stream(host: Callable[..., Host]) -> None:
    """NeMo goes on with the stream where a rail fails; ours refuses instead."""

    def broken_on_output(request: Any) -> str:
        if request.response is not None:
            raise RuntimeError("down")
        return "User Safety: safe"

    app = host(streaming(parallel=True), says="one two three four five six", script=broken_on_output)

    chunks = await stream(app, "hello")

    assert len(chunks) == 1
    assert json.loads(chunks[0])["error"]["code"] == "content_blocked"


async def test_a_chunk_of_a_conversation_about_a_picture_is_judged_with_it(
    host: Callable[..., Host], picture: dict[str, Any]
) -> None:
    """Image parts of the user's message reach the engine on the chunk path too."""
    app = host(streaming(), says="one two")

    chunks = await stream(app, [{"type": "text", "text": "look"}, picture])

    assert "".join(chunks) == "one two"
    assert all(request.image for request in app.engine.requests)
