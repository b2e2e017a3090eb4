"""Which categories of a document apply, and what each inherits from its parent.

Rules

1. A child without an action or a threshold of its own has its parent's, and so up to the first that says.
2. ``Sexual (minor)``, by whatever name, blocks, and so does everything below it.
3. It takes no threshold above one half from anybody, which would be a line higher than the model's own.
"""

from __future__ import annotations

from dataclasses import dataclass

from railscribe.policy.schema import Document, DocumentCategory
from railscribe.taxonomy import BUILTIN_CATEGORIES, SEXUAL_MINOR, names_sexual_minor
from railscribe.values import Action

HIGHEST_FOR_MINOR = 0.5


@dataclass(frozen=True, slots=True)
class Families:
    """The categories of *document* with their lines of descent."""

    document: Document
    written: dict[str, DocumentCategory]
    names: tuple[str, ...]
    """The built-in ones that apply, then the document's own; ``Sexual (minor)`` always among them."""

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
        """Return parent, grandparent and so on; where they come round in a circle, up to its end."""
        line: list[str] = []
        above = self.parent(name)
        while above is not None and above not in line:
            line.append(above)
            above = self.parent(above)
        return line

    def action(self, name: str) -> Action:
        """Return what is done about *name* (rules 1 and 2)."""
        line = [name, *self.ancestors(name)]
        if any(self.is_minor(one) for one in line):
            return Action.BLOCK
        stated = (self.written[one].action for one in line if one in self.written)
        return next((action for action in stated if action is not None), self.document.action)

    def threshold(self, name: str) -> float | None:
        """Return the score from which *name* acts (rules 1 and 3)."""
        line = [name, *self.ancestors(name)]
        stated = (self.written[one].threshold for one in line if one in self.written)
        found = next((threshold for threshold in stated if threshold is not None), None)
        if found is not None and found > HIGHEST_FOR_MINOR and any(self.is_minor(one) for one in line):
            return None
        return found

    def is_minor(self, name: str) -> bool:
        """Whether *name*, with its definition, is about sexual content with minors."""
        category = self.written.get(name)
        return names_sexual_minor(f"{name}: {category.definition if category else None}")
