"""Binding an app of NeMo Guardrails to a guard: what the app's ``config.py`` calls.

The actions are bound to their app when it is built, because the streaming path injects no parameters.
"""

from __future__ import annotations

import logging

from nemoguardrails import LLMRails
from nemoguardrails.llm.providers import register_provider

from railscribe.guard import Guard
from railscribe.rails.acting import Rails
from railscribe.rails.configuration import Configuration
from railscribe.rails.model import ENGINE, model_for, refuse_unfit_models
from railscribe.rails.unjudged import guard_the_unjudged
from railscribe.standing import StandingGuard

logger = logging.getLogger(__name__)

_AFTER_TOOLS = "railscribe answer after tool input"


def init(app: LLMRails) -> None:
    """Give *app* its rails, with a guard as its ``custom_data: {railscribe: ...}`` and the environment say.

    Raises:
        RailscribeError: what is missing or misspelt; NeMo shows it as the cause of a ``RuntimeError``.
    """
    configuration = Configuration.of(app.config)
    if gap := configuration.gap:
        logger.warning(gap)
    guard = StandingGuard.stand(configuration.settings)
    configuration.refuse_misfits(guard)
    refuse_unfit_models(app.config)
    rails = attach(app, guard, configuration)
    register_provider(ENGINE, model_for(app, rails))


def attach(app: LLMRails, guard: Guard, configuration: Configuration | None = None) -> Rails:
    """Give *app* rails that check with *guard*, and return them: in a test, say, one with a scripted engine."""
    rails = Rails(guard, configuration or Configuration.of(app.config))
    for each in (
        *(rails.check_input, rails.check_output, rails.check_retrieval),
        *(rails.check_tool_output, rails.check_tool_input),
    ):
        app.register_action(each)
    guard_the_unjudged(app, rails)
    if app.config.colang_version == "1.0" and not app.config.rails.tool_input.flows:
        # NeMo tries to start each such flow at every event of the conversation, again at each step of it.
        app.runtime.flow_configs.pop(_AFTER_TOOLS, None)
    return rails
