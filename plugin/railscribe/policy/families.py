"""Which categories of a document apply, and what each inherits from its parent.

Rules

1. A child without an action or a threshold of its own has its parent's, and so up to the first that says.
2. ``Sexual (minor)``, by whatever name, blocks, and so does everything below it.
3. It takes no threshold above one half from anybody, which would be a line higher than the model's own.
4. A line of descent is followed for ``DEEPEST`` generations; what has more above it is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from railscribe.policy.schema import Document, DocumentCategory
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor
from railscribe.values import Action

HIGHEST_FOR_MINOR = 0.5
DEEPEST = 16
"""Generations above a category."""


@dataclass(frozen=True, slots=True)
class Families:
    """The categories of *document* with their lines of descent."""

    document: Document
    written: dict[str, DocumentCategory]
    names: tuple[str, ...]
    """The built-in ones that apply, then the document's own; ``Sexual (minor)`` always among them."""
    _lines: dict[str, list[str]] = field(default_factory=dict, repr=False, compare=False)
    _minor: dict[str, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, document: Document) -> Families:
        """Return the families of *document*, which may still hold mistakes."""
        written = {category.name: category for category in document.categories}
        kept = [name for name in BUILTIN_CATEGORIES if document.builtin and name not in document.suppressed]
        return cls(document, written, tuple(dict.fromkeys((*kept, *written, SEXUAL_MINOR))))

    def parent(self, name: str) -> str | None:
        """Return the name of *name*'s parent."""
        category = self.written.get(name)
        return category.parent if category else None

    def ancestors(self, name: str) -> list[str]:
        """Return parent, grandparent and so on; up to the end of a circle, and not further than rule 4 goes."""
        return self._line(name)[1:]

    def too_deep(self, name: str) -> bool:
        """Whether *name* has more generations above it than there may be (rule 4)."""
        return len(self._line(name)) > DEEPEST + 1

    def _line(self, name: str) -> list[str]:
        """Return *name* and its ancestors, one more of them than rule 4 lets there be."""
        if name not in self._lines:
            line, above = [name], self.parent(name)
            while above is not None and above not in line[1:] and len(line) <= DEEPEST + 1:
                line.append(above)
                above = self.parent(above)
            self._lines[name] = line
        return self._lines[name]

    def action(self, name: str) -> Action:
        """Return what is done about *name* (rules 1 and 2)."""
        line = self._line(name)
        if any(self.is_minor(one) for one in line):
            return Action.BLOCK
        stated = (self.written[one].action for one in line if one in self.written)
        return next((action for action in stated if action is not None), self.document.action)

    def threshold(self, name: str) -> float | None:
        """Return the score from which *name* acts (rules 1 and 3)."""
        line = self._line(name)
        stated = (self.written[one].threshold for one in line if one in self.written)
        found = next((threshold for threshold in stated if threshold is not None), None)
        if found is not None and found > HIGHEST_FOR_MINOR and any(self.is_minor(one) for one in line):
            return None
        return found

    def is_minor(self, name: str) -> bool:
        """Whether *name*, with its definition, is about sexual content with minors."""
        if name not in self._minor:
            category = self.written.get(name)
            self._minor[name] = names_sexual_minor(f"{name}: {category.definition if category else None}")
        return self._minor[name]
