"""From a policy to the text the model reads, the same to the byte on every run.

Rules (docs/contract.md, "Policies")

1. Mode ``builtin`` sends no text: the model's template carries the taxonomy. Only an untouched policy is
   that.
2. Mode A (``policy``) has the shape the model card shows: header, name, description, disallowed, allowed.
   The header's second sentence is used only with thinking. All built-in categories fall away in this mode, so
   those that apply are restated. Examples, parents and thresholds are ours and never rendered.
3. Mode B (``taxonomy``) is a list of names with a clarifier in brackets, then the allow-list.
4. ``auto`` is builtin where nothing was changed, mode A where behaviours are written out, else mode B;
   :func:`mode_reason` says which and why.
5. Every rendering restates ``Sexual (minor)``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from railscribe.policy.document import Policy, PolicyCategory
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR
from railscribe.values import Mode, Rendering

_HEADER = (
    "Evaluate the user prompt for compliance with the given policy "
    "ignoring any previous policies you know about."
)
_THINK_FIRST = " First, think through your reasoning step-by-step."
_ALLOW_LIST = "Allow-list (explicitly permitted even if adjacent to a category above):"


def render(policy: Policy, *, thinking: bool = False) -> Rendering:
    """Return *policy* as the model will read it."""
    mode = mode_of(policy)
    if mode is Mode.BUILTIN:
        text = "\n".join(category.name for category in policy.categories)
    elif mode is Mode.POLICY:
        text = "\n".join(_mode_a(policy, thinking=thinking))
    else:
        text = "\n".join(_mode_b(policy))
    return Rendering(
        policy_name=policy.name,
        policy_version=policy.version,
        policy_digest=policy.digest,
        document=policy.canonical(),
        mode=mode,
        text=text,
        text_digest=hashlib.sha256(text.encode()).hexdigest(),
        category_names=tuple(category.name for category in policy.categories),
        closed=mode is not Mode.POLICY or not policy.disallowed,
        scores_categories=policy.scores_categories,
    )


def mode_of(policy: Policy) -> Mode:
    """Return the mode *policy* travels in (rule 4)."""
    if policy.mode != "auto":
        return Mode(policy.mode)
    if policy.disallowed or policy.allowed:
        return Mode.POLICY
    return Mode.BUILTIN if _is_builtin(policy) else Mode.TAXONOMY


def mode_reason(policy: Policy) -> str:
    """Return why *policy* travels in its mode, in words."""
    mode = mode_of(policy)
    if policy.mode != "auto":
        return f"the document asks for mode {mode.value}"
    written = [name for name in ("disallowed", "allowed") if getattr(policy, name)]
    if written:
        return f"behaviours are written out ({' and '.join(written)}), which mode policy carries"
    if mode is Mode.BUILTIN:
        return "nothing that the model reads differs from its built-in categories"
    changes = {
        "categories of its own": [c.name for c in policy.categories if c.name not in BUILTIN_CATEGORIES],
        "built-in ones restated": [c.name for c in policy.categories if _restates(c)],
        "built-in ones left out": set(BUILTIN_CATEGORIES) - {c.name for c in policy.categories},
    }
    told = ", ".join(f"{len(names)} {what}" for what, names in changes.items() if names)
    return f"only categories differ from the built-in ones ({told}), which mode taxonomy carries"


def _restates(category: PolicyCategory) -> bool:
    builtin = category.name in BUILTIN_CATEGORIES and category.name != SEXUAL_MINOR
    return builtin and category.definition is not None


def _is_builtin(policy: Policy) -> bool:
    # Actions are ours and never reach the model, so they alone do not change what it must read.
    names = tuple(category.name for category in policy.categories)
    return names == BUILTIN_CATEGORIES and not any(map(_restates, policy.categories))


def _clause(category: PolicyCategory, pattern: str) -> str:
    return pattern.format(category.name, category.definition) if category.definition else category.name


def _mode_a(policy: Policy, *, thinking: bool) -> Iterator[str]:
    yield _HEADER + (_THINK_FIRST if thinking else "")
    yield ""
    yield "### Policy"
    yield f"Name: {policy.name}"
    yield f"Description: {policy.description}"
    yield ""
    yield "Disallowed Behaviors:"
    for category in policy.categories:
        yield "- " + _clause(category, "{}: {}")
    for clause in policy.disallowed:
        yield "- " + clause
    if policy.allowed:
        yield ""
        yield "Allowed Behaviors:"
        for clause in policy.allowed:
            yield "- " + clause


def _mode_b(policy: Policy) -> Iterator[str]:
    for category in policy.categories:
        yield "- " + _clause(category, "{} ({})")
    if policy.allowed:
        yield ""
        yield _ALLOW_LIST
        for clause in policy.allowed:
            yield "- " + clause
