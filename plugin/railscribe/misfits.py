"""What pydantic finds wrong, in sentences for people who write policies and settings. Pure.

Rules

1. A sentence says what must stand there, in the words of the file: neither pydantic's nor those of our classes.
2. What was written is not quoted: a setting may be a password.
3. A name that is not known is told with the nearest that there is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_Place = Sequence[int | str]
_SAID = {
    "missing": "is missing",
    "string_type": "must be text; put it in quotes",  # YAML reads 1.10 as 1.1 and no as false
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters at most",
    "string_unicode": "holds half a character, which cannot be stored",
    "list_type": "must be a list; write each item after '- '",
    "tuple_type": "must be a list; write each item after '- '",
    "dict_type": "must be names with a value each, such as 'name: value'",
    "too_short": "must have {min_length} items or more",
    "too_long": "must have {max_length} items at most",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "path_type": "must be a path",
}
_QUOTED = r"'([^']*)'"
_MODEL = ("model_type", "model_attributes_type")


class Misfit(NamedTuple):
    """One value that does not fit."""

    field: str
    """Its dotted path; empty for the whole."""
    message: str
    type: str
    """Pydantic's name for what is wrong, or that of an error of our own."""


def misfits(error: ValidationError, model: type[BaseModel]) -> Iterator[Misfit]:
    """Yield what *error* says of a document read as *model*, in its order."""
    for problem in error.errors(include_url=False):
        field = ".".join(map(str, problem["loc"]))
        yield Misfit(field, _said(problem, model), problem["type"])


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message that asks whether the nearest of *names* was meant, if any is near."""
    folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold()[:80], folded, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(folded[known]) for known in near)}?" if near else ""


def _said(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, place, given = problem["type"], problem["loc"], problem.get("input")
    limits: Mapping[str, Any] = problem.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"no such field{nearest(str(place[-1]), _fields(_inside(model, place[:-1])))}"
    if kind in ("missing", "value_error"):
        return _SAID.get(kind) or problem["msg"].removeprefix("Value error, ")
    if given is None or limits.get("min_length") == 1:
        return "is empty"
    if kind in ("enum", "literal_error"):
        expected = str(limits["expected"])
        return f"must be {expected}{nearest(str(given), re.findall(_QUOTED, expected))}"
    if kind in _MODEL:
        return f"must be written as fields, such as '{_example(_inside(model, place), given)}: ...'"
    if kind == "string_type" and isinstance(given, list):
        return "must be one text, not a list"
    return _SAID[kind].format(**limits) if kind in _SAID else _plain(problem["msg"])


def _plain(message: str) -> str:
    """Return one of pydantic's own messages, or of our errors', without its beginning."""
    return message.replace("Input should be", "must be")


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of *model* by the names that a document has for them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _inside(model: type[BaseModel], place: _Place) -> type[BaseModel]:
    """Return the innermost model that *place* of a document read as *model* lies in."""
    for part in place:
        field = _fields(model).get(str(part))
        if field is not None:
            model = next((kind for kind in _kinds(field.annotation) if _is_model(kind)), model)
    return model


def _example(model: type[BaseModel], given: object) -> str:
    """Return the field of *model* that was probably meant by *given* alone: the one it needs, or that may be that."""
    fields = _fields(model)
    needed = [name for name, field in fields.items() if field.is_required()]
    fitting = [name for name, field in fields.items() if given in _choices(field.annotation)]
    return next(iter([*needed, *fitting, *fields]))


def _choices(annotation: Any) -> list[object]:
    """Return the words that *annotation* lists."""
    return [
        choice.value if isinstance(choice, Enum) else choice
        for kind in _kinds(annotation)
        for choice in (get_args(kind) if get_origin(kind) is Literal else kind if _is_enum(kind) else ())
    ]


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield *annotation* and every kind of value inside it."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from _kinds(part)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)
