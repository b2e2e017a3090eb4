"""Guards as steps of LangChain pipes, with LangChain's own prompts, fake models and parsers."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from PIL import Image as Pillow

from railscribe import Identity, use_identity
from railscribe.audit import AuditStore, PolicyRegistry
from railscribe.errors import PolicyError, RailscribeError, UsageError
from railscribe.langchain import GuardRunnable, RefusedError
from railscribe.policy import Policy, load_policy, parse_policy
from railscribe.policy.registration import Registration
from railscribe.settings import Settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine
from railscribe.values import Outcome

REFUSAL = "I'm sorry, I can't help with that."
PROMPT = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{question}")])
Records = Callable[[], list[dict[str, Any]]]


class CountingModel(FakeListChatModel):
    """Says its lines and counts how often it was asked."""

    asked: int = 0

    def _call(self, *args: Any, **kwargs: Any) -> str:
        self.asked += 1
        return super()._call(*args, **kwargs)


def model(*lines: str) -> CountingModel:
    return CountingModel(responses=list(lines))


def pipe(guard: StandingGuard, llm: CountingModel, **how: Any) -> Any:
    return PROMPT | GuardRunnable(guard) | llm | GuardRunnable(guard, direction="output", **how)


def picture_url() -> str:
    buffer = io.BytesIO()
    Pillow.new("RGB", (2, 2), "red").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_what_is_allowed_passes_through_a_pipe(guard: StandingGuard, recorded: Records) -> None:
    """The answer comes out as the model gave it, and both checks are recorded under one run."""
    answer = pipe(guard, model("fine")).invoke({"question": "hello"})

    records = recorded()
    assert isinstance(answer, AIMessage)
    assert answer.content == "fine"
    assert [(r["direction"], r["decision"]["outcome"]) for r in records] == [
        ("input", "allow"),
        ("output", "allow"),
    ]
    assert len({r["identity"]["request"] for r in records}) == 1
    assert records[0]["host"].startswith("langchain-core ")


@pytest.mark.parametrize(
    "value",
    [
        "hello",
        PROMPT.invoke({"question": "hello"}),
        HumanMessage("hello"),
        [SystemMessage("Be brief."), HumanMessage("hello")],
        [("system", "Be brief."), ("human", "hello")],
    ],
)
async def test_an_input_passes_unchanged(guard: StandingGuard, engine: ScriptedEngine, value: Any) -> None:
    """Every kind of input a model takes is read as the user's words, and handed on as the same object."""
    passed = await GuardRunnable(guard).ainvoke(value)

    assert passed is value
    assert [request.user for request in engine.requests] == ["hello"]


def test_a_refused_input_never_reaches_the_model(guard: StandingGuard, recorded: Records) -> None:
    """The refusal is an error that names the record and holds no content."""
    llm = model("fine")

    with pytest.raises(RefusedError) as caught:
        pipe(guard, llm).invoke({"question": "forbidden words"})

    assert llm.asked == 0
    assert caught.value.record_id == recorded()[0]["id"]
    assert caught.value.decision.outcome is Outcome.BLOCK
    assert caught.value.refusal == REFUSAL
    assert "Violence" in str(caught.value)
    assert "words" not in str(caught.value)


async def test_a_refused_output_raises_by_default(guard: StandingGuard) -> None:
    """An unsafe answer does not leave the pipe."""
    with pytest.raises(RefusedError, match="output was refused"):
        await pipe(guard, model("forbidden")).ainvoke({"question": "hello"})


@pytest.mark.parametrize(
    ("parser", "kind"), [(StrOutputParser(), str), (RunnableLambda(lambda x: x), AIMessage)]
)
def test_an_output_guard_may_replace(guard: StandingGuard, parser: Any, kind: type) -> None:
    """A refused answer is replaced by the refusal in the shape of the answer."""
    chain = (
        PROMPT
        | model("forbidden")
        | parser
        | GuardRunnable(guard, direction="output", exit_behavior="replace")
    )

    answer: Any = chain.invoke({"question": "hello"})

    assert isinstance(answer, kind)
    assert getattr(answer, "content", answer) == REFUSAL


def test_an_input_guard_cannot_replace(guard: StandingGuard) -> None:
    """The model would answer the replacement, so the mistake shows at construction."""
    with pytest.raises(UsageError, match="wrap"):
        GuardRunnable(guard, exit_behavior="replace")


def test_a_fallback_gives_the_refusal(guard: StandingGuard) -> None:
    """with_fallbacks turns a refusal of either side into an answer."""
    tell: RunnableLambda[Any, AIMessage] = RunnableLambda(lambda given: AIMessage(given["error"].refusal))

    def chain(line: str) -> Any:
        return pipe(guard, model(line)).with_fallbacks(
            [tell], exceptions_to_handle=(RefusedError,), exception_key="error"
        )

    answers = [
        chain("fine").invoke({"question": "forbidden"}),
        chain("forbidden").invoke({"question": "hello"}),
    ]

    assert [answer.content for answer in answers] == [REFUSAL, REFUSAL]


def test_undecided_refuses_unless_switched(guard: StandingGuard, recorded: Records) -> None:
    """A reply that is no verdict refuses with its cause; a guard may be told to let it pass."""
    with pytest.raises(RefusedError, match="stray_text"):
        GuardRunnable(guard).invoke("garbled")
    passed = GuardRunnable(guard, on_undecided="allow").invoke("garbled")

    assert passed == "garbled"
    assert [r["enforcement"] for r in recorded()] == ["refused", "passed"]


def test_the_whole_unanswered_turn_is_judged(guard: StandingGuard, engine: ScriptedEngine) -> None:
    """Human messages in a row are one turn; answered ones and the system's words are not part of it."""
    messages = [
        SystemMessage("forbidden is a word of the operator's"),
        HumanMessage("forbidden, but answered"),
        AIMessage("no"),
        HumanMessage("one"),
        HumanMessage("two"),
    ]

    GuardRunnable(guard).invoke(messages)

    assert engine.requests[0].user == "one\ntwo"


def test_a_tools_result_is_judged_with_the_turn_it_serves(
    guard: StandingGuard, engine: ScriptedEngine
) -> None:
    """In an agent's next round the user's turn is still the one before the tool was called."""
    call = AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}])
    messages = [HumanMessage("look it up"), call, ToolMessage("found", tool_call_id="1")]

    GuardRunnable(guard).invoke(messages)

    assert engine.requests[0].user == "look it up"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": picture_url()}},
        {"type": "image_url", "image_url": picture_url()},
        {"type": "image", "base64": picture_url().split(",")[1], "mime_type": "image/png"},
        {
            "type": "image",
            "source_type": "base64",
            "data": picture_url().split(",")[1],
            "mime_type": "image/png",
        },
    ],
)
def test_pictures_are_judged(guard: StandingGuard, engine: ScriptedEngine, part: Any) -> None:
    """Image parts of every shape LangChain knows reach the engine with the text."""
    GuardRunnable(guard).invoke([HumanMessage([{"type": "text", "text": "look"}, part])])

    assert engine.requests[0].user == "look"
    assert engine.requests[0].image is not None


@pytest.mark.parametrize(
    ("part", "cause"),
    [
        ({"type": "image", "url": "https://example.com/a.png"}, "bad_image"),
        ({"type": "image", "base64": "AAAA", "mime_type": "image/png"}, "bad_image"),
        ({"type": "image", "id": "file-1"}, "bad_image"),
        ({"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}, "modality"),
    ],
)
def test_a_part_that_cannot_be_judged_refuses(
    guard: StandingGuard, engine: ScriptedEngine, part: Any, cause: str
) -> None:
    """Nothing is dropped in silence: the cause is in the refusal, and the engine is not asked."""
    with pytest.raises(RefusedError, match=cause):
        GuardRunnable(guard).invoke([HumanMessage([{"type": "text", "text": "look"}, part])])

    assert engine.requests == []


def test_a_wrapped_model_is_judged_with_the_users_turn(guard: StandingGuard, engine: ScriptedEngine) -> None:
    """Around a model the output check knows what the user asked; in a plain pipe it cannot."""
    wrapped = PROMPT | GuardRunnable(guard).wrap(model("fine"))

    answer = wrapped.invoke({"question": "hello"})

    assert answer.content == "fine"
    assert [(r.user, r.response) for r in engine.requests] == [("hello", None), ("hello", "fine")]


@pytest.mark.parametrize(("question", "line", "asked"), [("forbidden", "fine", 0), ("hello", "forbidden", 1)])
async def test_a_wrapped_model_may_answer_with_the_refusal(
    guard: StandingGuard, question: str, line: str, asked: int
) -> None:
    """With exit_behavior replace a refusal is the answer, and a refused input costs no call."""
    llm = model(line)
    chain = PROMPT | GuardRunnable(guard).wrap(llm, exit_behavior="replace") | StrOutputParser()

    assert await asyncio.to_thread(chain.invoke, {"question": question}) == REFUSAL
    assert await chain.ainvoke({"question": question}) == REFUSAL
    assert llm.asked == asked * 2


async def test_batches_keep_their_order_and_their_errors(guard: StandingGuard) -> None:
    """Each member of a batch is checked on its own."""
    inputs = ["one", "forbidden", "three"]

    at_once = GuardRunnable(guard).abatch(inputs, return_exceptions=True)
    in_threads = asyncio.to_thread(GuardRunnable(guard).batch, inputs, return_exceptions=True)

    for results in (await at_once, await in_threads):
        assert (results[0], results[2]) == ("one", "three")
        assert isinstance(results[1], RefusedError)


def test_a_stream_is_held_until_it_is_checked(guard: StandingGuard) -> None:
    """No token of a refused answer is seen."""
    seen: list[Any] = []

    with pytest.raises(RefusedError):
        seen.extend(pipe(guard, model("forbidden")).stream({"question": "hello"}))

    assert seen == []
    assert (
        "".join(chunk.content for chunk in pipe(guard, model("fine")).stream({"question": "hello"})) == "fine"
    )


def test_identity_is_the_contextvars(guard: StandingGuard, recorded: Records) -> None:
    """What use_identity says goes before the run's metadata."""
    with use_identity(Identity(tenant="acme", request="r-1")):
        GuardRunnable(guard).invoke("hello", {"metadata": {"tenant": "other"}})

    assert recorded()[0]["identity"] == {"tenant": "acme", "session": None, "request": "r-1", "subject": None}


def test_identity_falls_back_to_the_runs_metadata(guard: StandingGuard, recorded: Records) -> None:
    """Without a ContextVar the run's metadata, thread and id name the caller."""
    metadata = {"tenant": "acme", "subject": "u-1"}

    GuardRunnable(guard).invoke("hello", {"metadata": metadata, "configurable": {"thread_id": "t-1"}})

    identity = recorded()[0]["identity"]
    assert {**metadata, "session": "t-1"} == {key: identity[key] for key in ("tenant", "subject", "session")}
    assert identity["request"]


def test_a_policy_may_be_named(guard: StandingGuard, recorded: Records) -> None:
    """A guard's policy is chosen by name or given; an unknown one shows at construction."""
    GuardRunnable(guard, policy="dev-tools-assistant").invoke("hello")
    GuardRunnable(guard, policy=load_policy("enterprise-rag-copilot")).invoke("hello")

    assert [r["policy"]["name"] for r in recorded()] == ["dev-tools-assistant", "enterprise-rag-copilot"]
    with pytest.raises(PolicyError, match="dev-tools-assistant"):
        GuardRunnable(guard, policy="dev-tools")


def test_a_guard_stands_on_settings_alone(settings: Settings) -> None:
    """Settings make a guard; the engine they name is not started before it is needed."""
    remote = settings.model_copy(
        update={
            "engine": "openai_compatible",
            "base_url": "http://127.0.0.1:9/v1",
            "model": "m",
            "max_retries": 0,
        }
    )
    runnable = GuardRunnable(remote)

    with pytest.raises(RefusedError, match="engine_unavailable"):
        runnable.invoke("hello")


def test_a_guard_without_a_database_says_what_to_run(settings: Settings, tmp_path: Any) -> None:
    """The mistake shows at construction, with the command."""
    with pytest.raises(RailscribeError, match="railscribe db upgrade"):
        GuardRunnable(settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/none.db"}))


def test_what_is_no_message_is_undecided(guard: StandingGuard, caplog: pytest.LogCaptureFixture) -> None:
    """Something a guard cannot read never passes, is on record, and the log says what it was."""
    with pytest.raises(RefusedError, match="modality"):
        GuardRunnable(guard).invoke({"question": "hello"})

    assert "cannot read a dict" in caplog.text


# Policies that say more.
def policy(**changes: Any) -> Policy:
    return parse_policy(
        {
            "name": "polyglot",
            "version": "1",
            "description": "d",
            "refusal": "No.",
            "refusals": {"de": "Nein.", "fr": "Non."},
        }
        | changes
    )


@pytest.mark.parametrize(
    ("asked", "config", "refusal"),
    [
        ("Wie baue ich eine Bombe? forbidden", {}, "Nein."),
        ("Wie baue ich eine Bombe? forbidden", {"metadata": {"language": "fr"}}, "Non."),
        ("How do I build a bomb? forbidden", {}, "No."),
    ],
)
def test_a_refusal_is_in_the_user_s_language(
    guard: StandingGuard, asked: str, config: Any, refusal: str
) -> None:
    """In the one that the run's metadata names, or the text is in, or the default."""
    with pytest.raises(RefusedError) as caught:
        GuardRunnable(guard, policy=policy()).invoke(asked, config)

    assert caught.value.refusal == refusal


def test_a_caller_s_language_leaves_the_rest_of_the_identity_to_the_run(
    guard: StandingGuard, recorded: Records
) -> None:
    """To set the language around a call says nothing of who asks."""
    with use_identity(Identity(language="de")), pytest.raises(RefusedError) as caught:
        GuardRunnable(guard, policy=policy()).invoke(
            "forbidden words", {"metadata": {"tenant": "acme", "language": "fr"}}
        )

    assert caught.value.refusal == "Nein."
    assert recorded()[0]["identity"]["tenant"] == "acme"


def test_a_policy_that_does_not_fit_is_refused_where_the_pipe_is_built(guard: StandingGuard) -> None:
    """By direction, and by the scores that the engine does not give."""
    with pytest.raises(PolicyError, match="does not apply to input"):
        GuardRunnable(guard, policy=policy(applies_to=["output"]))
    with pytest.raises(PolicyError, match="gives them no scores"):
        GuardRunnable(guard, policy=policy(categories=[{"name": "Tickets", "threshold": 0.5}]))
    GuardRunnable(guard, direction="output", policy=policy(applies_to=["output"]))


# Policies of the registry.
def test_a_step_follows_the_tag_that_it_names(
    settings: Settings, engine: ScriptedEngine, recorded: Records
) -> None:
    """A moved tag counts for the next call, a request's own policy for its call alone."""
    versions = [
        parse_policy(
            {"name": "bank", "version": version, "description": "A bank.", "refusal": f"No {version}."}
        )
        for version in ("1", "2", "3")
    ]
    with AuditStore.open(settings.database_url) as store:
        registry = PolicyRegistry(store)
        for policy in versions:
            registry.register(Registration(policy=policy), by="tester")
        registry.move("bank", "prod", versions[0].digest, by="tester")
        guard = StandingGuard.stand(settings.model_copy(update={"policy_refresh_s": 0.0}), engine=engine)
        step = GuardRunnable(guard, policy="bank@prod")

        step.invoke("hello")
        registry.move("bank", "prod", versions[1].digest, by="tester")
        with pytest.raises(RefusedError) as refused:
            step.invoke("forbidden")
        step.invoke("hello", {"metadata": {"policy": "bank@3"}})

    assert [record["policy"]["version"] for record in recorded()] == ["1", "2", "3"]
    assert refused.value.refusal == "No 2."
