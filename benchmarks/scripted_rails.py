"""NeMo apps for measuring: without rails, with NeMo's own content safety, with ours; every model is scripted.

Rules

1. All apps have the same main model. NeMo's safety model and our engine give the same reply after the same delay:
   the one through NeMo's interface for models, the other through the contract for engines.
2. NeMo's rails have the shortest prompts that its flows take, with the parser that reads our engine's format.
   Ours are as a user gets them: a standing guard, the ready policy, each check durable in an audit database.
3. A conversation of 1.0 sends its whole history each turn, as callers of ``generate_async`` do. One of 2.x keeps
   NeMo's live state and hands it to the runtime as ``generate_async`` does, which itself takes no state.
"""

from __future__ import annotations

import asyncio
import copy
import tempfile
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.llm.providers import register_provider
from nemoguardrails.types import LLMResponse, LLMResponseChunk

from railscribe.engines import Engine
from railscribe.rails import rails_path
from railscribe.rails.binding import attach
from railscribe.settings import Settings, load_settings
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine
from railscribe.values import Request

VERSIONS = ("1.0", "2.x")
KINDS = ("none", "host", "ours")
"""No rails, NeMo's own content safety, ours. A fourth, *model*, is ours behind NeMo's own (``engine: railscribe``)."""

ANSWER = (
    "Our savings account pays two per cent a year, and you may take your money out whenever you like. "
    "Shall I send you the conditions?"
)
SAFE_INPUT = "User Safety: safe"
SAFE_EXCHANGE = "User Safety: safe\nResponse Safety: safe"

_YAML = """\
{version}
models: {models}
passthrough: true
{rest}
"""
_MODELS = {
    "host": "[{type: content_safety, engine: scripted_safety, model: scripted}]",
    "model": "[{type: content_safety, engine: railscribe, model: default}]",
}
HOSTS_PROMPTS = """\
prompts:
  - task: content_safety_check_input $model=content_safety
    output_parser: nemotron_content_safety_parse_prompt_safety
    messages: [{type: user, content: "{{ user_input }}"}]
  - task: content_safety_check_output $model=content_safety
    output_parser: nemotron_content_safety_parse_response_safety
    messages: [{type: user, content: "{{ user_input }}"}, {type: assistant, content: "{{ bot_response }}"}]
"""
_FLOWS = {
    "host": ("content safety check input $model=content_safety", "content safety check output $model=content_safety"),
    "ours": ("railscribe check input", "railscribe check output"),
}  # fmt: skip
_COLANG_2_FLOWS = {
    "host": (
        'content safety check input $model="content_safety"',
        'content safety check output $model="content_safety"',
    ),
    "ours": _FLOWS["ours"],
}
_COLANG_2 = """\
import core
{imports}
{rails}
flow answer
  user said something as $said
  $answer = await PassthroughLLMAction(user_message=$said.transcript)
  bot say $answer

flow main
  activate answer
"""
_COLANG_2_RAILS = """
flow input rails $input_text
  {}

flow output rails $output_text
  {}
"""


class MainModel:
    """Says one thing, in as many tokens as it has words."""

    model_name = "main"
    provider_name = "scripted"
    provider_url = None

    def __init__(self, says: str = ANSWER, *, delay_s: float = 0.0) -> None:
        self.says = says
        self.delay_s = delay_s

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        await pause(self.delay_s)
        return LLMResponse(content=self.says)

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        for number, word in enumerate(self.says.split(" ")):
            await pause(self.delay_s)
            yield LLMResponseChunk(delta_content=(" " if number else "") + word)


class SafetyModel:
    """NeMo's safety model: finds everything safe."""

    model_name = "scripted"
    provider_name = "scripted"
    provider_url = None

    def __init__(self, **_: Any) -> None:
        self.delay_s = 0.0
        self.calls = 0

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        self.calls += 1
        await pause(self.delay_s)
        return LLMResponse(content=SAFE_INPUT if len(prompt) == 1 else SAFE_EXCHANGE)

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        yield LLMResponseChunk(delta_content=(await self.generate_async(prompt)).content)


def scripted_engine(delay_s: float) -> ScriptedEngine:
    """Return our engine: finds everything safe after *delay_s*."""

    async def answer(request: Request) -> str:
        engine.requests.clear()  # it keeps what it was asked, which is for tests
        await pause(delay_s)
        return SAFE_INPUT if request.response is None else SAFE_EXCHANGE

    engine = ScriptedEngine(answer)
    return engine


async def pause(seconds: float) -> None:
    """Wait *seconds*; without any, not even for the loop."""
    if seconds:
        await asyncio.sleep(seconds)


def open_guard(database: str, engine: Engine | None = None, **fields: Any) -> StandingGuard:
    """Return a guard as the rails open it, on the audit database at the URL *database*."""
    return StandingGuard.stand(settings(database, **fields), engine=engine)


def settings(database: str, **fields: Any) -> Settings:
    """Return the settings of every guard here."""
    return load_settings({"database_url": database, **fields})


def build(
    kind: str,
    version: str,
    *,
    guard: StandingGuard | None = None,
    delay_s: float = 0.0,
    main: MainModel | None = None,
    rest: str = "",
    streaming: str = "",
) -> LLMRails:
    """Return an app of *kind*; NeMo's safety model answers after *delay_s*, ours is the one of *guard*.

    *rest* is more YAML for the configuration, *streaming* what stands under ``rails: output: streaming`` (1.0).
    """
    register_provider("scripted_safety", SafetyModel)
    with tempfile.TemporaryDirectory() as name:
        _write(Path(name), kind, version, guard, rest, streaming)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NeMo trips over deprecated fields of its own
            app = LLMRails(RailsConfig.from_path(name), llm=main or MainModel())
    models = app.runtime.registered_action_params.get("llms", {}).values()
    if guard is not None:
        rails = attach(app, guard)  # in place of those that it was built with
        for model in models:
            model.rails = rails
    for model in models:
        model.delay_s = delay_s
    return app


def _write(
    folder: Path, kind: str, version: str, guard: StandingGuard | None, rest: str, streaming: str
) -> None:
    is_first = version == "1.0"
    yaml = "" if is_first else 'colang_version: "2.x"'
    lines = [rest]
    if kind in _MODELS:
        lines.append(HOSTS_PROMPTS)
    if guard is not None:
        lines.append(f'import_paths: ["{rails_path()}"]')
        lines.append(
            "custom_data: {railscribe: {engine: openai_compatible, base_url: 'http://127.0.0.1:9/v1', model: none, "
            f"database_url: '{guard.settings.database_url}'}}}}"
        )
    if is_first and kind != "none":
        checks = _FLOWS["ours" if kind == "ours" else "host"]
        lines.append(f"rails:\n  input:\n    flows: ['{checks[0]}']\n  output:\n    flows: ['{checks[1]}']")
        if streaming:
            lines.append(f"    streaming: {streaming}")
    models = _MODELS.get(kind, "[]")
    (folder / "config.yml").write_text(
        _YAML.format(version=yaml, models=models, rest="\n".join(lines)), encoding="utf-8"
    )
    if not is_first:
        (folder / "main.co").write_text(colang_2(kind), encoding="utf-8")


def colang_2(kind: str) -> str:
    """Return the flows of an app of *kind* in Colang 2.x: the main model's answer, and the rails around it."""
    imports = "" if kind == "none" else "import guardrails\n"
    if kind in _MODELS:
        imports += "import nemoguardrails.library.content_safety\n"
    flows = _COLANG_2_FLOWS["ours" if kind == "ours" else "host"]
    rails = "" if kind == "none" else _COLANG_2_RAILS.format(*flows)
    return _COLANG_2.format(imports=imports, rails=rails)


class Conversation:
    """One user's talk with an app, turn by turn."""

    def __init__(self, app: LLMRails, name: str) -> None:
        self._app = app
        self._name = name
        self._turns = 0
        self._messages: list[dict[str, str]] = []
        self._state: Any = None

    def fork(self, name: str) -> Conversation:
        """Return another conversation with the same turns so far, which goes on under *name*."""
        other = Conversation(self._app, name)
        other._turns = self._turns
        other._messages = list(self._messages)
        other._state = copy.deepcopy(self._state)
        return other

    async def turn(self) -> str:
        """Say the next thing, and return the answer."""
        self._turns += 1
        # No two alike: NeMo shares its history by text.
        said = f"{self._name}, question {self._turns}: what does a savings account pay, and may I empty it?"
        if self._app.config.colang_version == "1.0":
            self._messages.append({"role": "user", "content": said})
            answer = await self._app.generate_async(messages=list(self._messages))
            self._messages.append({"role": "assistant", "content": answer["content"]})
            return str(answer["content"])
        event = {"type": "UtteranceUserActionFinished", "final_transcript": said}
        events, self._state = await self._app.runtime.process_events(
            [event], state=self._state, instant_actions=["UtteranceBotAction"], blocking=True
        )
        return "\n".join(
            event["final_script"] for event in events if event["type"] == "UtteranceBotActionFinished"
        )
