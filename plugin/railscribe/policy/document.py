"""The policy document: what may be written, and what it means once read.

Rules

1. Unknown fields, unknown built-in names and contradictions are errors with the field and a hint; nothing is
   guessed.
2. The built-in categories apply unless ``builtin: false``; ``suppressed`` takes single ones out. Listing a
   built-in under ``categories`` restates it with a definition or an action of its own.
3. ``Sexual (minor)`` is always in, always blocks, and can be neither suppressed, allowed, redefined nor
   softened, under whatever name, by no action, threshold or parent.
4. A policy that would tell the model nothing, or act on nothing, does not compile. What no document may say, no
   policy built or changed in code may either.
5. The digest is that of the canonical document: every field, defaults filled in, sorted keys, no white space.
   A field that came later counts only where it is set, so that no older document changes its digest.
   What a category inherits is filled in as if it were written.
6. What the model reads is plain lines: no line break and no marker of the chat template inside a text, so a
   document cannot forge a section of its own rendering.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from railscribe.errors import PolicyError
from railscribe.policy.checks import Problem, problems
from railscribe.policy.diagnostics import placed
from railscribe.policy.families import HIGHEST_FOR_MINOR, Families
from railscribe.policy.schema import Document
from railscribe.reasoning import Band, ReasoningPlan
from railscribe.taxonomy import SEXUAL_MINOR, SEXUAL_MINOR_DEFINITION, names_sexual_minor
from railscribe.values import Action, Direction, Side, Stage

_APPLIES = {
    Direction.INPUT: "input",
    Direction.RETRIEVAL: "input",
    Direction.OUTPUT: "output",
    Direction.TOOL_OUTPUT: "tools",
    Direction.TOOL_INPUT: "tools",
}
MAX_BYTES = 256 * 1024
"""How large a policy may be, written down. No model reads so much with care."""
_ADDED = ("reasoning", "review_band", "threshold", "languages", "applies_to", "refusals", "wait_for")
_ADDED_TO_CATEGORIES = ("parent", "threshold", "examples", "refusals")

ByLanguage = tuple[tuple[str, str], ...]
"""Texts by language, sorted by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyCategory:
    """One category a policy knows."""

    name: str
    definition: str | None
    action: Action
    parent: str | None = None
    threshold: float | None = None
    """The score from which it acts, its own or inherited; ``None``: it acts when the model names it."""
    examples: tuple[str, ...] = ()
    """Never rendered."""
    refusals: ByLanguage = ()


class _SaidOnce:
    """What a policy keeps of itself: it never changes, and every check asks for it. No fields, so it is not said."""

    __slots__ = ("_canonical", "_digest")
    _canonical: str
    _digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_SaidOnce):
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
    reasoning: ReasoningPlan | None = None
    """When the model is asked to think; ``None`` leaves it to the settings."""
    review_band: Band | None = None
    """Scores at which what would be allowed is flagged."""
    threshold: float | None = None
    """The score from which a side counts as unsafe; ``None`` goes by the model's label."""
    languages: tuple[str, ...] = ()
    applies_to: tuple[str, ...] | None = None
    """Of input, output and tools; ``None``: all of them."""
    refusals: ByLanguage = ()
    wait_for: Stage | None = None
    """How safe a record must be before its decision is released; ``None`` leaves it to rail and settings."""

    def __post_init__(self) -> None:
        # What holds for a document holds for a policy built or changed in code as well, rule 3 above all.
        floor = self.category(SEXUAL_MINOR)
        if (
            floor is None
            or (floor.definition, floor.action) != (SEXUAL_MINOR_DEFINITION, Action.BLOCK)
            or (floor.threshold or 0.0) > HIGHEST_FOR_MINOR
        ):
            raise PolicyError(f"{SEXUAL_MINOR!r} belongs to every policy, as it is defined, and blocks.")
        read, found = problems(_as_document(self))
        if read is not None and set(Families.of(read).names) != {each.name for each in self.categories}:
            found.append(Problem("categories", "are not those that builtin and suppressed leave"))
        if found:
            raise PolicyError("No policy can say this:\n" + _told(found, {}))

    def canonical(self) -> str:
        """Return the document as canonical JSON (rule 5)."""
        try:
            return self._canonical
        except AttributeError:
            said = _said(asdict(self), _ADDED)
            said["categories"] = [_said(category, _ADDED_TO_CATEGORIES) for category in said["categories"]]
            text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            object.__setattr__(self, "_canonical", text)
            return text

    @property
    def digest(self) -> str:
        """SHA-256 of :meth:`canonical`, hex."""
        try:
            return self._digest
        except AttributeError:
            digest = hashlib.sha256(self.canonical().encode()).hexdigest()
            object.__setattr__(self, "_digest", digest)
            return digest

    def sides(self, direction: Direction) -> tuple[Side, ...]:
        """Return the sides a rail in *direction* decides on."""
        return self.input_sides if direction.to_the_model else self.output_sides

    def category(self, name: str) -> PolicyCategory | None:
        """Return the category called *name*."""
        return next((category for category in self.categories if category.name == name), None)

    def applies(self, direction: Direction) -> bool:
        """Return whether a rail in *direction* may decide by this policy; retrieved text counts as input."""
        return self.applies_to is None or _APPLIES[direction] in self.applies_to

    @property
    def scores_categories(self) -> bool:
        """Whether it can only be decided with a score for each of its categories."""
        return any(category.threshold is not None for category in self.categories)

    def line(self, category: PolicyCategory) -> tuple[PolicyCategory, ...]:
        """Return *category*, its parent, and so on up."""
        line = [category]
        while (above := self.category(line[-1].parent or "")) is not None and above not in line:
            line.append(above)
        return tuple(line)

    def acts_when_named(self, category: PolicyCategory) -> bool:
        """Return whether *category* acts on the model's naming it alone, whatever its score.

        So does one whose parent does, where its threshold can only tighten, and ``Sexual (minor)``.
        """
        return any(
            one.threshold is None or names_sexual_minor(f"{one.name}: {one.definition}")
            for one in self.line(category)
        )


def parse_policy(document: Mapping[str, Any], *, lines: Mapping[str, int] | None = None) -> Policy:
    """Read *document*, as YAML or JSON gives it, as a policy.

    *lines* tells where each field stands, by its dotted path ("categories.0.name"), for the messages.

    Raises:
        PolicyError: with every field that cannot be read in one message, a line each; or, where all can be, with
            everything that they contradict.
    """
    read, found = problems(document)
    if read is None or found:
        raise PolicyError(_told(found, lines or {}))
    return _freeze(read)


def _told(found: Iterable[Problem], lines: Mapping[str, int]) -> str:
    return "\n".join(placed(problem.field, lines) + problem.message for problem in found)


def _freeze(document: Document) -> Policy:
    families = Families.of(document)
    return Policy(
        name=document.name,
        version=document.version,
        description=document.description,
        mode=document.mode,
        categories=tuple(_category(name, families) for name in families.names),
        builtin=document.builtin,
        suppressed=tuple(document.suppressed),
        disallowed=tuple(document.disallowed),
        allowed=tuple(document.allowed),
        unlisted_action=document.unlisted_action,
        input_sides=_ordered(document.sides.input),
        output_sides=_ordered(document.sides.output),
        refusal=document.refusal,
        reasoning=None if document.reasoning is None else document.reasoning.plan(),
        review_band=document.review_band,
        threshold=document.threshold,
        languages=tuple(sorted(document.languages)),
        applies_to=None if document.applies_to is None else tuple(sorted(set(document.applies_to))),
        refusals=_by_language(document.refusals),
        wait_for=document.wait_for,
    )


def _as_document(policy: Policy) -> dict[str, Any]:
    """Return *policy* as a document that says the same, with what is inherited written out."""
    said: dict[str, Any] = json.loads(policy.canonical())
    said["sides"] = {"input": said.pop("input_sides"), "output": said.pop("output_sides")}
    for category in said["categories"]:
        if category["name"] == SEXUAL_MINOR:
            category["definition"] = None  # its own, which no document gives
    if policy.reasoning is not None:
        said["reasoning"]["for"] = said["reasoning"].pop("applies_to")
    return said


def _category(name: str, families: Families) -> PolicyCategory:
    written = families.written.get(name)
    definition = written.definition if written else None
    return PolicyCategory(
        name=name,
        definition=SEXUAL_MINOR_DEFINITION if name == SEXUAL_MINOR else definition,
        action=families.action(name),
        parent=families.parent(name),
        threshold=families.threshold(name),
        examples=tuple(written.examples) if written else (),
        refusals=_by_language(written.refusals) if written else (),
    )


def _by_language(texts: Mapping[str, str]) -> ByLanguage:
    return tuple(sorted(texts.items()))


def _said(fields: dict[str, Any], added: tuple[str, ...]) -> dict[str, Any]:
    """Return *fields* without those of *added* that are not set (rule 5), texts by language as such."""
    return {
        name: dict(value) if name == "refusals" else value
        for name, value in fields.items()
        if name not in added or (value is not None and value != ())
    }


def _ordered(sides: list[Side]) -> tuple[Side, ...]:
    return tuple(side for side in Side if side in sides)
