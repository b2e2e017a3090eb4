"""Policies in other tools' forms: NeMo's eval ``policies.yml`` and NVIDIA's policy generator.

The generator's form is known from notes on its JSON schema (draft-07, version 0.1.0), not from the schema itself:
``policy_name``, ``version``, ``taxonomy_mode``, ``assumptions`` and ``categories`` with ``name``, ``display_name``,
``definition``, ``in_scope``, ``out_of_scope``, ``severity`` S0 to S4, ``examples_safe``, ``examples_unsafe``,
``edge_cases``, ``custom``, ``sn_label``, ``modality_notes`` and ``aegis_parent``. Its S-numbers are dropped: they
collide with those of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from railscribe.policy.colang.wording import line
from railscribe.policy.diagnostics import Severity
from railscribe.policy.draft import Draft
from railscribe.policy.nemo.configuration import YamlFile
from railscribe.policy.nemo.rules import rule_of, sentences_of

_SEVERITIES = {"S0": "allow", "S1": "flag", "S2": "block", "S3": "block", "S4": "block"}
_CATEGORY_KEYS = {
    "name", "display_name", "definition", "in_scope", "out_of_scope", "severity", "examples_safe", "examples_unsafe",
    "edge_cases", "custom", "sn_label", "modality_notes", "aegis_parent", "id", "examples",
}  # fmt: skip
_POLICY_KEYS = {
    "policy_name", "version", "date", "target_models", "use_cases", "taxonomy_mode", "assumptions", "categories",
    "severity_model", "allow_list", "allow-list", "allowlist", "description", "title", "$schema", "author",
    "change_log", "changelog", "calibration", "jurisdiction", "refusal_guidance", "refusal_and_response_guidance",
    "cot_rules", "locale",
}  # fmt: skip


def is_eval(data: Any) -> bool:
    """Whether *data* has the shape of the eval tool's policies."""
    listed = data.get("policies") if isinstance(data, Mapping) else None
    return (
        isinstance(listed, list)
        and bool(listed)
        and all(isinstance(p, Mapping) and "description" in p for p in listed)
    )


def is_generated(data: Any) -> bool:
    """Whether *data* has the shape that NVIDIA's policy generator writes."""
    return isinstance(data, Mapping) and "policy_name" in data and "categories" in data


def add_eval(draft: Draft, file: YamlFile) -> None:
    """Add the eval tool's policies: each sentence of a description is a rule."""
    for number, policy in enumerate(file.data["policies"]):
        name = str(policy.get("id", number))
        source = file.source(f"policies.{number}.description", f"policy {name}")
        if policy.get("apply_to_all", True) is False:
            message = f"the policy {name!r} applies only to interactions that name it; it is left out"
            draft.say(
                "C401",
                Severity.WARNING,
                message,
                source,
                "Compile it as a policy of its own where it applies.",
            )
            continue
        before = len(draft.clauses)
        for sentence in sentences_of(str(policy["description"])):
            rule = rule_of(sentence)
            if rule.kind == "disallowed":
                draft.disallow(rule.text, source)
            elif rule.kind == "allowed":
                draft.allow(rule.text, source)
            elif rule.kind == "unclear" and len(draft.clauses) == before:
                message = (
                    f"a sentence of the policy {name!r} forbids something, in a form that is not understood"
                )
                draft.say("C203", Severity.ERROR, message, source, 'Begin it with "do not" or "avoid".')
            else:
                message = (
                    f"a sentence of the policy {name!r} adds to its rule or is about form; it is left out"
                )
                draft.say("C204", Severity.NOTE, message, source)


def add_generated(draft: Draft, file: YamlFile) -> None:
    """Add what NVIDIA's policy generator wrote."""
    data = file.data
    draft.name, draft.version = str(data["policy_name"]), str(data.get("version", ""))
    for key in sorted(set(map(str, data)) - _POLICY_KEYS):
        draft.say(
            "C410",
            Severity.WARNING,
            f"the field {key!r} is not known here and was left out",
            file.source(key),
        )
    for assumption in _texts(data.get("assumptions")):
        draft.describe(assumption, file.source("assumptions", "assumptions"))
    for key in ("allow_list", "allow-list", "allowlist"):
        for number, text in enumerate(_texts(data.get(key))):
            draft.allow(line(text), file.source(f"{key}.{number}", "allow-list"))
    listed = data["categories"]
    if not isinstance(listed, list):
        draft.say("C024", Severity.ERROR, "categories is not a list", file.source("categories"))
        return
    for number, category in enumerate(listed):
        path = f"categories.{number}"
        if isinstance(category, Mapping):
            _add_category(draft, file, path, category)
        else:
            draft.say("C024", Severity.ERROR, "a category is not made of fields", file.source(path))


def _add_category(draft: Draft, file: YamlFile, path: str, category: Mapping[str, Any]) -> None:
    name = str(category.get("display_name") or str(category.get("name", "")).replace("_", " ").title())
    source = file.source(path, f"category {name}")
    for key in sorted(set(map(str, category)) - _CATEGORY_KEYS):
        draft.say(
            "C410",
            Severity.WARNING,
            f"the field {key!r} is not known here and was left out",
            file.source(f"{path}.{key}"),
        )
    severity = str(category.get("severity", "S2"))
    if severity not in _SEVERITIES:
        message = f"the severity {severity!r} is none of S0 to S4; the category blocks"
        draft.say("C411", Severity.WARNING, message, file.source(f"{path}.severity"))
    parts = [str(category.get("definition") or ""), *_texts(category.get("in_scope"))]
    definition = "; ".join(part.strip().rstrip(".") for part in parts if part.strip())
    draft.category(
        name,
        source,
        definition=definition,
        action=_SEVERITIES.get(severity, "block"),
        examples=_texts(category.get("examples_unsafe")),
    )
    for number, text in enumerate(_texts(category.get("out_of_scope"))):
        draft.allow(
            line(text), file.source(f"{path}.out_of_scope.{number}", f"category {name}: out of scope")
        )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return (
        [str(item) for item in value if isinstance(item, (str, int, float))]
        if isinstance(value, list)
        else []
    )
