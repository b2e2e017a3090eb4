"""The middleware in real agents of LangChain 1.x, with LangGraph's checkpoints and streams."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from PIL import Image as Pillow
from tests.langchain.scripted import REFUSAL, Model, agent, ask, call, contents, says
from tests.scripted import judge

from railscribe.errors import PolicyError
from railscribe.langchain import GuardMiddleware
from railscribe.policy import parse_policy
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine
from railscribe.values import Request

Records = Callable[[], list[dict[str, Any]]]


@pytest.mark.parametrize("form", ["invoke", "ainvoke"])
async def test_a_harmless_agent_runs_as_it_would_without(
    guard: StandingGuard, recorded: Records, form: str
) -> None:
    """Prompt, call, tool's answer and response are judged, each once, and the messages are what they were."""
    model = says(call("Paris"), "It is sunny in Paris.")
    built = agent(guard, model)

    if form == "invoke":
        state = await asyncio.to_thread(built.invoke, ask("Weather in Paris?"))
    else:
        state = await built.ainvoke(ask("Weather in Paris?"))

    assert contents(state) == ["Weather in Paris?", "", "sunny", "It is sunny in Paris."]
    assert [(r["direction"], r["enforcement"]) for r in recorded()] == [
        ("input", "passed"),
        ("tool_output", "passed"),
        ("tool_input", "passed"),
        ("output", "passed"),
    ]
    assert {r["host"].split()[0] for r in recorded()} == {"langchain"}


async def test_a_refused_prompt_leaves_the_state_and_ends_the_agent(
    guard: StandingGuard, recorded: Records
) -> None:
    """The model is not asked, the prompt is gone, and the refusal names its record."""
    model = says("never said")

    state = await agent(guard, model).ainvoke(ask("forbidden"))

    assert contents(state) == [REFUSAL]
    assert model.asked == []
    told = state["messages"][0].response_metadata["railscribe"]
    assert told == {"record_id": recorded()[0]["id"], "outcome": "block"}


async def test_two_prompts_in_a_row_are_one_turn(guard: StandingGuard) -> None:
    """The first of two messages is judged as well, and both go."""
    model = says("never said")

    state = await agent(guard, model).ainvoke(
        {"messages": [HumanMessage("forbidden"), HumanMessage("hello")]}
    )

    assert contents(state) == [REFUSAL]
    assert model.asked == []


async def test_a_refused_answer_never_stands_in_a_checkpoint(guard: StandingGuard) -> None:
    """No saved state of the thread holds the answer, and the conversation goes on without it."""
    built = agent(guard, says("a forbidden answer", "a fine answer"), checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "t-1"}}

    first = await built.ainvoke(ask("hello"), thread)
    second = await built.ainvoke(ask("hello again"), thread)

    assert contents(first) == ["hello", REFUSAL]
    assert contents(second) == ["hello", REFUSAL, "hello again", "a fine answer"]
    saved = [str(state.values) async for state in built.aget_state_history(thread)]
    assert saved
    assert not any("a forbidden answer" in each for each in saved)


async def test_a_refused_call_is_not_made(guard: StandingGuard, recorded: Records) -> None:
    """The refusal stands in the place of the message that wanted the call, and the tool is not run."""
    state = await agent(guard, says(call("forbidden city"), "never said")).ainvoke(ask("Weather?"))

    assert contents(state) == ["Weather?", REFUSAL]
    assert not state["messages"][-1].tool_calls
    assert [r["direction"] for r in recorded()] == ["input", "tool_output"]


async def test_a_refused_answer_of_a_tool_is_withheld_from_the_model(guard: StandingGuard) -> None:
    """The model reads a note instead, and answers."""
    model = says(call("Rome"), "I could not find out.")

    state = await agent(guard, model).ainvoke(ask("Weather?"))

    withheld = state["messages"][2]
    assert (withheld.status, withheld.tool_call_id) == ("error", "c1")
    assert "forbidden" not in str(model.asked[-1])
    assert contents(state)[-1] == "I could not find out."


async def test_a_command_of_a_tool_is_judged_by_the_messages_in_it(settings: Settings) -> None:
    """A tool that answers by a command is no way around."""
    wants = AIMessage(content="", tool_calls=[{"name": "memo", "args": {"text": "x forbidden"}, "id": "c1"}])

    def only_what_comes_in(request: Request) -> str:
        return judge(request) if request.response is None else "User Safety: safe\nResponse Safety: safe"

    guard = StandingGuard.stand(settings, engine=ScriptedEngine(only_what_comes_in))
    blind = await agent(guard, says(wants, "done"), tools=False).ainvoke(ask("Keep this"))
    seeing = await agent(guard, says(wants, "done")).ainvoke(ask("Keep this"))

    assert "kept: x forbidden" in contents(blind)
    assert "forbidden" not in str(contents(seeing))


async def test_a_tool_may_answer_nothing(guard: StandingGuard) -> None:
    """An empty answer is nothing to judge."""
    state = await agent(guard, says(call("Nowhere"), "I do not know.")).ainvoke(ask("Weather?"))

    assert contents(state) == ["Weather?", "", "", "I do not know."]


async def test_tokens_are_held_until_they_were_judged(guard: StandingGuard) -> None:
    """Streaming messages shows an allowed answer whole, and of a refused one only the refusal."""

    async def shown(model: Model) -> list[str]:
        stream = agent(guard, model).astream(ask("hello"), stream_mode="messages")
        return [str(message.content) async for message, _ in stream if isinstance(message, AIMessage)]

    assert "".join(await shown(says("a fine answer"))) == "a fine answer"
    assert "".join(await shown(says("a most forbidden answer"))) == REFUSAL


async def test_pictures_stay_intact(guard: StandingGuard, recorded: Records) -> None:
    """A message with a picture reaches the model as it came, and the picture is on record."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (2, 2), "red").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    model = says("A red square.")

    state = await agent(guard, model).ainvoke(ask(content))

    assert state["messages"][0].content == content
    assert model.asked[0][-1].content == content
    assert recorded()[0]["image"]["image_count"] == 1


async def test_observing_changes_nothing(guard: StandingGuard, recorded: Records) -> None:
    """In shadow mode everything runs, and what would have been refused is on record."""
    model = says(call("forbidden city"), "a forbidden answer")

    state = await agent(guard, model, rollout="observe").ainvoke(ask("forbidden"))

    assert contents(state)[-1] == "a forbidden answer"
    assert {r["enforcement"] for r in recorded()} == {"observed"}


async def test_the_thread_is_the_session(guard: StandingGuard, recorded: Records) -> None:
    """Identity comes from the run's configuration: thread, tenant, subject."""
    config = {"configurable": {"thread_id": "t-7"}, "metadata": {"tenant": "acme", "subject": "user-42"}}

    await agent(guard, says("fine"), checkpointer=InMemorySaver()).ainvoke(ask("hello"), config)

    identities = [r["identity"] for r in recorded()]
    assert {(i["tenant"], i["session"], i["subject"]) for i in identities} == {("acme", "t-7", "user-42")}


def test_a_policy_for_texts_alone_is_refused_at_construction(guard: StandingGuard) -> None:
    """Where tools are judged the policy must apply to them; without them it need not."""
    texts = parse_policy(
        {"name": "texts", "version": "1", "description": "Texts.", "applies_to": ["input", "output"]}
    )

    with pytest.raises(PolicyError, match="does not apply to tool_output"):
        GuardMiddleware(guard, policy=texts)
    GuardMiddleware(guard, policy=texts, tools=False)


def test_the_engine_is_asked_once_for_a_turn(guard: StandingGuard, engine: ScriptedEngine) -> None:
    """The user's turn is not judged again when the model comes back from a tool."""
    agent(guard, says(call("Paris"), call("Paris"), "Sunny.")).invoke(ask("Weather in Paris?"))

    assert [r.user for r in engine.requests if r.response is None].count("Weather in Paris?") == 1
