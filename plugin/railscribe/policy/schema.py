"""What a policy document may say: its fields, and the contradictions between them.

The rules are those of :mod:`railscribe.policy.document`; this module finds every breach and names its field.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from railscribe.nemotron.neutralise import neutralise
from railscribe.reasoning import Band, ReasoningFor, ReasoningPlan
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor
from railscribe.values import Action, Reasoning, Side

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_BREAKS = {"Cc", "Zl", "Zp"}
_MINOR_BLOCKS = f"this is {SEXUAL_MINOR!r}, which always blocks, under any name; leave minors out of it"


class Problem(NamedTuple):
    """One thing wrong with a document: the field's dotted path (empty for the whole) and a message."""

    field: str
    message: str


def _plain(text: str) -> str:
    if any(unicodedata.category(char) in _BREAKS for char in text):
        raise ValueError("must be one line, without tabs (in YAML, fold a long one with '>')")
    markers = neutralise(text).markers
    if markers:
        raise ValueError(f"reads as structure of the model's template ({', '.join(markers)}); reword it")
    return text


def _slug(name: str) -> str:
    if not _SLUG.fullmatch(name):
        raise ValueError("use lower-case letters, digits, '.', '_' and '-', such as dev-tools-assistant")
    return name


def _speakable(name: str) -> str:
    # The model answers with a comma-separated list.
    if "," in name:
        raise ValueError("a category name holds no comma: the model separates names by it")
    return name


_Line = Annotated[str, Field(min_length=1), AfterValidator(_plain)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class DocumentCategory(_Strict):
    """A category as a document writes it."""

    name: Annotated[
        str, Field(min_length=1, max_length=80), AfterValidator(_plain), AfterValidator(_speakable)
    ]
    definition: _Line | None = None
    action: Action | None = None


class _Sides(_Strict):
    """Which sides each rail decides on; the output rail may be widened to the user's side, and vice versa."""

    input: list[Side] = [Side.USER]
    output: list[Side] = [Side.RESPONSE]

    @model_validator(mode="after")
    def _only_widened(self) -> Self:
        if Side.USER not in self.input:
            raise ValueError("input must hold 'user'; a policy widens the sides, it does not swap them")
        if Side.RESPONSE not in self.output:
            raise ValueError("output must hold 'response'; a policy widens the sides, it does not swap them")
        return self


def _mode(value: object) -> object:
    return Reasoning.OFF.value if value is False else value  # YAML reads off as false


class _Reasoning(_Strict):
    """When the model is asked to think."""

    mode: Annotated[Reasoning, BeforeValidator(_mode)]
    applies_to: ReasoningFor = Field(default=ReasoningFor.ALL, alias="for")
    sample: float | None = Field(default=None, gt=0, le=1)

    def plan(self) -> ReasoningPlan:
        return ReasoningPlan(mode=self.mode, applies_to=self.applies_to, sample=self.sample)


def _rising(band: Band) -> Band:
    if not 0 <= band[0] < band[1] <= 1:
        raise ValueError("is two scores between 0 and 1, the lower first, such as [0.3, 0.7]")
    return band


class Document(_Strict):
    """A policy as it is written."""

    name: Annotated[str, AfterValidator(_slug)]
    version: Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_plain)]
    description: _Line
    mode: Literal["auto", "policy", "taxonomy", "builtin"] = "auto"
    builtin: bool = True
    suppressed: list[str] = []
    categories: list[DocumentCategory] = []
    disallowed: list[_Line] = []
    allowed: list[_Line] = []
    action: Action = Action.BLOCK
    unlisted_action: Action = Action.BLOCK
    sides: _Sides = _Sides()
    refusal: str = Field(default="I'm sorry, I can't help with that.", min_length=1)
    reasoning: _Reasoning | None = None
    review_band: Annotated[Band, AfterValidator(_rising)] | None = None
    threshold: float | None = Field(default=None, gt=0, lt=1)


def problems(document: Mapping[str, Any]) -> tuple[Document | None, list[Problem]]:
    """Return *document* as read, where its fields could be, and everything that is wrong with it."""
    try:
        read = Document.model_validate(dict(document))
    except ValidationError as error:
        return None, list(_misfits(error))
    return read, [problem for check in _CHECKS for problem in check(read)]


def _misfits(error: ValidationError) -> Iterator[Problem]:
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        loc = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"no such field{_nearest(str(loc[-1]), _fields_beside(loc))}"
        elif problem["type"] == "string_type":
            message = "must be text; put it in quotes"  # YAML reads 1.10 as 1.1 and no as false
        elif problem["type"] == "missing":
            message = "is missing"
        yield Problem(".".join(str(part) for part in loc), message)


def _fields_beside(loc: tuple[int | str, ...]) -> Iterable[str]:
    model: type[BaseModel] = Document
    if len(loc) > 1:
        nested: dict[str, type[BaseModel]] = {"categories": DocumentCategory, "reasoning": _Reasoning}
        model = nested.get(str(loc[0]), _Sides)
    return [field.alias or name for name, field in model.model_fields.items()]


def _check_categories(document: Document) -> Iterator[Problem]:
    seen: set[str] = set()
    builtin = {name.casefold(): name for name in BUILTIN_CATEGORIES}
    for number, category in enumerate(document.categories):
        field, folded = f"categories.{number}.name", category.name.casefold()
        if folded in seen:
            yield Problem(field, f"{category.name!r} is listed twice")
        seen.add(folded)
        if builtin.get(folded, category.name) != category.name:
            yield Problem(field, f"write the built-in category as {builtin[folded]!r}")


def _check_suppressed(document: Document) -> Iterator[Problem]:
    if document.suppressed and not document.builtin:
        yield Problem("suppressed", "with builtin: false there is no built-in category to take out")
    for number, name in enumerate(document.suppressed):
        field = f"suppressed.{number}"
        if names_sexual_minor(name):
            yield Problem(field, f"{SEXUAL_MINOR!r} cannot be suppressed by any policy")
        elif name not in BUILTIN_CATEGORIES:
            yield Problem(field, f"{name!r} is no built-in category{_nearest(name, BUILTIN_CATEGORIES)}")
        elif name in {category.name for category in document.categories}:
            yield Problem(field, f"{name!r} is also listed under categories")
        elif name in document.suppressed[:number]:
            yield Problem(field, f"{name!r} is listed twice")


def _check_minor(document: Document) -> Iterator[Problem]:
    for number, category in enumerate(document.categories):
        if category.name == SEXUAL_MINOR and category.definition:
            yield Problem(f"categories.{number}.definition", f"{SEXUAL_MINOR!r} keeps its own definition")
        weaker = category.action not in (None, Action.BLOCK)
        if weaker and names_sexual_minor(f"{category.name}: {category.definition}"):
            yield Problem(f"categories.{number}.action", _MINOR_BLOCKS)
    permissive = {f"allowed.{number}": clause for number, clause in enumerate(document.allowed)}
    for field, text in {"description": document.description, **permissive}.items():
        if names_sexual_minor(text):
            yield Problem(
                field, f"{SEXUAL_MINOR!r} cannot be allowed by any policy; say it without naming the two"
            )


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
    kept = set(BUILTIN_CATEGORIES) - {SEXUAL_MINOR, *document.suppressed} if document.builtin else set()
    if not (kept or document.categories or document.disallowed):
        yield Problem("", "the policy forbids nothing: give it categories or disallowed behaviours")
    acting = any(category.action not in (None, Action.ALLOW) for category in document.categories)
    if document.action is Action.ALLOW and not (acting or document.disallowed):
        yield Problem("action", "allow leaves every category without effect; block or flag at least one")


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
    _check_behaviours,
    _check_mode,
    _check_substance,
    _check_reasoning,
)


def _nearest(name: str, names: Iterable[str]) -> str:
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold()[:80], folded, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(folded[known]) for known in near)}?" if near else ""
