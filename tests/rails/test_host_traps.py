"""Traps of NeMo Guardrails 0.24.1 that stand nowhere else: what the host does, and what holds on our side."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails import Guardrails, RailsConfig
from nemoguardrails.integrations.langchain.middleware import GuardrailsMiddleware
from nemoguardrails.rails.llm.options import RailStatus, RailType
from tests.rails.configs import BOTH, REFUSAL

from railscribe.rails import rails_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

BAD, GOOD = {"role": "user", "content": "forbidden"}, {"role": "user", "content": "thanks"}


async def test_check_async_judges_two_turns_in_a_row(host: Callable[..., Host]) -> None:
    """NeMo checks the last message of a role alone; the rail judges the whole unanswered turn here as well."""
    app = host(BOTH)

    result = await app.app.check_async([BAD, GOOD], rail_types=[RailType.INPUT])

    assert result.status is RailStatus.BLOCKED
    assert app.texts() == [("forbidden\nthanks", None)]


async def test_check_async_judges_nothing_behind_a_tool_s_message(host: Callable[..., Host]) -> None:
    """Open, and the host's: no rail runs there. It does not say *passed*, and gives no text of it back."""
    app = host(BOTH)
    tool = {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "x"}

    result = await app.app.check_async([BAD, tool])

    assert (result.status, app.texts()) == (RailStatus.MODIFIED, [])
    assert result.content in ("", "None")


async def test_one_caller_s_picture_is_not_another_s(
    host: Callable[..., Host], picture: dict[str, Any]
) -> None:
    """NeMo finds a conversation's events by its texts; what is judged comes from the caller's own messages."""
    app = host(BOTH)
    alice = [{"role": "user", "content": [{"type": "text", "text": "look"}, picture]}]
    bob = [{"role": "user", "content": "look"}]
    said = {"role": "assistant", "content": "fine"}

    await app.app.generate_async(messages=alice)
    await app.app.generate_async(messages=[*bob, said, {"role": "user", "content": "and now?"}])

    assert [bool(request.image) for request in app.engine.requests] == [True, True, False, False]
    assert app.texts()[2:] == [("and now?", None), ("and now?", "fine")]


async def test_a_caller_s_messages_stay_as_they_are(
    host: Callable[..., Host], picture: dict[str, Any]
) -> None:
    """A rail of NeMo's that rewrites changes the caller's own list; ours rewrites nothing."""
    app = host(BOTH)
    messages = [{"role": "user", "content": [{"type": "text", "text": "look \u202e here"}, picture]}, BAD]
    before = copy.deepcopy(messages)

    await app.app.generate_async(messages=messages)

    assert messages == before


async def test_a_context_message_is_no_way_in(host: Callable[..., Host]) -> None:
    """With ``passthrough: true`` NeMo fails on the role; whatever it does, the model is not asked unjudged."""
    app = host(BOTH)

    reply = await app.app.generate_async(
        messages=[{"role": "context", "content": {"user_message": "thanks"}}, BAD]
    )

    assert app.model.asked == []
    assert "fine" not in reply["content"]


async def test_a_list_of_rails_by_name_runs_ours(host: Callable[..., Host]) -> None:
    """NeMo takes a list of names and runs every rail of that side."""
    app = host(BOTH)

    options = {"rails": {"input": ["another rail"], "output": ["railscribe check output"]}}
    reply = await app.app.generate_async(messages=[BAD], options=options)

    assert reply.response[0]["content"] == REFUSAL


async def test_windows_without_overlap_are_one_judged_stream(host: Callable[..., Host]) -> None:
    """``context_size: 0`` never empties NeMo's buffer; nothing refused is shown, and it stays one stream."""
    streaming = "{enabled: true, stream_first: false, chunk_size: 2, context_size: 0}"
    config = BOTH.replace(
        "[railscribe check output]}", f"[railscribe check output], streaming: {streaming}}}"
    )
    app = host(config, says="one two three four forbidden six")

    shown = [
        str(chunk) async for chunk in app.app.stream_async(messages=[{"role": "user", "content": "hello"}])
    ]

    assert json.loads(shown[-1])["error"]["code"] == "content_blocked"
    assert "forbidden" not in "".join(shown[:-1])


async def test_our_flows_do_not_start_by_themselves(host: Callable[..., Host]) -> None:
    """A plain flow that begins with an action starts whenever any flow runs it; ours are subflows."""
    colang = "define subflow theirs\n  $o = execute railscribe_check_input\n  if $o.is_blocked\n    stop\n"
    app = host(
        BOTH.replace("[railscribe check input]", "[theirs]").replace(
            "output: {flows: [railscribe check output]}", ""
        ),
        colang=colang,
    )

    reply = await app.app.generate_async(messages=[GOOD])

    assert reply["content"] == "fine"
    assert app.texts() == [("thanks", None)]


async def test_in_2x_an_utterance_that_no_flow_waits_for_is_answered_by_nobody(
    host: Callable[..., Host],
) -> None:
    """No rail runs there, and no model either: nothing passes."""
    colang = """\
import core
import guardrails

flow input rails $input_text
  railscribe check input

flow main
  match SomethingElse()
"""
    app = host('colang_version: "2.x"\nimport_paths: ["{rails}"]\nmodels: []\n', colang=colang)

    reply = await app.app.generate_async(messages=[BAD])

    assert (reply["content"], app.texts(), app.model.asked) == ("", [], [])


@pytest.mark.filterwarnings("ignore:Use 'nim_:DeprecationWarning")
def test_a_configuration_of_ours_does_not_run_in_iorails(monkeypatch: pytest.MonkeyPatch) -> None:
    """IORails passes pictures unchecked; NeMo falls back to LLMRails for flows that are not its own."""
    monkeypatch.setenv("NEMO_GUARDRAILS_IORAILS_ENGINE", "1")
    text = BOTH.replace("{rails}", rails_path())

    app = Guardrails(RailsConfig.from_content(yaml_content=text), use_iorails=True)

    assert type(app.rails_engine).__name__ == "LLMRails"


@pytest.mark.filterwarnings("ignore:Use 'nim_:DeprecationWarning")
def test_the_host_s_middleware_loses_rails_given_as_yaml() -> None:
    """NeMo reads ``config_yaml`` as Colang, so that nothing is guarded: ours takes a guard, and no YAML."""
    theirs = GuardrailsMiddleware(config_yaml="models: []\nrails:\n  input:\n    flows: [self check input]\n")

    assert theirs.rails.config.rails.input.flows == []
