"""A policy in the making: what the readers add to, and what a :class:`railscribe.policy.compiled.Compiled` is made of.

Rules

1. What is said twice is kept once, with the place that said it first.
2. What is forbidden anywhere is not allowed: the clause that allows it goes, and a warning says so.
3. A text that reads as structure of the model's template is broken as user content is, and a warning says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from railscribe.nemotron.neutralise import neutralise
from railscribe.policy.colang.wording import line as one_line
from railscribe.policy.diagnostics import Clause, Diagnostic, Severity, Source
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor

_BUILTIN = {name.casefold(): name for name in BUILTIN_CATEGORIES}
_LONGEST_NAME = 80


@dataclass(slots=True, kw_only=True)
class Draft:
    """Clauses and diagnostics, in the order in which they were found."""

    clauses: dict[tuple[str, str], Clause] = field(default_factory=dict)
    categories: dict[str, dict[str, Any]] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    builtin: bool = False
    refusals: dict[str, str] = field(default_factory=dict)
    """Texts of refusals, by the name of their message."""
    places: dict[str, Source] = field(default_factory=dict)
    """Where each field of one of our own documents stands, by its dotted path."""
    prompts_used: set[str] = field(default_factory=set)
    """The tasks of the prompts that a rail goes by."""
    refused_intents: int = 0
    name: str = ""
    version: str = ""

    def disallow(self, text: str, source: Source, examples: Iterable[str] = ()) -> None:
        """Add a behaviour that is not to be."""
        self._add("disallowed", text, source, examples)

    def allow(self, text: str, source: Source, examples: Iterable[str] = ()) -> None:
        """Add a behaviour that is fine."""
        if names_sexual_minor(text):
            self.say(
                "C004",
                Severity.ERROR,
                f"this would allow what names {SEXUAL_MINOR!r}, which no policy may",
                source,
                "Reword it without naming the two.",
            )
            return
        self._add("allowed", text, source, examples)

    def describe(self, text: str, source: Source) -> None:
        """Add to what the policy is for."""
        self._add("description", text, source, ())

    def category(
        self,
        name: str,
        source: Source,
        *,
        definition: str = "",
        action: str = "",
        examples: Iterable[str] = (),
    ) -> None:
        """Add a category; a built-in one under the spelling that the model uses."""
        plain = self._plain(name.replace(",", " and"), source)[:_LONGEST_NAME].strip()
        known = _BUILTIN.get(plain.casefold(), plain)
        if not known or known.casefold() in (other.casefold() for other in self.categories):
            return
        entry: dict[str, Any] = {"name": known}
        if definition and known != SEXUAL_MINOR:
            entry["definition"] = self._plain(definition, source)
        if action:
            entry["action"] = action
        self.categories[known] = entry
        text = f"{known}: {entry['definition']}" if "definition" in entry else known
        self.clauses["category", known.casefold()] = Clause(
            kind="category", text=text, source=source, examples=tuple(examples)
        )

    def say(
        self,
        code: str,
        severity: Severity,
        message: str,
        source: Source | None = None,
        hint: str | None = None,
    ) -> None:
        """Add a diagnostic at *source*."""
        self.diagnostics.append(
            Diagnostic(
                code=code,
                severity=severity,
                message=message,
                file=source.file if source else None,
                line=source.line if source else None,
                hint=hint,
            )
        )

    def settled(self) -> tuple[Clause, ...]:
        """Return the clauses, none both allowed and disallowed (rule 2)."""
        for kind, folded in list(self.clauses):
            if kind == "allowed" and ("disallowed", folded) in self.clauses:
                clause = self.clauses.pop((kind, folded))
                self.say(
                    "C117",
                    Severity.WARNING,
                    f"{clause.text!r} is both refused and answered; it is kept as refused",
                    clause.source,
                    "Say under which conditions it is allowed, as a behaviour of its own.",
                )
        return tuple(self.clauses.values())

    def _add(
        self,
        kind: Literal["disallowed", "allowed", "description"],
        text: str,
        source: Source,
        examples: Iterable[str],
    ) -> None:
        plain = one_line(self._plain(text, source))
        if plain:
            clause = Clause(kind=kind, text=plain, source=source, examples=tuple(dict.fromkeys(examples)))
            self.clauses.setdefault((kind, plain.casefold()), clause)

    def _plain(self, text: str, source: Source) -> str:
        flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
        broken = neutralise(flat)
        if broken.markers:
            self.say(
                "C003",
                Severity.WARNING,
                f"the text reads as structure of the model's template ({', '.join(broken.markers)}) and was broken",
                source,
                "Reword it.",
            )
        return broken.text
