"""Rails that are switched on, to clauses: NeMo's own by what they are known to do, others by walking their flow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from railscribe.policy.colang.dialog import ALL_ELSE
from railscribe.policy.colang.origins import deciders
from railscribe.policy.colang.outcomes import CALLER, Effect, Outcome
from railscribe.policy.colang.reach import Walker
from railscribe.policy.colang.refusals import topic_of
from railscribe.policy.colang.script import Execute, Flow, Script
from railscribe.policy.colang.wording import line
from railscribe.policy.diagnostics import Severity, Source
from railscribe.policy.draft import Draft
from railscribe.policy.nemo.catalog import (
    INJECTIONS,
    Known,
    Library,
    bare_name,
    entity_words,
    known_rail,
    parameters_of,
)
from railscribe.policy.nemo.configuration import Configuration, Rail
from railscribe.policy.nemo.prompts import add_prompt

_EXCEPTIONS_SWITCH = re.compile(r"\$(?:system\.)?config\.enable_rails_exceptions")
_CONTAINS = re.compile(
    r"""^(?P<quote>["'])(?P<text>[^"']+)(?P=quote)\s+in\s+(?:lower\()?\$(?P<where>user_message|bot_message|input_text|output_text"""
    r"""|last_user_message|last_bot_message|text)\)?(?:\.lower\(\))?$"""
)
_PLACEHOLDER = re.compile(r"\s*['\"]?\{+\$?[^{}]*\}+['\"]?")
_HOOKS = {
    "input rails": "input",
    "output rails": "output",
    "retrieval rails": "retrieval",
    "tool input rails": "tool_input",
    "tool output rails": "tool_output",
}
_WRITE_IT = "Say what it refuses in a policy of your own, keep the rail in NeMo, and allow this."


@dataclass(slots=True, kw_only=True)
class RailReader:
    """Adds the clauses of rails to a draft, each rail once."""

    draft: Draft
    configuration: Configuration
    script: Script
    walker: Walker
    library: Library
    done: set[tuple[str, str]] = field(default_factory=set)

    def add_all(self) -> None:
        """Add every rail that the YAML or, in 2.x, a flow switches on."""
        for rail in self.configuration.rails:
            self._add(rail)
        for name, side in _HOOKS.items():
            if name in self.script.flows:
                self._walk(self.script.flows[name], side)

    def add_called(self, name: str, source: Source, side: str = "dialog") -> None:
        """Add a rail of the library that a flow calls."""
        known = known_rail(name, self.library)
        if known:
            self._library(known, Rail(side=side, name=name, source=source))

    def _add(self, rail: Rail) -> None:
        name = bare_name(rail.name)
        if name in self.script.flows:
            self._walk(self.script.flows[name], rail.side)
            return
        known = known_rail(name, self.library)
        if known:
            self._library(known, rail)
        else:
            self.draft.say(
                "C201",
                Severity.ERROR,
                f"there is no flow called {name!r}, here or in NeMo's library",
                rail.source,
                "Is a file, or an entry of import_paths, missing?",
            )

    def _library(self, known: Known, rail: Rail) -> None:
        key = (bare_name(rail.name), known.key if known.treatment != "validator" else rail.name)
        if key in self.done:
            return
        self.done.add(key)
        getattr(self, f"_{known.treatment}")(known, rail)

    # NeMo's own rails, by treatment (nemo/catalog.py).
    def _prompted(self, known: Known, rail: Rail) -> None:
        model = parameters_of(rail.name).get("model")
        tasks = [f"{known.key} $model={model}", known.key] if model else [known.key]
        if not model:
            tasks += sorted(p.task for p in self.configuration.prompts if p.task.startswith(f"{known.key} "))
        prompts = next((found for found in map(self.configuration.prompts_of, tasks) if found), [])
        if not prompts:
            self.draft.say(
                "C202",
                Severity.ERROR,
                f"the rail {bare_name(rail.name)!r} goes by the prompt {tasks[0]!r}, which is not among these files",
                rail.source,
                "Give the prompt; it is where the rail's policy stands.",
            )
            return
        for prompt in prompts:
            add_prompt(self.draft, prompt)

    def _personal(self, known: Known, rail: Rail) -> None:
        side = "output" if rail.name.endswith(("output", "retrieval")) else "input"
        place = "retrieval" if rail.name.endswith("retrieval") else side
        entities, source = self.configuration.setting(known.key, place, "entities")
        words = [entity_words(str(entity)) for entity in entities] if isinstance(entities, list) else []
        what = "Sharing or asking for" if side == "input" else "Revealing"
        listed = f": {', '.join(dict.fromkeys(words))}" if words else ""
        at = source or rail.source
        self.draft.disallow(
            f"{what} personal data{listed}",
            Source(
                file=at.file, line=at.line, construct=f"{rail.source.construct}, {known.key}.{place}.entities"
            ),
        )
        if not words:
            message = "no kinds of personal data are listed, so all are meant"
            self.draft.say("C215", Severity.WARNING, message, rail.source)

    def _stated(self, known: Known, rail: Rail) -> None:
        self.draft.disallow(known.key, rail.source)

    def _injection(self, known: Known, rail: Rail) -> None:
        listed, source = self.configuration.setting(known.key, "injections")
        for name in listed if isinstance(listed, list) else sorted(INJECTIONS):
            text = INJECTIONS.get(str(name), f"Code that injects {str(name).replace('_', ' ')}")
            self.draft.disallow(text, source or rail.source)

    def _masking(self, known: Known, rail: Rail) -> None:
        message = f"the rail {bare_name(rail.name)!r} masks and refuses nothing; it stays with NeMo"
        self.draft.say("C208", Severity.NOTE, message, rail.source)

    def _grounding(self, known: Known, rail: Rail) -> None:
        message = (
            f"the rail {bare_name(rail.name)!r} compares answers with documents; that is no rule of a policy"
        )
        self.draft.say("C207", Severity.WARNING, message, rail.source, "Keep the rail in NeMo.")

    def _ours(self, known: Known, rail: Rail) -> None:
        message = "this rail goes by the policy of Railscribe that it names, which is a policy already"
        self.draft.say("C217", Severity.NOTE, message, rail.source)

    def _patterns(self, known: Known, rail: Rail) -> None:
        message = f"the rail {bare_name(rail.name)!r} goes by patterns, which a model cannot read"
        self.draft.say("C209", Severity.ERROR, message, rail.source, _WRITE_IT)

    def _elsewhere(self, known: Known, rail: Rail) -> None:
        message = (
            f"a service or code decides what the rail {bare_name(rail.name)!r} refuses, and not these files"
        )
        self.draft.say("C206", Severity.ERROR, message, rail.source, _WRITE_IT)

    def _validator(self, known: Known, rail: Rail) -> None:
        name = parameters_of(rail.name).get("validator", "")
        listed, _ = self.configuration.setting(known.key, "validators")
        settings = next((v for v in listed or [] if isinstance(v, Mapping) and v.get("name") == name), {})
        text = _validator_clause(name, settings.get("parameters") or {})
        if text:
            self.draft.disallow(text, rail.source)
        else:
            self._elsewhere(known, rail)

    # Rails that the configuration defines itself.
    def _walk(self, flow: Flow, side: str) -> None:
        if ("flow", flow.name) in self.done:
            return
        self.done.add(("flow", flow.name))
        summary = self.walker.summary(flow.name)
        if flow.description and not any(o.what == "..." for o in summary.outcomes):
            self.draft.describe(flow.description, _of(flow, "docstring"))
        for call in summary.library:
            self.add_called(
                call.name,
                Source(file=call.flow.source.file, line=call.line, construct=call.flow.source.construct),
                side,
            )
        for name in sorted(summary.calls):
            self._walk(self.script.flows[name], side)
        groups: dict[tuple[str, ...], Outcome] = {}
        for outcome in summary.outcomes:
            if outcome.flow.name == flow.name:
                self._group(groups, outcome)
        for conditions, outcome in groups.items():
            self._refusal(flow, conditions, outcome)

    def _group(self, groups: dict[tuple[str, ...], Outcome], outcome: Outcome) -> None:
        refused = outcome.effect in (Effect.REFUSED, Effect.STOPPED)
        if outcome.effect is Effect.UNCLEAR:
            self._say_unclear(outcome)
        elif refused and outcome.intent != CALLER:
            self._say_unclear(replace(outcome, what=f"a dialog about {outcome.intent!r} inside a rail"))
        elif refused:
            conditions = tuple(c for c in outcome.conditions if not _EXCEPTIONS_SWITCH.search(c))
            earlier = groups.get(conditions)
            if earlier is None or (earlier.effect is Effect.STOPPED and outcome.effect is Effect.REFUSED):
                groups[conditions] = outcome

    def _say_unclear(self, outcome: Outcome) -> None:
        self.draft.say(
            "C110",
            Severity.ERROR,
            f"not understood, and a refusal may hide in it: {outcome.what}",
            Source(file=outcome.flow.source.file, line=outcome.line),
        )

    def _refusal(self, flow: Flow, conditions: tuple[str, ...], outcome: Outcome) -> None:
        at = Source(
            file=outcome.flow.source.file,
            line=outcome.line,
            construct=f"{flow.source.construct}{f', when {_said(conditions)}' if conditions else ''}",
        )
        if outcome.effect is Effect.REFUSED and outcome.texts:
            self.draft.refusals.setdefault(outcome.what, outcome.texts[0])
        decided = self._decided(flow, conditions, at)
        if decided:
            return
        if not conditions:
            message = f"the rail {flow.name!r} ends every turn that reaches it"
            self.draft.say("C213", Severity.ERROR, message, at, "Take it out of the rails, or allow this.")
            return
        topic = topic_of(outcome.what, outcome.texts)
        if topic:
            self.draft.disallow(f"Talking about {topic}", at)
            self.draft.say(
                "C211",
                Severity.WARNING,
                f"the rail {flow.name!r} refuses when {_said(conditions)}; the clause is what its refusal is about",
                at,
                "Check that this is what the condition is about.",
            )
        else:
            self.draft.say(
                "C210",
                Severity.ERROR,
                f"the rail {flow.name!r} refuses when {_said(conditions)}, and nothing here says what that is",
                at,
                _WRITE_IT,
            )

    def _decided(self, flow: Flow, conditions: Iterable[str], at: Source) -> bool:
        """Whether what *conditions* go by could be said in clauses, which are added then."""
        added = False
        for condition in conditions:
            contained = _CONTAINS.match(condition)
            if contained:
                self.draft.disallow(f'Messages that contain "{contained["text"]}"', at)
                added = True
        for step in deciders(self.script, flow, conditions):
            if isinstance(step, Execute):
                known = known_rail(step.action, self.library)
                if known and known.treatment in ("prompted", "stated", "injection", "personal"):
                    self._library(known, Rail(side="flow", name=step.action, source=at))
                    added = True
            elif step.text:
                words = _PLACEHOLDER.sub("", step.text)
                self.draft.disallow(f"Messages that do not pass this check: {line(words)}", at)
                self.draft.say(
                    "C212",
                    Severity.WARNING,
                    "an instruction to a language model decides what this refuses; its words became the clause",
                    at,
                    "Write out what is not wanted; a guard model reads that better.",
                )
                added = True
        return added


def _of(flow: Flow, what: str) -> Source:
    return Source(file=flow.source.file, line=flow.source.line, construct=f"{flow.source.construct}: {what}")


def _said(conditions: tuple[str, ...]) -> str:
    return " and ".join(conditions)


def _validator_clause(name: str, parameters: Mapping[str, Any]) -> str:
    def listed(key: str) -> str:
        values = parameters.get(key)
        return ", ".join(str(value) for value in values) if isinstance(values, list) else ""

    if name in ("toxic_language", "profanity_free"):
        return "Toxic or abusive language"
    if name in ("guardrails_pii", "detect_pii"):
        entities = parameters.get("entities")
        words = [entity_words(str(entity)) for entity in entities] if isinstance(entities, list) else []
        return f"Sharing personal data{': ' + ', '.join(words) if words else ''}"
    if name == "competitor_check" and listed("competitors"):
        return f"Naming competitors: {listed('competitors')}"
    if name == "restricttotopic" and listed("valid_topics"):
        return f"{ALL_ELSE.split(' that ')[0]} other than these topics: {listed('valid_topics')}"
    if name == "ban_list" and listed("banned_words"):
        return f"Messages that contain any of these words: {listed('banned_words')}"
    return ""
