"""What Colang 1.0 takes past the input rails: a conversation that does not end with the user's words.

Rules

1. NeMo runs the input rails for the last message, and only if it is the user's. Behind one of the assistant's, or of a
   tool's, the same user's words reach the main model unchecked. So the action with which 1.0 turns to the model asks
   first whether they were judged in this turn, and if not, has the input rail judge them.
2. What is refused there ends the turn as the flow would: with the refusal, or the exception.
3. Only apps whose input rails hold ours, or ask a model of ours, are touched; the caller's own
   ``options: {rails: {input: false}}`` holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.actions import action
from nemoguardrails.actions.actions import ActionResult
from nemoguardrails.context import generation_options_var
from nemoguardrails.utils import _get_flow_params

from railscribe.rails.acting import Rails
from railscribe.rails.model import ENGINE
from railscribe.rails.turns import Events
from railscribe.values import Direction

_ACTION = "generate_user_intent"


def guard_the_unjudged(app: LLMRails, rails: Rails) -> None:
    """Have *app* turn to its main model only with words of the user's that were judged (rule 1)."""
    policies = [name for direction, name in rails.configuration.rails if direction is Direction.INPUT]
    policies += _policies_of_models(app.config)
    if app.config.colang_version != "1.0" or not policies:
        return

    # NeMo fills in what the signature names.
    @action(name=_ACTION, is_system_action=True)  # type: ignore[untyped-decorator]
    async def ask_if_judged(
        events: Events, context: Mapping[str, Any], config: RailsConfig, llm: Any = None, kb: Any = None
    ) -> ActionResult:
        if not (_were_judged(events) or _are_not_wanted()):
            for policy in policies:
                outcome = await rails.judge(Direction.INPUT, {}, events, policy, what=" (unjudged turn)")
                if outcome.is_blocked:
                    return _refusal(app, outcome.metadata)
        # The public name of this attribute warns; the action itself is not registered yet while an app is built.
        ask = app._llm_generation_actions.generate_user_intent  # noqa: SLF001
        return await ask(events=events, context=context, config=config, llm=llm, kb=kb)

    app.register_action(ask_if_judged, _ACTION)


def _policies_of_models(config: RailsConfig) -> list[str | None]:
    """Return the policies of our models that NeMo's own input rails name."""
    named = [_get_flow_params(flow).get("model") for flow in config.rails.input.flows]
    return [model.model for model in config.models if model.engine == ENGINE and model.type in named]


def _were_judged(events: Events) -> bool:
    """Whether the input rails ran since the user last spoke."""
    for event in reversed(events):
        kind = event.get("type") if isinstance(event, Mapping) else None
        if kind == "InputRailsFinished":
            return True
        if kind == "UtteranceUserActionFinished":
            return False
    return False


def _are_not_wanted() -> bool:
    options = generation_options_var.get()
    return options is not None and not options.rails.input


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
