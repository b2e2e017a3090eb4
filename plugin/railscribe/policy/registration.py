"""A policy with what it was made from: its sources, where each clause stands, what was said of it. Pure.

Rules

1. A registration is identified by what it says: the same files, compiled alike, are one registration.
2. Places are as the author knows them (:mod:`railscribe.policy.diagnostics`).
3. A policy comes back from its canonical document exactly, or not at all: its digest vouches for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from railscribe.errors import PolicyError
from railscribe.policy.diagnostics import Clause, Diagnostic, Source, line_of
from railscribe.policy.document import Policy, PolicyCategory
from railscribe.reasoning import ReasoningFor, ReasoningPlan
from railscribe.values import Action, Reasoning, Side

COMPILER = "documents 1"
"""What made policies of documents: raised when the same document comes to mean something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file as it was compiled."""

    file: str
    """Relative, with forward slashes."""
    text: str

    @property
    def digest(self) -> str:
        """SHA-256 of the text in UTF-8, hex."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What is put into the registry of a policy."""

    policy: Policy
    sources: tuple[SourceFile, ...] = ()
    clauses: tuple[Clause, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    allowances: tuple[str, ...] = ()
    """Errors that somebody took on, as ``CODE`` or ``CODE@file:line``."""
    compiler: str = COMPILER

    def digest(self, railscribe_version: str) -> str:
        """Return what identifies it, compiled by *railscribe_version* (rule 1)."""
        said = {
            "policy": self.policy.digest,
            "sources": [(source.file, source.digest) for source in self.sources],
            "clauses": [asdict(clause) for clause in self.clauses],
            "diagnostics": [asdict(diagnostic) for diagnostic in self.diagnostics],
            "allowances": self.allowances,
            "compiler": (self.compiler, railscribe_version),
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def document_clauses(
    policy: Policy, document: Mapping[str, Any], *, lines: Mapping[str, int], file: str
) -> Iterator[Clause]:
    """Yield what *policy* says, each clause with its place in *document*, which it was read from."""

    def source(path: str) -> Source | None:
        return Source(file=file, line=line_of(path, lines), construct=path)

    yield Clause(kind="description", text=policy.description, source=source("description"))
    written: Sequence[Any] = document.get("categories") or []
    places = {_name(category): f"categories.{number}" for number, category in enumerate(written)}
    for category in policy.categories:
        place = places.get(category.name)
        yield Clause(kind="category", text=category_text(category), source=source(place) if place else None)
    for number, text in enumerate(policy.disallowed):
        yield Clause(kind="disallowed", text=text, source=source(f"disallowed.{number}"))
    for number, text in enumerate(policy.allowed):
        yield Clause(kind="allowed", text=text, source=source(f"allowed.{number}"))


def category_text(category: PolicyCategory) -> str:
    """Return *category* as a clause: its name, and its definition where it has one."""
    return f"{category.name}: {category.definition}" if category.definition else category.name


def belongs(name: str, kind: str, text: str) -> bool:
    """Whether *name*, that of a category or the model's words for a behaviour, is that of the clause *text*."""
    if kind == "category":
        text = text.partition(": ")[0]
    return kind != "description" and text.casefold() == name.casefold()


def policy_of(canonical: str) -> Policy:
    """Return the policy whose :meth:`~railscribe.policy.Policy.canonical` is *canonical* (rule 3).

    Raises:
        PolicyError: it is none that this version of Railscribe can read.
    """
    try:
        policy = _policy(json.loads(canonical))
    except (ValueError, TypeError, KeyError, AttributeError):
        policy = None
    if policy is None or policy.canonical() != canonical:
        raise PolicyError(
            "The policy's document is not one that this version of Railscribe reads.",
            hint="Another version wrote it: register the policy's source anew, or upgrade.",
        )
    return policy


def _name(category: Any) -> str:
    name = category.get("name") if isinstance(category, Mapping) else category
    return str(name).strip()


def _policy(fields: dict[str, Any]) -> Policy:
    reasoning = fields.get("reasoning")
    read: dict[str, Any] = {
        **_tuples(fields),
        "categories": tuple(_category(category) for category in fields["categories"]),
        "unlisted_action": Action(fields["unlisted_action"]),
        "input_sides": tuple(map(Side, fields["input_sides"])),
        "output_sides": tuple(map(Side, fields["output_sides"])),
        "reasoning": None if reasoning is None else _reasoning(reasoning),
    }
    return Policy(**read)


def _category(fields: dict[str, Any]) -> PolicyCategory:
    return PolicyCategory(**{**_tuples(fields), "action": Action(fields["action"])})


def _reasoning(fields: dict[str, Any]) -> ReasoningPlan:
    return ReasoningPlan(
        **{
            **fields,
            "mode": Reasoning(fields["mode"]),
            "applies_to": ReasoningFor(fields["applies_to"]),
        }
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Return *fields* with JSON's lists as tuples, and texts by language as pairs."""
    read: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    if "refusals" in read:
        read["refusals"] = tuple(sorted(read["refusals"].items()))
    return read
