"""Doors by which content passes a host, each with nothing before it, with the host's own rail, and with ours.

Rules

1. A door is tried with words that the safety model finds unsafe, and with harmless ones for the time that it takes.
   Both safety models, NeMo's and our engine, judge by the same words and the same pictures.
2. What got through is what the party behind the door has seen: the main model of what comes in, the caller of what
   goes out. The whole of it is looked through, not what a field says of itself.
3. Where a host has no rail of its own for a door, that is said and not tried.
"""

from __future__ import annotations

import base64
import io
import tempfile
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.actions import action
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.context import tool_calls_var
from nemoguardrails.llm.providers import register_provider
from nemoguardrails.types import LLMResponse, LLMResponseChunk, ToolCall, ToolCallFunction
from PIL import Image as Pillow
from scripted_rails import HOSTS_PROMPTS, colang_2

from railscribe.rails import rails_path
from railscribe.rails.binding import attach
from railscribe.rails.model import model_for
from railscribe.settings import load_settings
from railscribe.standing import StandingGuard
from railscribe.streaming import GuardedStream
from railscribe.testing import ScriptedEngine
from railscribe.values import Direction, Request

BAD, GOOD = "forbidden", "harmless"
KINDS = ("none", "host", "ours")

Messages = list[dict[str, Any]]


def picture(word: str) -> str:
    """Return a picture as a data URL; the bad one is three pixels wide."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (3 if word == BAD else 2, 2), "red").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


_BAD_PICTURE = picture(BAD)


def is_bad(seen: Any) -> bool:
    """Return whether bad words, or the bad picture, are anywhere in what somebody has seen."""
    text = str(seen)
    return BAD in text or _BAD_PICTURE in text


def judge(request: Request) -> str:
    """Be our engine."""
    is_bad_picture = request.image is not None and request.image.width == 3
    return _reply(is_bad_picture or BAD in request.user, request.response)


def _reply(user_is_bad: bool, response: str | None) -> str:  # noqa: FBT001 - a label
    lines = [f"User Safety: {'unsafe' if user_is_bad else 'safe'}"]
    if response is not None:
        lines.append(f"Response Safety: {'unsafe' if BAD in response else 'safe'}")
    return "\n".join([*lines, "Safety Categories: Violence"] if "unsafe" in " ".join(lines) else lines)


class SafetyModel:
    """Be NeMo's safety model, behind its own flows."""

    model_name = "scripted"
    provider_name = "scripted"
    provider_url = None

    def __init__(self, **_: Any) -> None: ...

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        parts = [getattr(message, "content", None) or message["content"] for message in prompt]
        return LLMResponse(content=_reply(is_bad(parts[0]), str(parts[1]) if len(parts) > 1 else ""))

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        yield LLMResponseChunk(delta_content=(await self.generate_async(prompt)).content)


@dataclass
class MainModel:
    """Says what it is told to, or calls a tool; keeps what it was asked."""

    says: str = "fine"
    thinks: str | None = None
    city: str | None = None
    asked: list[Any] = field(default_factory=list)
    model_name = "main"
    provider_name = "scripted"
    provider_url = None

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        self.asked.append(prompt)
        if self.city is not None:
            function = ToolCallFunction(name="get_weather", arguments={"city": self.city})
            return LLMResponse(content="", tool_calls=[ToolCall(id="c1", function=function)])
        return LLMResponse(content=self.says, reasoning=self.thinks)

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        self.asked.append(prompt)
        for number, word in enumerate(self.says.split(" ")):
            yield LLMResponseChunk(delta_content=(" " if number else "") + word)


_SAFETY = [{"type": "content_safety", "engine": "scripted_by_word", "model": "scripted"}]
_PROMPTS = yaml.safe_load(HOSTS_PROMPTS)["prompts"]
STREAMING = {"streaming": {"enabled": True, "stream_first": False, "chunk_size": 4, "context_size": 1}}
SAFETY_CONFIG: dict[str, Any] = {
    "models": _SAFETY,
    "prompts": _PROMPTS,
    "rails": {
        side: {"flows": [f"content safety check {side} $model=content_safety"], **more}
        for side, more in (("input", {}), ("output", STREAMING))
    },
}
"""NeMo's own content safety, whole."""


class Bench:
    """Builds apps once, on one guard; rule 1's words are the caller's."""

    def __init__(self, database: str) -> None:
        register_provider("scripted_by_word", SafetyModel)
        self._database = database
        self._apps: dict[str, LLMRails] = {}
        self.guard = self.stand()

    def stand(self) -> StandingGuard:
        """Return a guard whose engine judges by words."""
        settings = load_settings({"database_url": self._database})
        return StandingGuard.stand(settings, engine=ScriptedEngine(judge))

    def app(
        self,
        kind: str,
        rails: dict[str, Any],
        *,
        ours: str = "railscribe check",
        version: str = "1.0",
        **more: Any,
    ) -> LLMRails:
        """Return the app of *kind* with *rails*, by direction, each with what more is said of it."""
        key = repr((kind, rails, ours, version, more))
        if key not in self._apps:
            config: dict[str, Any] = {"models": [], "passthrough": True, **more}
            flows = _flows(kind, rails, ours)
            if kind == "host" or ours != "railscribe check":
                config |= {"models": _SAFETY if kind == "host" else [_SAFETY[0] | {"engine": "railscribe"}]}
                config["prompts"] = _PROMPTS
            if kind == "ours":
                config["import_paths"] = [rails_path()]
                served = {"engine": "openai_compatible", "base_url": "http://127.0.0.1:9/v1", "model": "none"}
                config["custom_data"] = {"railscribe": served | {"database_url": self._database}}
            if kind != "none" and version == "1.0":
                config["rails"] = flows
            self._apps[key] = self._built(kind, config, flows, version)
        return self._apps[key]

    def _built(self, kind: str, config: dict[str, Any], flows: dict[str, Any], version: str) -> LLMRails:
        colang = config.pop("colang", "")
        if version != "1.0":
            config["colang_version"] = "2.x"
            colang = colang_2(kind)
        if config.get("models") and config["models"][0]["engine"] == "railscribe":
            config["models"] = [config["models"][0] | {"model": "default"}]
        with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NeMo trips over deprecated fields of its own
            (Path(name) / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
            (Path(name) / "main.co").write_text(colang, encoding="utf-8")
            app = LLMRails(RailsConfig.from_path(name), llm=MainModel())
        if kind == "ours":
            rails = attach(app, self.guard)
            for model in app.runtime.registered_action_params.get("llms", {}).values():
                model.__class__ = model_for(app, rails)  # else it opens a guard of its own
        return app


def _flows(kind: str, rails: dict[str, Any], ours: str) -> dict[str, Any]:
    def flow(direction: str) -> str:
        if kind == "host" or ours != "railscribe check":
            return f"content safety check {direction} $model=content_safety"
        return f"{ours} {direction.replace('_', ' ')}"

    return {direction: {"flows": [flow(direction)], **more} for direction, more in rails.items()}


Try = Callable[[Bench, str, str], Awaitable[bool]]
"""Tries a door of a kind with a word; returns whether what is bad got through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One way through a host."""

    name: str
    try_it: Try
    direction: Direction
    host_has: bool = True
    """Whether the host has a content safety rail for it (rule 3)."""


async def ask(app: LLMRails, messages: Messages, model: MainModel | None = None) -> tuple[Any, MainModel]:
    """Return the reply, and the main model that was or was not asked."""
    model = model or MainModel()
    app.update_llm(model)
    app.events_history_cache.clear()
    tool_calls_var.set(None)
    return await app.generate_async(messages=messages), model


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def comes_in(make: Callable[[str], Messages], **how: Any) -> Try:
    """Try what *make* says of a word on the input rail: did it reach the main model?"""

    async def try_it(bench: Bench, kind: str, word: str) -> bool:
        _, model = await ask(bench.app(kind, {"input": {}, "output": {}}, **how), make(word))
        return is_bad(model.asked)

    return try_it


def goes_out(make: Callable[[str], MainModel], **how: Any) -> Try:
    """Try what the main model says: did it reach the caller?"""

    async def try_it(bench: Bench, kind: str, word: str) -> bool:
        app = bench.app(kind, {"input": {}, "output": {}}, **how)
        reply, _ = await ask(app, [user("hello")], make(word))
        return is_bad(reply)

    return try_it


async def is_checked(bench: Bench, kind: str, word: str) -> bool:
    """Try ``check_async`` with a picture; without rails nothing is asked."""
    if kind == "none":
        return word == BAD
    app = bench.app(kind, {"input": {}, "output": {}})
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture(word)}},
    ]
    result = await app.check_async([user(parts)])
    return word == BAD and str(result.status.value) != "blocked"


async def streams_in_1(bench: Bench, kind: str, word: str, how: dict[str, Any] = STREAMING) -> bool:
    """Try a stream of Colang 1.0."""
    app = bench.app(kind, {"output": how})
    app.update_llm(MainModel(f"one two three four five six {word} eight nine"))
    return is_bad([chunk async for chunk in app.stream_async(messages=[user("hello")])])


async def streams_first(bench: Bench, kind: str, word: str) -> bool:
    """Try a stream that NeMo shows before it is checked, its default."""
    return await streams_in_1(
        bench, kind, word, {"streaming": STREAMING["streaming"] | {"stream_first": True}}
    )


async def streams_in_2(bench: Bench, kind: str, word: str) -> bool:
    """Try a stream of tokens as Colang 2.x and plain clients have them: the host's rails do not see it."""
    model = MainModel(f"One two three. Four five {word} six. Seven eight.")

    async def tokens() -> AsyncIterator[str]:
        async for chunk in model.stream_async(None):
            yield chunk.delta_content or ""

    if kind == "none":
        return is_bad([text async for text in tokens()])
    stream = GuardedStream(bench.guard, user="hello")
    return is_bad([text async for text in stream.over(tokens())])


_ANSWERS = """
define flow
  user ask about hours
  bot answer from documents

define bot answer from documents
  "$relevant_chunks"
"""


async def is_retrieved(bench: Bench, kind: str, word: str) -> bool:
    """Try a document that was retrieved."""
    app = bench.app(kind, {"retrieval": {}}, passthrough=False, colang=_ANSWERS)
    documents = ["Open from nine to five.", f"A {word} document."]

    @action(name="retrieve_relevant_chunks", is_system_action=True)  # type: ignore[untyped-decorator]
    async def retrieve(**_: Any) -> ActionResult:
        found = {"relevant_chunks": "\n".join(documents), "relevant_chunks_sep": documents}
        return ActionResult(return_value=found["relevant_chunks"], context_updates=found)

    app.register_action(retrieve)
    reply, _ = await ask(
        app, [{"role": "event", "event": {"type": "UserIntent", "intent": "ask about hours"}}]
    )
    return is_bad(reply)


async def is_called(bench: Bench, kind: str, word: str) -> bool:
    """Try a call that the model wants to make."""
    reply, _ = await ask(bench.app(kind, {"tool_output": {}}), [user("weather?")], MainModel(city=word))
    return is_bad(reply)


async def is_answered(bench: Bench, kind: str, word: str) -> bool:
    """Try what a tool answers: does the model read it?"""
    made = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    messages = [
        user("weather?"),
        assistant("", tool_calls=[made]),
        {"role": "tool", "tool_call_id": "c1", "name": "get_weather", "content": f"It is {word}."},
    ]
    _, model = await ask(bench.app(kind, {"tool_input": {}}), messages)
    return is_bad(model.asked)


def in_list(word: str) -> Messages:
    return [
        user(
            [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": picture(word)}},
            ]
        )
    ]


_OF_A_MODEL = {"ours": "content safety check"}
NEMO = (
    Door(
        name="1.0: the user's message", try_it=comes_in(lambda word: [user(word)]), direction=Direction.INPUT
    ),
    Door(
        name="1.0: the first of two user messages in a row",
        try_it=comes_in(lambda word: [user(word), user("And now?")]),
        direction=Direction.INPUT,
    ),
    Door(
        name="1.0: an earlier turn that was answered",
        try_it=comes_in(lambda word: [user(word), assistant("Well."), user("And now?")]),
        direction=Direction.INPUT,
    ),
    Door(
        name="1.0: the user's message, behind it one of the assistant's",
        try_it=comes_in(lambda word: [user(word), assistant("Well, ")]),
        direction=Direction.INPUT,
    ),
    Door(name="1.0: a picture in a list of parts", try_it=comes_in(in_list), direction=Direction.INPUT),
    Door(name="1.0: a picture by check_async", try_it=is_checked, direction=Direction.INPUT),
    Door(name="1.0: the answer", try_it=goes_out(MainModel), direction=Direction.OUTPUT),
    Door(
        name="1.0: the answer's reasoning",
        try_it=goes_out(lambda word: MainModel(thinks=word)),
        direction=Direction.OUTPUT,
    ),
    Door(name="1.0: a streamed answer", try_it=streams_in_1, direction=Direction.OUTPUT),
    Door(
        name="1.0: a streamed answer, stream_first (NeMo's default)",
        try_it=streams_first,
        direction=Direction.OUTPUT,
    ),
    Door(
        name="1.0: a retrieved document", try_it=is_retrieved, direction=Direction.RETRIEVAL, host_has=False
    ),
    Door(name="1.0: a call of a tool", try_it=is_called, direction=Direction.TOOL_OUTPUT, host_has=False),
    Door(
        name="1.0: what a tool answered", try_it=is_answered, direction=Direction.TOOL_INPUT, host_has=False
    ),
    Door(
        name="1.0: the user's message, engine: railscribe behind NeMo's own flow",
        try_it=comes_in(lambda word: [user(word)], **_OF_A_MODEL),
        direction=Direction.INPUT,
    ),
    Door(
        name="1.0: the answer, engine: railscribe behind NeMo's own flow",
        try_it=goes_out(MainModel, **_OF_A_MODEL),
        direction=Direction.OUTPUT,
    ),
    Door(
        name="1.0: the answer's reasoning, engine: railscribe behind NeMo's own flow",
        try_it=goes_out(lambda word: MainModel(thinks=word), **_OF_A_MODEL),
        direction=Direction.OUTPUT,
    ),
    Door(
        name="2.x: the user's message",
        try_it=comes_in(lambda word: [user(word)], version="2.x"),
        direction=Direction.INPUT,
    ),
    Door(
        name="2.x: two messages of the user, the first bad",
        try_it=comes_in(lambda word: [user(word), user("And now?")], version="2.x"),
        direction=Direction.INPUT,
    ),
    Door(
        name="2.x: the answer",
        try_it=goes_out(MainModel, version="2.x"),
        direction=Direction.OUTPUT,
    ),
    Door(
        name="2.x or a plain client: a streamed answer",
        try_it=streams_in_2,
        direction=Direction.OUTPUT,
        host_has=False,
    ),
)
"""The doors of NeMo Guardrails."""
