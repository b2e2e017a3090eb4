"""A guard as the *model* behind NeMo Guardrails' own ``content safety check`` flows.

    import_paths: [railscribe/rails]
    models:
      - {type: content_safety, engine: railscribe, model: default}    # model: a policy, by reference

Rules

1. What is judged is what the configuration's prompt shows the model: its ``user_input`` and ``bot_response``. An input
   check judges the user's whole unanswered turn, pictures included, though the prompt shows the last message alone.
2. The prompt is taken apart by rendering its template with marks in the place of the two. Where that leaves a doubt -
   content that holds the words between the two, a prompt cut short - the whole prompt is judged as both sides.
3. The answer is in the words that the prompt's output parser reads. What is refused is called unsafe, also what is
   undecided; what is observed is called safe. A parser that we do not know is refused when the app is built.
4. The host's own cache of verdicts is refused: its key does not know the policy.
5. It never raises into the host.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.context import llm_call_info_var, raw_llm_request
from nemoguardrails.llm.prompts import get_prompt
from nemoguardrails.types import LLMResponse, LLMResponseChunk

from railscribe.errors import SettingsError
from railscribe.rails.acting import Rails
from railscribe.values import Direction

logger = logging.getLogger(__name__)

ENGINE = "railscribe"
_TASKS = {
    "content_safety_check_input": Direction.INPUT,
    "content_safety_check_output": Direction.OUTPUT,
}
_USER, _BOT = "\ue000", "\ue001"
_MARK = re.compile(f"([{_USER}{_BOT}])")

Answer = Callable[[str, Sequence[str]], str]
"""From ``safe`` or ``unsafe`` and the categories to the answer's text."""


def _as_json(label: str, names: Sequence[str]) -> str:
    said = {"User Safety": label, "Response Safety": label}
    return json.dumps({**said, "Safety Categories": ", ".join(names)} if names else said)


def _as_lines(label: str, names: Sequence[str]) -> str:
    lines = [f"User Safety: {label}", f"Response Safety: {label}"]
    return "\n".join([*lines, f"Safety Categories: {', '.join(names)}"] if names else lines)


def _as_harm(label: str, _: Sequence[str]) -> str:
    word = {"safe": "unharmful", "unsafe": "harmful"}[label]
    return f"Prompt harm: {word}\nResponse Harm: {word}"


def _as_word(label: str, names: Sequence[str]) -> str:
    return "\n".join([label, *([", ".join(names)] if names else [])])


_ANSWERS: Mapping[str | None, Answer] = {
    "nemoguard_parse_prompt_safety": _as_json,
    "nemoguard_parse_response_safety": _as_json,
    "nemotron_content_safety_parse_prompt_safety": _as_lines,
    "nemotron_content_safety_parse_response_safety": _as_lines,
    "nemotron_reasoning_parse_prompt_safety": _as_harm,
    "nemotron_reasoning_parse_response_safety": _as_harm,
    "is_content_safe": _as_word,
}


def refuse_unfit_models(config: RailsConfig) -> None:
    """Refuse a configuration whose models of ours could not answer (rules 3 and 4).

    Raises:
        SettingsError: with what to change.
    """
    for model in config.models:
        if model.engine != ENGINE:
            continue
        if model.cache is not None and model.cache.enabled:
            raise SettingsError(
                f"The model {model.type} has NeMo's cache enabled, whose key does not know the policy.",
                hint="Remove cache: from the model; Railscribe's own is cache_verdicts (docs/nemo.md).",
            )
        for prompt in config.prompts or ():
            name, _, of = prompt.task.partition(" $model=")
            if of == model.type and name in _TASKS and prompt.output_parser not in _ANSWERS:
                raise SettingsError(
                    f"The prompt {prompt.task} has the output parser {prompt.output_parser!r}, which the engine "
                    "railscribe does not answer for.",
                    hint=f"It answers for {', '.join(str(known) for known in _ANSWERS)}.",
                )


def model_for(app: LLMRails, rails: Rails) -> type[GuardModel]:
    """Return the provider that answers for *app*, whose rails are *rails*."""
    return type("RailscribeModel", (GuardModel,), {"app": app, "rails": rails})


class GuardModel:
    """What NeMo Guardrails takes for a model; made by :func:`model_for`."""

    app: LLMRails
    rails: Rails
    provider_name = ENGINE
    provider_url = None

    def __init__(self, model: str | None = None, **_: Any) -> None:
        self.model_name = model or "default"

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        """Judge what *prompt* shows, and answer in the words of its parser."""
        info = llm_call_info_var.get()
        task = str(info.task if info is not None else "")
        direction = _TASKS.get(task.partition(" $model=")[0])
        if direction is None:
            logger.error("%s is no task that the engine railscribe answers; it is refused", task or "a call")
            return LLMResponse(content="unsafe")
        user, bot = self._shown(task, prompt, direction)
        context = {"user_message": user, "bot_message": bot}
        events = () if direction is Direction.INPUT else None
        outcome = await self.rails.judge(direction, context, events, self.model_name, what=" (model)")
        told = outcome.metadata or {}
        names = [str(name) for name in told.get("categories", ())]
        answer = _ANSWERS[get_prompt(self.app.config, task).output_parser]
        if not outcome.is_blocked:
            return LLMResponse(content=answer("safe", ()))
        return LLMResponse(content=answer("unsafe", names or [f"Undecided ({told.get('cause')})"]))

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **how: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        """Yield the one answer."""
        answer = await self.generate_async(prompt, stop=stop, **how)
        yield LLMResponseChunk(delta_content=answer.content)

    def _shown(self, task: str, prompt: Any, direction: Direction) -> tuple[Any, Any]:
        """Return the user's message and the bot's as *prompt* shows them (rules 1 and 2)."""
        marks = {"user_input": _USER, "bot_response": _BOT, "reasoning_enabled": False}
        marked = self.app.runtime.llm_task_manager.render_task_prompt(task=task, context=marks)
        found = take_apart(marked, prompt)
        if found is None:
            whole = "\n".join(_contents(prompt))
            return whole, None if direction is Direction.INPUT else whole
        user = found.get(_USER)
        if direction is Direction.INPUT:
            last = _last_user_message(user)
            user = user if isinstance(last, str) else last  # a template writes anything out
        return user, None if direction is Direction.INPUT else found.get(_BOT)


def take_apart(marked: Any, prompt: Any) -> dict[str, Any] | None:
    """Return what stands in *prompt* where *marked* has its marks; ``None`` where that is in doubt (rule 2)."""
    templates, contents = _contents(marked), _raw_contents(prompt)
    if len(templates) != len(contents):
        return None
    found: dict[str, Any] = {}
    for template, content in zip(templates, contents, strict=True):
        if template in (_USER, _BOT):
            each: dict[str, Any] | None = {template: content}
        else:
            each = _matched(template, content) if isinstance(content, str) else None
        if each is None or any(found.get(mark, value) != value for mark, value in each.items()):
            return None
        found |= each
    return found


def _matched(template: str, content: str) -> dict[str, Any] | None:
    parts = _MARK.split(template)
    between = [part for part in parts[2:-1:2] if part.strip()]
    if any(content.count(part) != template.count(part) for part in between):
        return None
    pattern = "".join("(.*)" if part in (_USER, _BOT) else re.escape(part) for part in parts)
    match = re.fullmatch(pattern, content, re.DOTALL)
    if match is None:
        return None
    found: dict[str, Any] = {}
    for mark, text in zip(parts[1::2], match.groups(), strict=True):
        if found.setdefault(mark, text) != text:
            return None
    return found


def _raw_contents(prompt: Any) -> list[Any]:
    if isinstance(prompt, str):
        return [prompt]
    return [each.get("content") if isinstance(each, Mapping) else each.content for each in prompt]


def _contents(prompt: Any) -> list[str]:
    return [each if isinstance(each, str) else str(each) for each in _raw_contents(prompt)]


def _last_user_message(otherwise: Any) -> Any:
    request = raw_llm_request.get()
    if not isinstance(request, list):
        return otherwise
    return next((each.get("content") for each in reversed(request) if each.get("role") == "user"), otherwise)
