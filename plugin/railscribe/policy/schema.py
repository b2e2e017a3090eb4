"""What a policy document may say: its fields.

What they may not say together is for :mod:`railscribe.policy.checks`. The descriptions are what an editor shows,
through the JSON Schema that is made of these models.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from typing_extensions import Self

from railscribe.policy.fields import (
    CategoryName,
    Languages,
    Line,
    Share,
    Slug,
    Text,
    TextsByLanguage,
    Version,
)
from railscribe.reasoning import Band, ReasoningFor, ReasoningPlan
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR
from railscribe.values import Action, Reasoning, Side, Stage

AppliesTo = Literal["input", "output", "tools"]
_SUPPRESSIBLE = [name for name in BUILTIN_CATEGORIES if name != SEXUAL_MINOR]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True)


class DocumentCategory(_Strict):
    """A category: its name alone, or with what it means and what is done about it."""

    name: CategoryName
    """What the model answers with. A built-in category's name restates that one."""
    definition: Line | None = None
    """What belongs to it, in a line that the model reads."""
    action: Action | None = None
    """What is done about it; its parent's, or else the policy's, where it says nothing."""
    parent: str | None = None
    """The category of this policy whose action and threshold it inherits, and may only tighten."""
    threshold: Share | None = None
    """The score from which it acts, instead of when the model names it. Needs an engine in process."""
    examples: list[Text] = []
    """For people and tests. Never shown to the model, which would echo them."""
    refusals: TextsByLanguage = {}
    """What the user is told where it decides, by language."""


class DocumentSides(_Strict):
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


class DocumentReasoning(_Strict):
    """When the model is asked to think."""

    mode: Annotated[
        Reasoning,
        BeforeValidator(_mode),
        WithJsonSchema({"enum": [*(mode.value for mode in Reasoning), False]}),
    ]
    applies_to: ReasoningFor = Field(default=ReasoningFor.ALL, alias="for")
    sample: float | None = Field(default=None, gt=0, le=1)

    def plan(self) -> ReasoningPlan:
        return ReasoningPlan(mode=self.mode, applies_to=self.applies_to, sample=self.sample)


def _rising(band: Band) -> Band:
    if not 0 <= band[0] < band[1] <= 1:
        raise ValueError("is two scores between 0 and 1, the lower first, such as [0.3, 0.7]")
    return band


class Document(_Strict):
    """A policy of Railscribe (docs/policy-document.md)."""

    name: Slug
    """What it is called, wherever a policy is chosen."""
    version: Version
    """The author's own count; what identifies a policy is its digest."""
    description: Line
    """What it is for, in a line that the model may read."""
    languages: Languages = []
    """The languages that it is written for, as two-letter codes of ISO 639-1."""
    applies_to: (
        Annotated[list[AppliesTo], Field(min_length=1, json_schema_extra={"uniqueItems": True})] | None
    ) = None
    """What it may be asked about. A rail of another direction refuses. Without it: everything."""
    mode: Literal["auto", "policy", "taxonomy", "builtin"] = "auto"
    """How it travels to the model; auto takes the plainest that can carry it."""
    builtin: bool = True
    """Whether the model's own categories apply."""
    suppressed: list[Annotated[str, Field(json_schema_extra={"enum": _SUPPRESSIBLE})]] = []
    """Built-in categories that do not."""
    categories: list[DocumentCategory] = []
    """Categories of the policy's own, and built-in ones that it restates."""
    disallowed: list[Line] = []
    """Behaviours that are not to be."""
    allowed: list[Line] = []
    """Behaviours that are fine although they sound like what is not."""
    action: Action = Action.BLOCK
    """What is done about a category that does not say."""
    unlisted_action: Annotated[Action, Field(json_schema_extra={"enum": ["block", "flag"]})] = Action.BLOCK
    """What is done about an unsafe verdict that names no category of this policy."""
    sides: DocumentSides = DocumentSides()
    """Which sides each rail decides on."""
    refusal: str = Field(default="I'm sorry, I can't help with that.", min_length=1)
    """What the user is told where nothing more fitting is known."""
    refusals: TextsByLanguage = {}
    """The same by language."""
    reasoning: DocumentReasoning | None = None
    """When the model is asked to think."""
    review_band: Annotated[Band, AfterValidator(_rising)] | None = None
    """Two scores: what would be allowed with one between them is flagged."""
    threshold: Share | None = None
    """The score from which a side counts as unsafe, instead of the model's label."""
    wait_for: Annotated[Stage, Field(json_schema_extra={"enum": [stage.value for stage in Stage]})] | None = (
        None
    )
    """How safe a record must be before its decision is released; without it, as the settings say."""
