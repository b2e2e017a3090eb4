"""What LangChain asks of any Runnable, of each of ours; its standard tests have no suite for plain Runnables."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumpd, dumps, load
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from pydantic import BaseModel
from tests.langchain.scripted import Model, call, says, weather

from railscribe import Identity, use_identity
from railscribe.errors import UsageError
from railscribe.langchain import GuardDocuments, GuardRunnable, RefusedError
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine

Records = Callable[[], list[dict[str, Any]]]
STORY = "Once upon a time there was a very small dragon. It lived in a cave by the sea. Everybody liked it."


@dataclass
class Case:
    """A runnable, what it lets through and what it refuses."""

    runnable: Any
    good: Any
    bad: Any
    result: Any
    left: Any = RefusedError
    """What is left of *bad*: nothing but the error, or what a filter gives."""


def built(guard: StandingGuard) -> dict[str, Case]:
    document = Document("Opening hours")
    return {
        "input": Case(GuardRunnable(guard), "hello", "forbidden", "hello"),
        "output": Case(GuardRunnable(guard, direction="output"), STORY, "forbidden", STORY),
        "wrap": Case(
            GuardRunnable(guard).wrap(FakeListChatModel(responses=[STORY])), "hello", "forbidden", STORY
        ),
        "documents": Case(GuardDocuments(guard), [document], [Document("forbidden")], [document], []),
    }


@pytest.fixture(params=["input", "output", "wrap", "documents"])
def case(request: pytest.FixtureRequest, guard: StandingGuard) -> Case:
    """Each of ours."""
    return built(guard)[request.param]


def plain(value: Any) -> Any:
    """Return what *value* says, and of pieces all of them."""
    if isinstance(value, AIMessage):
        return value.content
    pieces = isinstance(value, list) and value and not isinstance(value[0], Document)
    return "".join(plain(each) for each in value) if pieces and isinstance(plain(value[0]), str) else value


async def once(value: Any) -> AsyncIterator[Any]:
    yield value


async def gathered(pieces: AsyncIterator[Any]) -> Any:
    found = [piece async for piece in pieces]
    return found[0] if found and isinstance(found[0], list) else found


def gathered_sync(pieces: Iterator[Any]) -> Any:
    found = list(pieces)
    return found[0] if found and isinstance(found[0], list) else found


async def last_event(runnable: Runnable[Any, Any], value: Any) -> Any:
    """Return what the run's last event says came out."""
    events = [event async for event in runnable.astream_events(value, version="v2")]
    assert events[-1]["event"] == "on_chain_end"
    return events[-1]["data"]["output"]


async def first(work: Any) -> Any:
    return (await work)[0]


async def first_completed(runnable: Any, value: Any) -> Any:
    ((_, result),) = [each async for each in runnable.abatch_as_completed([value])]
    return result


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "ainvoke": lambda runnable, value: runnable.ainvoke(value),
    "abatch": lambda runnable, value: first(runnable.abatch([value])),
    "abatch_as_completed": first_completed,
    "astream": lambda runnable, value: gathered(runnable.astream(value)),
    "atransform": lambda runnable, value: gathered(runnable.atransform(once(value))),
    "astream_events": last_event,
    "invoke": lambda runnable, value: asyncio.to_thread(runnable.invoke, value),
    "batch": lambda runnable, value: asyncio.to_thread(lambda: runnable.batch([value])[0]),
    "batch_as_completed": lambda runnable, value: asyncio.to_thread(
        lambda: next(iter(runnable.batch_as_completed([value])))[1]
    ),
    "stream": lambda runnable, value: asyncio.to_thread(lambda: gathered_sync(runnable.stream(value))),
    "transform": lambda runnable, value: asyncio.to_thread(
        lambda: gathered_sync(runnable.transform(iter([value])))
    ),
    "map": lambda runnable, value: first(runnable.map().ainvoke([value])),
    "pipe": lambda runnable, value: runnable.pipe(RunnablePassthrough()).ainvoke(value),
    "behind": lambda runnable, value: (RunnablePassthrough() | runnable).ainvoke(value),
    "with_types": lambda runnable, value: runnable.with_types(input_type=Any).ainvoke(value),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_all_forms_agree(case: Case, form: Callable[[Any, Any], Any]) -> None:
    """Whichever way it is called, the good comes through and the bad does not."""
    assert plain(await form(case.runnable, case.good)) == case.result

    if case.left is not RefusedError:
        assert await form(case.runnable, case.bad) == case.left
        return
    with pytest.raises(RefusedError):
        await form(case.runnable, case.bad)


class Watching(BaseCallbackHandler):
    """Keeps what a run was started with."""

    def __init__(self) -> None:
        self.started: list[tuple[str | None, list[str], dict[str, Any]]] = []
        self.failed: list[type[BaseException]] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **how: Any) -> None:
        self.started.append((how.get("name"), how.get("tags") or [], how.get("metadata") or {}))

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.failed.append(type(error))


@pytest.mark.parametrize("form", ["ainvoke", "invoke", "astream", "abatch"])
async def test_configuration_goes_down_the_pipe(case: Case, recorded: Records, form: str) -> None:
    """Callbacks see each step's run with its name, tags and metadata, and the metadata name who asks."""
    watching = Watching()
    named = case.runnable.with_config(
        {"run_name": "guarded", "tags": ["a-tag"], "metadata": {"tenant": "acme"}, "callbacks": [watching]}
    )

    await FORMS[form](named, case.good)

    name, tags, metadata = watching.started[0]
    assert name == "guarded"
    assert "a-tag" in tags
    assert metadata["tenant"] == "acme"
    assert {r["identity"]["tenant"] for r in recorded()} == {"acme"}


async def test_a_refusal_is_an_error_of_the_run(case: Case) -> None:
    """Tracers see that the step failed, and by what; a filter's refusal is none."""
    watching = Watching()

    await case.runnable.abatch([case.bad], {"callbacks": [watching]}, return_exceptions=True)

    assert watching.failed == ([RefusedError] if case.left is RefusedError else [])


@pytest.mark.parametrize("form", ["batch", "abatch", "map"])
async def test_who_asks_goes_along_into_batches(case: Case, recorded: Records, form: str) -> None:
    """What use_identity says holds in the threads and tasks of a batch."""
    with use_identity(Identity(tenant="acme", session="s-1")):
        await FORMS[form](case.runnable, case.good)

    assert {(r["identity"]["tenant"], r["identity"]["session"]) for r in recorded()} == {("acme", "s-1")}


async def test_batches_keep_their_order_and_their_errors(case: Case) -> None:
    """Each member on its own, at most so many at once."""
    values = [case.good, case.bad, case.good]

    results = await case.runnable.abatch(values, {"max_concurrency": 2}, return_exceptions=True)

    assert plain(results[0]) == plain(results[2]) == case.result
    assert results[1] == case.left if case.left != RefusedError else isinstance(results[1], RefusedError)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_retry_asks_again(settings: Settings, recorded: Records) -> None:
    """With with_retry a check whose engine failed is made again; each has its record."""
    answers: Iterator[Any] = iter([ValueError("away"), "User Safety: safe"])
    guard = StandingGuard.stand(settings, engine=ScriptedEngine(lambda _: next(answers)))
    retrying = GuardRunnable(guard).with_retry(
        retry_if_exception_type=(RefusedError,),
        exponential_jitter_params={"initial": 0.001, "max": 0.001},
        stop_after_attempt=2,
    )

    assert await retrying.ainvoke("hello") == "hello"
    assert [r["enforcement"] for r in recorded()] == ["refused", "passed"]


async def test_a_fallback_answers(case: Case) -> None:
    """with_fallbacks turns a refusal into what stands behind it."""
    fallback: Any = RunnableLambda(lambda _: "instead")
    safe = case.runnable.with_fallbacks([fallback], exceptions_to_handle=(RefusedError,))

    assert plain(await safe.ainvoke(case.good)) == case.result
    assert await safe.ainvoke(case.bad) == ("instead" if case.left is RefusedError else case.left)


def test_a_guard_is_neither_pickled_nor_deeply_copied(case: Case) -> None:
    """It holds an engine and a database; the error says so, and what to do."""
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(UsageError, match="cannot be pickled"):
            way(case.runnable)

    assert copy.copy(case.runnable).get_name() == case.runnable.get_name()


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_a_guard_is_not_serialised(case: Case) -> None:
    """LangChain writes down that it cannot, without content or settings, and refuses to read it back."""
    chain = RunnablePassthrough() | case.runnable

    written = dumps(chain)

    assert "not_implemented" in written
    assert "sqlite" not in written
    with pytest.raises(NotImplementedError):
        load(dumpd(case.runnable), allowed_objects="core")


def test_graphs_and_schemas_are_there(case: Case) -> None:
    """A chain can be drawn, and says what it takes and gives."""
    chain = RunnablePassthrough() | case.runnable

    assert type(case.runnable).__name__ in chain.get_graph().draw_mermaid()
    assert case.runnable.get_input_jsonschema()["title"]
    assert case.runnable.get_output_jsonschema()["title"]
    assert case.runnable.config_schema().model_json_schema()


# A model that is wrapped stays one.
def test_a_wrapped_model_says_what_the_model_takes(guard: StandingGuard) -> None:
    """Its schemas are the model's."""
    model = FakeListChatModel(responses=["fine"])
    wrapped = GuardRunnable(guard).wrap(model)

    assert wrapped.get_input_jsonschema() == model.get_input_jsonschema() | {"title": "GuardedModelInput"}
    assert wrapped.OutputType == model.OutputType


async def test_tools_are_bound_behind_the_guard(guard: StandingGuard) -> None:
    """bind_tools gives a guarded model, whose calls are judged, also where they come in events."""
    good = GuardRunnable(guard).wrap(says(call("Paris"))).bind_tools([weather])
    bad = GuardRunnable(guard).wrap(says(call("forbidden"))).bind_tools([weather])

    assert (await good.ainvoke("hello")).tool_calls[0]["args"] == {"city": "Paris"}
    with pytest.raises(RefusedError):
        await bad.ainvoke("hello")
    events: list[Any] = []
    with pytest.raises(RefusedError):
        events += [event async for event in bad.astream_events("hello", version="v2")]
    assert "forbidden" not in str(events)


async def test_structured_output_is_bound_behind_the_guard(guard: StandingGuard) -> None:
    """with_structured_output gives a guarded model, whose output is judged as JSON."""

    class Joke(BaseModel):
        setup: str
        punchline: str

    class Structured(Model):
        def with_structured_output(self, schema: Any, **_: Any) -> Any:
            return self | RunnableLambda(lambda message: schema.model_validate_json(message.content))

    def joking(punchline: str) -> Any:
        joke = Joke(setup="knock knock", punchline=punchline).model_dump_json()
        model = Structured(says=[AIMessage(joke)], asked=[])
        return GuardRunnable(guard).wrap(model).with_structured_output(Joke)

    assert await joking("who").ainvoke("hello") == Joke(setup="knock knock", punchline="who")
    with pytest.raises(RefusedError):
        await joking("forbidden").ainvoke("hello")


def test_what_is_bound_reaches_the_model(guard: StandingGuard) -> None:
    """Arguments of bind go to the model, not to the guard."""
    given: list[Any] = []

    class Taking(Runnable[Any, Any]):
        def invoke(self, input: Any, config: Any = None, **how: Any) -> Any:  # noqa: A002
            given.append(how)
            return "fine"

    assert GuardRunnable(guard).wrap(Taking()).bind(stop=["x"]).invoke("hello") == "fine"
    assert given == [{"stop": ["x"]}]
