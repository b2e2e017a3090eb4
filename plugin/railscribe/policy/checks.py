"""The contradictions of a policy document, each with its field.

The rules are those of :mod:`railscribe.policy.document`; this module finds every breach and names its field.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

from pydantic import ValidationError

from railscribe.misfits import misfits, nearest
from railscribe.policy import fields
from railscribe.policy.families import DEEPEST, HIGHEST_FOR_MINOR, Families
from railscribe.policy.schema import Document, DocumentCategory
from railscribe.reasoning import ReasoningFor
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, lets_sexual_minor_pass, names_sexual_minor
from railscribe.values import SEVERITY, Action

_MINOR_BLOCKS = f"this is {SEXUAL_MINOR!r}, which always blocks, under any name; leave minors out of it"
_MINOR_PASSES = f"reads as if something of {SEXUAL_MINOR!r} could pass; forbid it plainly, or leave it out"
_MANY_UNKNOWN = 20
"""Unknown names for which what is near is looked for, which takes long among thousands."""


class Kind(Enum):
    """What sort of mistake a problem is, where that matters to somebody."""

    OTHER = "other"
    COMMA = fields.COMMA
    NOT_BUILTIN = "not built-in"
    TWICE = fields.TWICE


_TOLD_APART = (fields.COMMA, fields.TWICE)


class Problem(NamedTuple):
    """One thing wrong with a document: the field's dotted path (empty for the whole) and a message."""

    field: str
    message: str
    kind: Kind = Kind.OTHER


def problems(document: Mapping[str, Any]) -> tuple[Document | None, list[Problem]]:
    """Return *document* as read, and what its fields contradict; or ``None``, and what is wrong with single ones."""
    try:
        read = Document.model_validate(dict(document))
    except ValidationError as error:
        return None, [
            Problem(field, message, Kind(kind) if kind in _TOLD_APART else Kind.OTHER)
            for field, message, kind in misfits(error, Document)
        ]
    return read, [problem for check in _CHECKS for problem in check(read)]


def _check_categories(document: Document) -> Iterator[Problem]:
    seen: set[str] = set()
    builtin = {name.casefold(): name for name in BUILTIN_CATEGORIES}
    for number, category in enumerate(document.categories):
        field, folded = f"categories.{number}.name", category.name.casefold()
        if folded in seen:
            yield Problem(field, f"{category.name!r} is listed twice", Kind.TWICE)
        seen.add(folded)
        if builtin.get(folded, category.name) != category.name:
            yield Problem(field, f"write the built-in category as {builtin[folded]!r}", Kind.NOT_BUILTIN)


def _check_suppressed(document: Document) -> Iterator[Problem]:
    if document.suppressed and not document.builtin:
        yield Problem("suppressed", "with builtin: false there is no built-in category to take out")
    listed, seen = {category.name for category in document.categories}, set[str]()
    for number, name in enumerate(document.suppressed):
        field = f"suppressed.{number}"
        if names_sexual_minor(name):
            yield Problem(field, f"{SEXUAL_MINOR!r} cannot be suppressed by any policy")
        elif name not in BUILTIN_CATEGORIES:
            message = f"{name!r} is no built-in category{nearest(name, BUILTIN_CATEGORIES)}"
            yield Problem(field, message, Kind.NOT_BUILTIN)
        elif name in listed:
            yield Problem(field, f"{name!r} is also listed under categories")
        elif name in seen:
            yield Problem(field, f"{name!r} is listed twice", Kind.TWICE)
        seen.add(name)


def _check_minor(document: Document) -> Iterator[Problem]:
    for number, category in enumerate(document.categories):
        if category.name == SEXUAL_MINOR and category.definition:
            yield Problem(f"categories.{number}.definition", f"{SEXUAL_MINOR!r} keeps its own definition")
        elif lets_sexual_minor_pass(f"{category.name}: {category.definition or ''}"):
            part = "definition" if category.definition else "name"
            yield Problem(f"categories.{number}.{part}", _MINOR_PASSES)
        weaker = category.action not in (None, Action.BLOCK)
        if weaker and names_sexual_minor(f"{category.name}: {category.definition}"):
            yield Problem(f"categories.{number}.action", _MINOR_BLOCKS)
    for number, clause in enumerate(document.disallowed):
        if lets_sexual_minor_pass(clause):
            yield Problem(f"disallowed.{number}", _MINOR_PASSES)
    permissive = {f"allowed.{number}": clause for number, clause in enumerate(document.allowed)}
    for field, text in {"description": document.description, **permissive}.items():
        if names_sexual_minor(text):
            yield Problem(
                field, f"{SEXUAL_MINOR!r} cannot be allowed by any policy; say it without naming the two"
            )


def _check_families(document: Document) -> Iterator[Problem]:
    families = Families.of(document)
    names, unknown, deep = set(families.names), 0, 0
    for number, category in enumerate(document.categories):
        field, parent = f"categories.{number}", category.parent
        line = families.ancestors(category.name)
        if parent is not None and parent not in names:
            unknown += 1
            near = nearest(parent, families.names) if unknown <= _MANY_UNKNOWN else ""
            yield Problem(f"{field}.parent", f"{parent!r} is no category of this policy{near}")
        elif category.name in line:
            round_ = ", ".join(map(repr, (category.name, *line)))
            yield Problem(f"{field}.parent", f"leads back to the category itself: {round_}")
        elif families.too_deep(category.name):
            deep += 1
            if deep == 1 or (parent is not None and not families.too_deep(parent)):
                message = (
                    f"has more than {DEEPEST} parents above it, one above the other; give it a nearer one"
                )
                yield Problem(f"{field}.parent", message)
        elif parent is not None:
            yield from _softened(category, parent, families, field)


def _softened(category: DocumentCategory, parent: str, families: Families, field: str) -> Iterator[Problem]:
    """Yield what *category* would do less than its *parent* does."""
    action, threshold = families.action(parent), families.threshold(parent)
    if category.action is not None and SEVERITY.index(category.action) < SEVERITY.index(action):
        yield Problem(
            f"{field}.action", f"is softer than {action.value}, its parent's; a child may only tighten"
        )
    if category.threshold is not None and threshold is not None and category.threshold > threshold:
        yield Problem(
            f"{field}.threshold",
            f"is above {threshold:g}, its parent's; a child may only tighten, which is lower",
        )


def _check_thresholds(document: Document) -> Iterator[Problem]:
    families = Families.of(document)
    for number, category in enumerate(document.categories):
        if category.threshold is None:
            continue
        field, line = f"categories.{number}.threshold", [category.name, *families.ancestors(category.name)]
        if category.threshold > HIGHEST_FOR_MINOR and any(map(families.is_minor, line)):
            yield Problem(field, f"{SEXUAL_MINOR!r}, under any name, takes none above {HIGHEST_FOR_MINOR:g}")
        if families.action(category.name) is Action.ALLOW:
            yield Problem(field, "is without effect on a category that is allowed")


def _check_behaviours(document: Document) -> Iterator[Problem]:
    disallowed = {clause.casefold() for clause in document.disallowed}
    for number, clause in enumerate(document.allowed):
        if clause.casefold() in disallowed:
            yield Problem(f"allowed.{number}", "the same behaviour stands under disallowed")


def _check_mode(document: Document) -> Iterator[Problem]:
    added = any(c.definition or c.name not in BUILTIN_CATEGORIES for c in document.categories)
    added = added or bool(document.disallowed or document.allowed)
    if document.mode == "builtin" and (added or document.suppressed or not document.builtin):
        yield Problem("mode", "builtin sends the model no text, so only actions can be changed")
    if document.mode == "taxonomy" and document.disallowed:
        yield Problem("mode", "taxonomy has no place for 'disallowed'; write each as a category")


def _check_substance(document: Document) -> Iterator[Problem]:
    if document.unlisted_action is Action.ALLOW:
        yield Problem("unlisted_action", "may be block or flag; an unsafe verdict is not allowed unnamed")
    families = Families.of(document)
    own = [name for name in families.names if name != SEXUAL_MINOR]
    if not (own or any(map(_says_something, document.disallowed))):
        yield Problem("", "the policy forbids nothing: give it categories or disallowed behaviours")
    elif not document.disallowed and all(families.action(name) is Action.ALLOW for name in own):
        field = "action" if document.action is Action.ALLOW else "categories"
        yield Problem(field, "allow leaves every category without effect; block or flag at least one")


def _says_something(clause: str) -> bool:
    return any(unicodedata.category(char)[0] in "LNS" for char in clause)


def _check_reasoning(document: Document) -> Iterator[Problem]:
    reasoning = document.reasoning
    if reasoning is None:
        return
    if (reasoning.applies_to is ReasoningFor.SAMPLE) != (reasoning.sample is not None):
        yield Problem(
            "reasoning.sample", "goes with 'for: sample', a share such as 0.05, and with nothing else"
        )
    if reasoning.applies_to is ReasoningFor.BAND and document.review_band is None:
        yield Problem("reasoning.for", "band needs a review_band, such as [0.3, 0.7]")


_CHECKS = (
    _check_categories,
    _check_suppressed,
    _check_minor,
    _check_families,
    _check_thresholds,
    _check_behaviours,
    _check_mode,
    _check_substance,
    _check_reasoning,
)
