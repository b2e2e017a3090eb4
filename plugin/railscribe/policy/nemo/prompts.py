"""The prompts by which NeMo's rails judge, to clauses and categories."""

from __future__ import annotations

import re

from railscribe.policy.diagnostics import Severity, Source
from railscribe.policy.draft import Draft
from railscribe.policy.nemo.configuration import Configuration, Prompt
from railscribe.policy.nemo.rules import WrittenRule, rules_in

_BARE = re.compile(r"^\s*(?:\{\{\s*(?:user_input|bot_response)\s*\}\}\s*)+$")
_JUDGING = re.compile(r"(?:check|safety|guard|moderation|jailbreak)", re.IGNORECASE)
_GENERATING = re.compile(
    r"^(?:general|generate_|self_check_facts|self_check_hallucination|patronus_|llm_judge)"
)


def add_prompt(draft: Draft, prompt: Prompt) -> None:
    """Add what the rules of *prompt* say to *draft*."""
    draft.prompts_used.add(prompt.task)
    if _BARE.match(prompt.text):
        draft.builtin = True
        message = "the prompt leaves the categories to the safety model; the model's built-in ones apply"
        draft.say("C216", Severity.NOTE, message, prompt.source)
        return
    rules = rules_in(prompt.text)
    said = 0
    for rule in rules:
        said += _add(draft, prompt, rule)
    if not said:
        draft.say(
            "C202",
            Severity.ERROR,
            f"no rule could be read from the prompt {prompt.task!r}: it has no list of what is not wanted",
            prompt.source,
            "Write what is not wanted as a list, a line each, or as a policy of your own.",
        )


def _add(draft: Draft, prompt: Prompt, rule: WrittenRule) -> bool:
    at = _at(prompt, rule)
    if rule.kind == "category":
        draft.category(rule.text, at, definition=rule.definition)
    elif rule.kind == "disallowed":
        draft.disallow(rule.text, at)
    elif rule.kind == "allowed":
        draft.allow(rule.text, at)
    elif rule.kind == "unclear":
        draft.say(
            "C203",
            Severity.ERROR,
            f"this line of the prompt {prompt.task!r} forbids something, but not in a form that is understood",
            at,
            'Begin it with "should not", "do not", "never" or "avoid".',
        )
    else:
        draft.say(
            "C204", Severity.NOTE, "this line is about form, not about what may be said; it is left out", at
        )
    return rule.kind in ("category", "disallowed")


def _at(prompt: Prompt, rule: WrittenRule) -> Source:
    line = prompt.first_line + rule.line if prompt.first_line else prompt.source.line
    return Source(file=prompt.source.file, line=line, construct=prompt.source.construct)


def say_idle(draft: Draft, configuration: Configuration) -> None:
    """Name the judging prompts of which no rail makes use."""
    for prompt in configuration.prompts:
        if (
            prompt.task in draft.prompts_used
            or _GENERATING.match(prompt.task)
            or not _JUDGING.search(prompt.task)
        ):
            continue
        message = f"no rail that is switched on uses the prompt {prompt.task!r}; it is left out"
        draft.say("C205", Severity.NOTE, message, prompt.source)
