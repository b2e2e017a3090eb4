"""What a compile gives: the policy with the source of every clause, or what stands in its way.

Rules

1. A compile has failed if an error was not allowed, or there is no policy. A failed one is not to be used.
2. An allowance names a code, or a code at a place: ``C110`` or ``C110@rails/flows.co:12``. Those that were made use of
   are kept with the policy. What says that there is no policy cannot be allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from railscribe.errors import UsageError
from railscribe.policy.diagnostics import Clause, Diagnostic, Severity
from railscribe.policy.document import Policy
from railscribe.policy.render import render

UNALLOWABLE = frozenset({"C001", "C002", "C005"})
_ALLOWANCE = re.compile(r"^(?P<code>[CL]\d{3})(?:@(?P<file>[^:]+)(?::(?P<line>\d+))?)?$")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Allowance:
    """An error that somebody has looked at and takes on (rule 2)."""

    code: str
    file: str | None = None
    line: int | None = None

    def covers(self, diagnostic: Diagnostic) -> bool:
        """Whether *diagnostic* is what is allowed."""
        return (
            diagnostic.code == self.code
            and self.file in (None, diagnostic.file)
            and self.line in (None, diagnostic.line)
        )

    def __str__(self) -> str:
        return self.code + (f"@{self.file}" if self.file else "") + (f":{self.line}" if self.line else "")


def parse_allowances(written: Iterable[str]) -> tuple[Allowance, ...]:
    """Return the allowances *written* as ``CODE`` or ``CODE@file:line``, sorted.

    Raises:
        UsageError: one of them is neither, or names what cannot be allowed.
    """
    found = set()
    for text in written:
        match = _ALLOWANCE.match(text)
        if not match:
            raise UsageError(f"{text!r} allows nothing.", hint="Give a code such as C110, or C110@file:line.")
        if match["code"] in UNALLOWABLE:
            raise UsageError(f"{match['code']} cannot be allowed: it says that there is no policy.")
        line = int(match["line"]) if match["line"] else None
        found.add(Allowance(code=match["code"], file=match["file"], line=line))
    return tuple(sorted(found, key=lambda one: (one.code, one.file or "", one.line or 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The result of a compile."""

    name: str
    """What was compiled, by the name of its folder or file."""
    document: dict[str, Any] | None
    """The policy document, as YAML or JSON would give it."""
    policy: Policy | None
    clauses: tuple[Clause, ...]
    diagnostics: tuple[Diagnostic, ...]
    allowances: tuple[Allowance, ...]
    """Those that were made use of (rule 2)."""
    refused_intents: int = 0
    """User messages that a flow refuses."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The errors that nobody allowed."""
        return tuple(
            found
            for found in self.diagnostics
            if found.severity is Severity.ERROR and not any(one.covers(found) for one in self.allowances)
        )

    @property
    def failed(self) -> bool:
        """Whether there is no policy to use (rule 1)."""
        return self.policy is None or bool(self.errors)

    @property
    def text(self) -> str:
        """What the model reads, without thinking; empty where there is no policy."""
        return render(self.policy).text if self.policy else ""

    @property
    def mode(self) -> str | None:
        """The mode the policy travels in."""
        return render(self.policy).mode.value if self.policy else None

    def as_json(self) -> dict[str, Any]:
        """Return the stable shape that ``railscribe policy compile --json`` prints."""
        return {
            "digest": self.policy.digest if self.policy else None,
            "text": self.text,
            "mode": self.mode,
            "ok": not self.failed,
            "clauses": [_clause(clause) for clause in self.clauses],
            "diagnostics": [self._diagnostic(found) for found in self.diagnostics],
            "allowances": [str(allowance) for allowance in self.allowances],
        }

    def _diagnostic(self, found: Diagnostic) -> dict[str, Any]:
        return {
            "code": found.code,
            "severity": found.severity.value,
            "message": found.message,
            "file": found.file,
            "line": found.line,
            "hint": found.hint,
            "allowed": any(one.covers(found) for one in self.allowances),
        }


def _clause(clause: Clause) -> dict[str, Any]:
    source = clause.source
    return {
        "kind": clause.kind,
        "text": clause.text,
        "source": {"file": source.file, "line": source.line, "construct": source.construct}
        if source
        else None,
        "examples": list(clause.examples),
    }
