"""What Colang 1.0 takes past the rails: a conversation that does not end with the user's words, and a client's wish.

Rules

1. NeMo runs the input rails for the last message, and only if it is the user's. Behind one of the assistant's, or of a
   tool's, the same user's words reach the main model unchecked. So the action with which 1.0 turns to the model asks
   first whether they were judged in this turn, and if not, has the input rail judge them.
2. What is refused there ends the turn as the flow would: with the refusal, or the exception.
3. ``options: {rails: {input: false}}`` in a program's own call holds. Of the server's clients it is refused,
   ``not_run``: whoever writes a request must not choose whether it is judged.
4. Only apps whose rails hold ours, or ask a model of ours, are touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.actions import action
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.context import generation_options_var
from nemoguardrails.utils import _get_flow_params

from railscribe.rails.acting import Rails
from railscribe.rails.identities import request_headers
from railscribe.rails.model import ENGINE
from railscribe.rails.turns import Events
from railscribe.values import Cause, Direction

_ACTION = "generate_user_intent"


def guard_the_unjudged(app: LLMRails, rails: Rails) -> None:
    """Have *app* turn to its main model only with words of the user's that were judged (rule 1)."""
    ours = [*rails.configuration.rails, *_rails_of_models(app.config)]
    if app.config.colang_version != "1.0" or not ours:
        return
    policies = [name for direction, name in ours if direction is Direction.INPUT]

    async def refused(events: Events) -> ActionResult | None:
        checks: list[tuple[str | None, str, Cause | None]]
        if _switched_off(direction for direction, _ in ours) and request_headers():
            checks = [(None, " (switched off)", Cause.NOT_RUN)]
        elif _were_judged(events) or _switched_off([Direction.INPUT]):
            return None
        else:
            checks = [(policy, " (unjudged turn)", None) for policy in policies]
        for policy, what, problem in checks:
            outcome = await rails.judge(Direction.INPUT, {}, events, policy, what=what, problem=problem)
            if outcome.is_blocked:
                return _refusal(app, outcome.metadata)
        return None

    # NeMo fills in what the signature names.
    @action(name=_ACTION, is_system_action=True)  # type: ignore[untyped-decorator]
    async def ask_if_judged(
        events: Events, context: Mapping[str, Any], config: RailsConfig, llm: Any = None, kb: Any = None
    ) -> ActionResult:
        refusal = await refused(events)
        if refusal is not None:
            return refusal
        # The public name of this attribute warns; the action itself is not registered yet while an app is built.
        ask = app._llm_generation_actions.generate_user_intent  # noqa: SLF001
        return await ask(events=events, context=context, config=config, llm=llm, kb=kb)

    app.register_action(ask_if_judged, _ACTION)


def _rails_of_models(config: RailsConfig) -> Iterator[tuple[Direction, str | None]]:
    """Yield NeMo's own rails that ask a model of ours, each with that one's policy."""
    for direction, rail in ((Direction.INPUT, config.rails.input), (Direction.OUTPUT, config.rails.output)):
        for flow in rail.flows:
            named = _get_flow_params(flow).get("model")
            for model in config.models:
                if model.engine == ENGINE and model.type == named:
                    yield direction, model.model


def _were_judged(events: Events) -> bool:
    """Whether the input rails ran since the user last spoke."""
    for event in reversed(events):
        kind = event.get("type") if isinstance(event, Mapping) else None
        if kind == "InputRailsFinished":
            return True
        if kind == "UtteranceUserActionFinished":
            return False
    return False


def _switched_off(directions: Iterable[Direction]) -> bool:
    """Whether the options of the running call switch off the rail of one of *directions*."""
    options = generation_options_var.get()
    return options is not None and not all(getattr(options.rails, each.value) for each in directions)


def _refusal(app: LLMRails, verdict: Mapping[str, Any]) -> ActionResult:
    held = {"railscribe_verdict": dict(verdict), "railscribe_refusal": verdict["refusal"]}
    if app.config.enable_rails_exceptions:
        exception = {
            "type": "RailscribeInputRailException",
            "message": verdict["message"],
            "record_id": verdict["record_id"],
        }
        return ActionResult(events=[exception], context_updates=held)
    # The message of that name, which a configuration may have given its own words, skips the output rails.
    said = {"type": "BotIntent", "intent": "inform railscribe refusal"}
    return ActionResult(events=[said], context_updates=held)
