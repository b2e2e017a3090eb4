"""Tests for a policy: texts, and what it should make of them (what came is for :mod:`railscribe.policy.results`).

Rules

1. A file of cases names a policy and lists cases; a case has a text and what is expected of it. With a response it is
   the response that is decided on, as an output rail does. Only what is written down is compared: a case may ask for
   a decision alone, a side's label, a category, or all of them.
2. Every category must be one of the policy's, and every guard that a known failure is noted for, one that there is.
3. Every mistake in a file is named with its line; nothing is skipped. A field that is there and holds nothing is a
   mistake: its author meant something. So is a picture that is not there; one that cannot be decoded is for the
   guard, which is undecided about it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from railscribe.errors import PolicyError
from railscribe.misfits import misfits, nearest
from railscribe.policy.diagnostics import placed
from railscribe.policy.document import Policy
from railscribe.settings import EngineName
from railscribe.values import Label, Outcome

_GUARDS: tuple[str, ...] = get_args(EngineName)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a case asks for; ``None`` and empty ask for nothing."""

    user: Label | None
    response: Label | None
    categories: tuple[str, ...]
    decision: Outcome | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing a policy should get right."""

    name: str
    text: str
    response: str | None
    image: str | None
    """Its file, relative to the cases'."""
    expected: Expected
    reason: str | None
    known_failures: Mapping[str, str]
    """By the guard's name, why it gets this wrong."""
    line: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The cases of one file and the policy they test."""

    file: str
    policy: Policy
    cases: tuple[Case, ...]


def parse_suite(
    document: Any,
    *,
    file: str,
    policy: Callable[[str], Policy],
    is_there: Callable[[str], bool],
    lines: Mapping[str, int] | None = None,
) -> Suite:
    """Read *document*, as YAML or JSON gives it, as cases.

    *policy* finds the policy that it names, *is_there* tells whether a picture that a case names is there.

    Raises:
        PolicyError: it holds no cases; every mistake is named, with its line where *lines* tells it.
    """
    if not isinstance(document, dict):
        raise PolicyError(f"{file} does not hold cases.", hint="Its top level must be policy: and cases:.")
    lines = lines or {}
    try:
        written = _Suite.model_validate(document)
    except ValidationError as error:
        found = [(field, message) for field, message, _ in misfits(error, _Suite)]
        raise PolicyError(_told(found, file, lines)) from None
    under = policy(written.policy)
    if found := list(_mistakes(written, under, is_there)):
        raise PolicyError(_told(found, file, lines))
    cases = (_case(case, lines.get(f"cases.{number}")) for number, case in enumerate(written.cases))
    return Suite(file=file, policy=under, cases=tuple(cases))


def _told(found: Iterable[tuple[str, str]], file: str, lines: Mapping[str, int]) -> str:
    return "\n".join(f"{file}: {placed(field, lines)}{message}" for field, message in found)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _filled(value: object) -> object:
    if value is None or value == [] or (isinstance(value, str) and not value.strip()):
        raise ValueError("is empty; write something there, or leave the field out")
    return value


class _Expected(_Strict):
    user: Label | None = None
    response: Label | None = None
    category: Annotated[list[str], BeforeValidator(_listed)] = []
    decision: Outcome | None = None

    _no_blank = field_validator("*", mode="before")(_filled)

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("expects nothing: give decision, user, response or category")
        return self


class _Case(_Strict):
    name: str = Field(min_length=1)
    text: str
    response: str | None = None
    image: str | None = None
    expect: _Expected
    reason: str | None = None
    known_failure: dict[str, Annotated[str, BeforeValidator(_filled)]] = {}

    _no_blank = field_validator("image", "known_failure", mode="before")(_filled)

    @field_validator("response", mode="before")
    @classmethod
    def _written(cls, response: object) -> object:
        return _filled(response) if response is None else response  # "" is a response without words

    @model_validator(mode="after")
    def _judgeable(self) -> Self:
        if self.response is None and self.expect.response:
            raise ValueError("expects something of a response and has none")
        return self


class _Suite(_Strict):
    policy: str
    cases: list[_Case] = Field(min_length=1)


def _mistakes(written: _Suite, policy: Policy, is_there: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield what of *written* cannot be met, each with its field."""
    seen: set[str] = set()
    for number, case in enumerate(written.cases):
        field = f"cases.{number}"
        if case.name in seen:
            yield f"{field}.name", f"{case.name!r} is the name of two cases"
        seen.add(case.name)
        if case.image is not None and not is_there(case.image):
            yield f"{field}.image", f"there is no file {case.image!r} beside the cases"
        for name in case.expect.category:
            if policy.category(name) is None:
                near = nearest(name, [known.name for known in policy.categories])
                yield (
                    f"{field}.expect.category",
                    f"{name!r} is no category of the policy {policy.name!r}{near}",
                )
        for name in case.known_failure:
            if name not in _GUARDS:
                yield (
                    f"{field}.known_failure.{name}",
                    f"there is no guard {name!r}; there are {', '.join(_GUARDS)}",
                )


def _case(written: _Case, line: int | None) -> Case:
    expect = written.expect
    return Case(
        name=written.name,
        text=written.text,
        response=written.response,
        image=written.image,
        expected=Expected(
            user=expect.user,
            response=expect.response,
            categories=tuple(expect.category),
            decision=expect.decision,
        ),
        reason=written.reason,
        known_failures=written.known_failure,
        line=line,
    )
