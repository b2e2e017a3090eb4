"""Rails on what was retrieved, on calls that the model wants to make, and on what tools answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from nemoguardrails.actions import action
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.context import tool_calls_var
from nemoguardrails.types import LLMResponse, LLMResponseChunk, ToolCall, ToolCallFunction
from tests.rails.configs import REFUSAL

from railscribe.parts import calls_text
from railscribe.rails.turns import chunks_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.rails.conftest import Host

TOOLS = """
    import_paths: ["{rails}"]
    models: []
    passthrough: true
    rails:
      tool_output: {flows: [railscribe check tool output]}
      tool_input: {flows: [railscribe check tool input]}
"""
RETRIEVAL = """
    import_paths: ["{rails}"]
    models: []
    rails:
      retrieval: {flows: [railscribe check retrieval]}
"""
ANSWERS = """
    define flow
      user ask about hours
      bot answer from documents

    define bot answer from documents
      "$relevant_chunks"
"""
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'},
}


class CallingModel:
    """Wants to call one tool, or answers where it is not to."""

    model_name = "main"
    provider_name = "test"
    provider_url = None

    def __init__(self, city: str | None, reasoning: str | None = None) -> None:
        self.city = city
        self.reasoning = reasoning

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        if self.city is None:
            return LLMResponse(content="It is sunny.")
        function = ToolCallFunction(name="get_weather", arguments={"city": self.city})
        calls = [ToolCall(id="c1", function=function)]
        return LLMResponse(content="", tool_calls=calls, reasoning=self.reasoning)

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        yield LLMResponseChunk(delta_content="not asked for")


def asked_with(app: Host, city: str | None, messages: list[dict[str, Any]]) -> Any:
    app.app.update_llm(CallingModel(city))
    tool_calls_var.set(None)
    return app.app.generate(messages=messages)


def test_a_harmless_call_leaves(host: Callable[..., Host]) -> None:
    """A call that is allowed is handed to the caller, judged as the answer to the user's turn."""
    app = host(TOOLS)

    reply = asked_with(app, "Paris", [{"role": "user", "content": "weather?"}])

    assert [call["function"]["name"] for call in reply["tool_calls"]] == ["get_weather"]
    assert app.texts() == [("weather?", 'Calling the tool get_weather with city "Paris".')]
    (record,) = app.records()
    assert (record["direction"], record["rail"]) == ("tool_output", "railscribe check tool output")
    assert record["decision"]["sides"] == ["response"]


def test_a_refused_call_does_not_leave_beside_the_refusal(host: Callable[..., Host]) -> None:
    """NeMo would return the call with the refusal; a client that looks at calls first would make it."""
    app = host(TOOLS)

    reply = asked_with(app, "forbidden", [{"role": "user", "content": "weather?"}])

    assert reply["content"] == REFUSAL
    assert not reply.get("tool_calls")
    assert [r["enforcement"] for r in app.records()] == ["refused"]


def test_what_was_thought_about_a_call_is_judged_with_it(host: Callable[..., Host]) -> None:
    """NeMo hands the model's reasoning to the caller beside the calls: refused, neither leaves."""
    app = host(TOOLS)
    app.app.update_llm(CallingModel("Paris", "a forbidden plan"))
    tool_calls_var.set(None)

    reply = app.app.generate(messages=[{"role": "user", "content": "weather?"}])

    assert reply["content"] == REFUSAL
    assert not reply.get("tool_calls")
    assert app.texts() == [("weather?", 'a forbidden plan\nCalling the tool get_weather with city "Paris".')]


def test_a_refused_call_does_not_leave_with_an_exception_either(host: Callable[..., Host]) -> None:
    """With rails exceptions the answer is the event, and no call is beside it."""
    app = host(TOOLS + "    enable_rails_exceptions: true\n")

    reply = asked_with(app, "forbidden", [{"role": "user", "content": "weather?"}])

    assert reply["content"]["type"] == "RailscribeToolOutputRailException"
    assert not reply.get("tool_calls")


@pytest.mark.parametrize(
    ("content", "answer", "enforcement"),
    [("sunny", "It is sunny.", "passed"), ("forbidden", REFUSAL, "refused")],
)
def test_what_a_tool_answers_is_judged(
    host: Callable[..., Host], content: str, answer: str, enforcement: str
) -> None:
    """A tool's answer is content that comes in; a refused one ends the turn before the model reads it."""
    app = host(TOOLS)
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": content},
    ]

    reply = asked_with(app, None, messages)

    judged = [r for r in app.records() if r["direction"] == "tool_input"]
    assert [r["enforcement"] for r in judged] == [enforcement]
    assert (content, None) in app.texts()
    assert reply["content"] == answer


def test_a_tool_result_of_a_megabyte_never_passes(host: Callable[..., Host]) -> None:
    """What is longer than is judged is undecided, recorded and refused."""
    app = host(TOOLS)
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": "sunny " * 180_000},
    ]

    reply = asked_with(app, None, messages)

    assert reply["content"] == REFUSAL
    assert [(r["direction"], r["decision"]["cause"]) for r in app.records()] == [("tool_input", "too_long")]


@pytest.mark.parametrize(
    "documents",
    [["Opening hours: 9 to 5", "forbidden", "Closed on Mondays"], ["forbidden one", "forbidden two"]],
)
def test_what_is_refused_of_the_retrieved_text_is_withheld(
    host: Callable[..., Host], documents: list[str]
) -> None:
    """Each chunk has its own check and record; the model gets the others."""
    app = host(RETRIEVAL, colang=ANSWERS)

    @action(name="retrieve_relevant_chunks", is_system_action=True)  # type: ignore[untyped-decorator]
    async def retrieve(**_: Any) -> ActionResult:
        found = {"relevant_chunks": "\n".join(documents), "relevant_chunks_sep": documents}
        return ActionResult(return_value=found["relevant_chunks"], context_updates=found)

    app.app.register_action(retrieve)
    asked = {"type": "UserIntent", "intent": "ask about hours"}
    reply = app.app.generate(messages=[{"role": "event", "event": asked}])

    kept = [document for document in documents if "forbidden" not in document]
    assert reply["content"] == (
        "\n".join(kept) or "I'm not sure what to say."
    )  # NeMo's own, for an empty text
    assert sorted(app.texts()) == sorted((document, None) for document in documents)
    assert {(r["direction"], r["rail"]) for r in app.records()} == {
        ("retrieval", "railscribe check retrieval")
    }


def test_a_v2_flow_awaits_the_rails_that_the_host_has_no_hooks_for(host: Callable[..., Host]) -> None:
    """In Colang 2.x the author awaits them: what is refused of the documents is withheld, and a bad call aborts."""
    app = host(
        """
        import_paths: ["{rails}"]
        colang_version: "2.x"
        models: []
        """,
        colang="""
        import core

        flow main
          user said "documents" or user said "call" or user said "result" as $said
          $kept = railscribe check retrieval $chunks=["Opening hours", "forbidden"]
          bot say $kept
          railscribe check tool output $tool_calls=[{"name": "get_weather", "args": {"city": "forbidden"}}]
          bot say "never said"
        """,
    )

    reply = app.ask("documents")

    assert "Opening hours" in reply["content"]
    assert "never said" not in reply["content"]
    assert sorted((r["direction"], r["enforcement"]) for r in app.records()) == [
        ("retrieval", "passed"),
        ("retrieval", "refused"),
        ("tool_output", "refused"),
    ]


@pytest.mark.parametrize(
    ("calls", "text"),
    [
        ([CALL], 'Calling the tool get_weather with city "Paris".'),
        (
            [{"name": "a", "args": {"x": 1, "y": ["é"]}}, {"name": "b", "args": {}}],
            'Calling the tool a with x 1, y ["é"].\nCalling the tool b.',
        ),
        ([{"name": "a", "args": "not {json"}], "Calling the tool a with not {json."),
        ([{"name": "a", "args": "[1, 2]"}], "Calling the tool a with [1, 2]."),
        ([{"what": "is this"}], '{"what": "is this"}'),
        ("written out", "written out"),
        (7, 7),
    ],
)
def test_calls_of_every_shape_become_text(calls: object, text: object) -> None:
    """OpenAI's and LangChain's shapes give name and arguments; an unknown shape is judged by what it says."""
    assert calls_text(calls) == text


def test_chunks_part_only_where_they_are_the_text_that_is_used() -> None:
    """Where the separate chunks are not what the model will read, that text is judged whole."""
    assert chunks_of({"relevant_chunks": "a\nb", "relevant_chunks_sep": ["a", "b"]}) == ["a", "b"]
    assert chunks_of({"relevant_chunks": "a\nc", "relevant_chunks_sep": ["a", "b"]}) == ["a\nc"]
    assert chunks_of({"relevant_chunks": ""}) == []
    assert json.dumps(chunks_of({}, ["x", "y"])) == '["x", "y"]'
