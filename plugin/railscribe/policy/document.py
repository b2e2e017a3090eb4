"""The policy document: what may be written, and what it means once read.

Rules

1. Unknown fields, unknown built-in names and contradictions are errors with the field and a hint; nothing is
   guessed.
2. The built-in categories apply unless ``builtin: false``; ``suppressed`` takes single ones out. Listing a
   built-in under ``categories`` restates it with a definition or an action of its own.
3. ``Sexual (minor)`` is always in, always blocks, and can be neither suppressed, allowed nor softened.
4. A policy that would tell the model nothing does not compile.
5. The digest is that of the canonical document: every field, defaults filled in, sorted keys, no white space.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from railscribe.errors import PolicyError
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, SEXUAL_MINOR_DEFINITION
from railscribe.values import Action, Direction, Side

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCategory:
    """One category a policy knows."""

    name: str
    definition: str | None
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, checked. Its tuples are in document order."""

    name: str
    version: str
    description: str
    mode: Literal["auto", "policy", "taxonomy", "builtin"]
    categories: tuple[PolicyCategory, ...]
    """The built-in ones that apply, then the policy's own; ``Sexual (minor)`` always among them."""
    builtin: bool
    suppressed: tuple[str, ...]
    disallowed: tuple[str, ...]
    allowed: tuple[str, ...]
    unlisted_action: Action
    """For an unsafe verdict that names no category of this policy."""
    input_sides: tuple[Side, ...]
    output_sides: tuple[Side, ...]
    refusal: str

    def canonical(self) -> str:
        """Return the document as canonical JSON (rule 5)."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`canonical`, hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def sides(self, direction: Direction) -> tuple[Side, ...]:
        """Return the sides a rail in *direction* decides on."""
        return self.input_sides if direction is Direction.INPUT else self.output_sides

    def category(self, name: str) -> PolicyCategory | None:
        """Return the category called *name*."""
        return next((category for category in self.categories if category.name == name), None)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class _Category(_Strict):
    name: str = Field(min_length=1, max_length=80)
    definition: str | None = Field(default=None, min_length=1)
    action: Action | None = None

    @field_validator("name")
    @classmethod
    def _speakable(cls, name: str) -> str:
        # The model answers with a comma-separated list on one line, so neither may be part of a name.
        if "," in name or "\n" in name:
            raise ValueError("a category name holds no comma and no line break: the model separates names by them")
        return name


class _Sides(_Strict):
    """Which sides each rail decides on; the output rail may be widened to the user's side, and vice versa."""

    input: list[Side] = [Side.USER]
    output: list[Side] = [Side.RESPONSE]

    @model_validator(mode="after")
    def _only_widened(self) -> Self:
        if Side.USER not in self.input:
            raise ValueError("input: must hold 'user'; a policy widens the sides, it does not swap them")
        if Side.RESPONSE not in self.output:
            raise ValueError("output: must hold 'response'; a policy widens the sides, it does not swap them")
        return self


class _Document(_Strict):
    name: str
    version: str = Field(min_length=1, max_length=50)
    description: str = Field(min_length=1)
    mode: Literal["auto", "policy", "taxonomy", "builtin"] = "auto"
    builtin: bool = True
    suppressed: list[str] = []
    categories: list[_Category] = []
    disallowed: list[str] = []
    allowed: list[str] = []
    action: Action = Action.BLOCK
    unlisted_action: Action = Action.BLOCK
    sides: _Sides = _Sides()
    refusal: str = Field(default="I'm sorry, I can't help with that.", min_length=1)

    @field_validator("version", mode="before")
    @classmethod
    def _version_is_text(cls, version: object) -> object:
        # YAML reads `version: 1.0` as a number, and 1.10 as 1.1.
        if isinstance(version, (int, float)) and not isinstance(version, bool):
            raise ValueError('write the version in quotes, such as "1.0"')  # noqa: TRY004 - pydantic wants it
        return version

    @field_validator("name")
    @classmethod
    def _name_is_slug(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("use lower-case letters, digits, '.', '_' and '-', such as dev-tools-assistant")
        return name

    @field_validator("disallowed", "allowed")
    @classmethod
    def _one_line_each(cls, clauses: list[str]) -> list[str]:
        if any(not clause or "\n" in clause for clause in clauses):
            raise ValueError("each behaviour is one line of text, and none is empty")
        return clauses

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        self._check_names()
        self._check_minor()
        if self.unlisted_action is Action.ALLOW:
            raise ValueError("unlisted_action: may be block or flag; an unsafe verdict is not allowed unnamed")
        if self.mode == "builtin" and (self.disallowed or self.allowed or self._own() or self.suppressed or not self.builtin):
            raise ValueError("mode: builtin sends the model no text, so nothing may be added or taken out")
        if self.mode == "taxonomy" and self.disallowed:
            raise ValueError("mode: taxonomy has no place for 'disallowed'; write each as a category")
        if not (self.builtin or self.categories or self.disallowed):
            raise ValueError("the policy forbids nothing: give it categories or disallowed behaviours")
        return self

    def _own(self) -> list[_Category]:
        return [category for category in self.categories if category.name not in BUILTIN_CATEGORIES]

    def _check_names(self) -> None:
        seen: set[str] = set()
        for category in self.categories:
            if category.name.casefold() in seen:
                raise ValueError(f"categories: {category.name!r} is listed twice")
            seen.add(category.name.casefold())
            near = [name for name in BUILTIN_CATEGORIES if name.casefold() == category.name.casefold()]
            if near and category.name not in near:
                raise ValueError(f"categories: write the built-in category as {near[0]!r}")
        for name in self.suppressed:
            if name not in BUILTIN_CATEGORIES:
                raise ValueError(f"suppressed: {name!r} is no built-in category{_nearest(name, BUILTIN_CATEGORIES)}")
            if name in {category.name for category in self.categories}:
                raise ValueError(f"suppressed: {name!r} is also listed under categories")

    def _check_minor(self) -> None:
        if SEXUAL_MINOR in self.suppressed:
            raise ValueError(f"suppressed: {SEXUAL_MINOR!r} cannot be suppressed by any policy")
        for category in self.categories:
            if category.name == SEXUAL_MINOR and category.action not in (None, Action.BLOCK):
                raise ValueError(f"categories: {SEXUAL_MINOR!r} always blocks")
        for clause in self.allowed:
            if re.search(r"sexual\s*\(?\s*minor", clause, re.IGNORECASE):
                raise ValueError(f"allowed: {SEXUAL_MINOR!r} cannot be allowed by any policy")

    def freeze(self) -> Policy:
        restated = {category.name: category for category in self.categories}
        names = [name for name in BUILTIN_CATEGORIES if self.builtin and name not in self.suppressed]
        names += [name for name in restated if name not in names]
        if SEXUAL_MINOR not in names:
            names.append(SEXUAL_MINOR)
        return Policy(
            name=self.name,
            version=self.version,
            description=self.description,
            mode=self.mode,
            categories=tuple(self._category(name, restated.get(name)) for name in names),
            builtin=self.builtin,
            suppressed=tuple(self.suppressed),
            disallowed=tuple(self.disallowed),
            allowed=tuple(self.allowed),
            unlisted_action=self.unlisted_action,
            input_sides=_ordered(self.sides.input),
            output_sides=_ordered(self.sides.output),
            refusal=self.refusal,
        )

    def _category(self, name: str, restated: _Category | None) -> PolicyCategory:
        definition = restated.definition if restated else None
        action = (restated.action if restated else None) or self.action
        if name == SEXUAL_MINOR:
            definition, action = definition or SEXUAL_MINOR_DEFINITION, Action.BLOCK
        return PolicyCategory(name=name, definition=definition, action=action)


def parse_policy(document: Mapping[str, Any]) -> Policy:
    """Read *document*, as YAML or JSON gives it, as a policy.

    Raises:
        PolicyError: with every problem in one message, each with its field.
    """
    try:
        return _Document.model_validate(dict(document)).freeze()
    except ValidationError as error:
        raise PolicyError("; ".join(_problems(error))) from None


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"no such field{_nearest(str(problem['loc'][-1]), list(_Document.model_fields))}"
        yield f"{where}: {message}" if where else message


def _nearest(name: str, names: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def _ordered(sides: list[Side]) -> tuple[Side, ...]:
    return tuple(side for side in Side if side in sides)
