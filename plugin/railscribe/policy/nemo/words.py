"""Instructions, docstrings and other plain words of a configuration, to what the policy says it is for."""

from __future__ import annotations

from railscribe.policy.colang.refusals import forbids, text_refuses
from railscribe.policy.colang.script import Script
from railscribe.policy.diagnostics import Severity, Source
from railscribe.policy.draft import Draft
from railscribe.policy.nemo.configuration import Configuration
from railscribe.policy.nemo.rules import sentences_of


def add_words(draft: Draft, configuration: Configuration, script: Script) -> None:
    """Add instructions, and the docstrings of flows that models read, to *draft*'s description."""
    for _, content, source in configuration.instructions:
        draft.describe(content, source)
        _say_forbidding(draft, content, source)
    for flow in script.flows.values():
        if flow.description and _is_prompt(flow.description):
            source = Source(
                file=flow.source.file, line=flow.source.line, construct=f"{flow.source.construct}: docstring"
            )
            draft.describe(flow.description, source)
            _say_forbidding(draft, flow.description, source)
    for key, value, source in configuration.custom_data:
        ours = key == "railscribe" and isinstance(value, dict) and value.get("policy")
        message = (
            "custom_data.railscribe names a policy already; what it holds is not copied"
            if ours
            else f"custom_data.{key} is data of the application's own; it is left out"
        )
        draft.say("C304", Severity.NOTE, message, source)


def _is_prompt(description: str) -> bool:
    return "{{" in description or "You are" in description or forbids(description)


def _say_forbidding(draft: Draft, content: str, source: Source) -> None:
    listed = [sentence for sentence in sentences_of(content) if forbids(sentence) or text_refuses(sentence)]
    if listed:
        draft.say(
            "C302",
            Severity.WARNING,
            f"{len(listed)} sentence{'s' if len(listed) > 1 else ''} of these instructions forbid something; they are"
            " part of the description, which a guard model hardly weighs",
            source,
            "Write each as a disallowed behaviour.",
        )
