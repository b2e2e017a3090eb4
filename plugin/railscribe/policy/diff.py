"""How one policy differs from another: by what they say, not by lines. Pure.

Rules

1. Two policies differ in nothing exactly where their digests are the same: every field has its place here.
2. A behaviour is *moved* between disallowed and allowed, *reworded* where the other policy has one that is near
   (it may be moved as well), else *added* or *removed*. Order counts: the model reads from the top.
3. Categories go by their names. One whose name is gone and whose definition, or nearly its name, is there under
   another was *renamed*.
4. Where one policy applies the built-in categories and the other does not, that is one change, not two dozen.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from railscribe.policy.document import Policy, PolicyCategory
from railscribe.taxonomy import BUILTIN_CATEGORIES

_NEAR = 0.6
"""Ratio of words in common from which a clause is another one reworded."""
_NEAR_NAME = 0.8
"""Ratio of letters in common from which a category is another one renamed."""
_MOST_PAIRS = 40_000
"""More pairs than these are not compared for nearness: what is not the same is added or removed."""
_LISTS = ("categories", "disallowed", "allowed")
Kind = Literal["added", "removed", "moved", "reworded", "renamed", "reordered", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. ``before`` and ``after`` are JSON-able; ``None`` where there is nothing."""

    kind: Kind
    what: str
    """``category``, ``disallowed``, ``allowed``, or a setting's name."""
    name: str | None = None
    """The category's, or the field's of a category as ``name.field``."""
    before: Any = None
    after: Any = None
    moved_to: str | None = None
    """Where a moved behaviour now stands: ``disallowed`` or ``allowed``."""


def diff(before: Policy, after: Policy) -> tuple[Change, ...]:
    """Return how *after* differs from *before*: settings, then categories, then behaviours."""
    return (*_settings(before, after), *_categories(before, after), *_behaviours(before, after))


def _settings(before: Policy, after: Policy) -> Iterator[Change]:
    for field in fields(Policy):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name not in _LISTS and old != new:
            yield Change(kind="changed", what=field.name, before=plain(old), after=plain(new))


def plain(value: Any) -> Any:
    """Return *value*, a field's, as JSON would give it."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(part) for name, part in asdict(value).items()}
    if isinstance(value, tuple):
        pairs = value and all(isinstance(part, tuple) and len(part) == 2 for part in value)
        return dict(value) if pairs else [plain(part) for part in value]
    return getattr(value, "value", value)


def _categories(before: Policy, after: Policy) -> Iterator[Change]:
    old = {category.name: category for category in before.categories}
    new = {category.name: category for category in after.categories}
    if before.builtin != after.builtin:  # rule 4
        plain_old, plain_new = _plain_builtins(old, new), _plain_builtins(new, old)
        old = {name: category for name, category in old.items() if name not in plain_old}
        new = {name: category for name, category in new.items() if name not in plain_new}
    gone = [category for name, category in old.items() if name not in new]
    come = [category for name, category in new.items() if name not in old]
    renamed = _renamed(gone, come)
    for category in gone:
        if category.name not in renamed:
            yield Change(kind="removed", what="category", name=category.name, before=_said(category))
    for category in come:
        if category.name not in renamed.values():
            yield Change(kind="added", what="category", name=category.name, after=_said(category))
    for name, other in renamed.items():
        yield Change(kind="renamed", what="category", name=other, before=name, after=other)
    kept = {renamed.get(name, name): category for name, category in old.items()}
    kept = {name: category for name, category in kept.items() if name in new}
    for name, category in kept.items():
        yield from _fields(category, new[name])
    order = [name for name in new if name in kept]
    if list(kept) != order and before.builtin == after.builtin:
        yield Change(kind="reordered", what="category", before=list(kept), after=order)


def _plain_builtins(some: Mapping[str, PolicyCategory], others: Mapping[str, PolicyCategory]) -> set[str]:
    """Return the names among *some* alone of built-in categories that nothing is said about."""
    return {
        name
        for name, category in some.items()
        if name not in others
        and name in BUILTIN_CATEGORIES
        and category == PolicyCategory(name=name, definition=None, action=category.action)
    }


def _renamed(gone: Sequence[PolicyCategory], come: Sequence[PolicyCategory]) -> dict[str, str]:
    """Return the new names of those of *gone* that are among *come* (rule 3)."""
    renamed: dict[str, str] = {}
    if len(gone) * len(come) > _MOST_PAIRS:
        return renamed
    for old in gone:
        for new in come:
            same = old.definition is not None and old.definition == new.definition
            alike = same or _alike(old.name, new.name)
            if alike and new.name not in renamed.values():
                renamed[old.name] = new.name
                break
    return renamed


def _alike(name: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, name.casefold(), other.casefold()).ratio() >= _NEAR_NAME


def _said(category: PolicyCategory) -> dict[str, Any]:
    said = {field.name: plain(getattr(category, field.name)) for field in fields(PolicyCategory)}
    return {name: value for name, value in said.items() if value not in (None, [], {})}


def _fields(old: PolicyCategory, new: PolicyCategory) -> Iterator[Change]:
    for field in fields(PolicyCategory):
        was, is_ = getattr(old, field.name), getattr(new, field.name)
        if field.name != "name" and was != is_:
            yield Change(
                kind="changed",
                what="category",
                name=f"{new.name}.{field.name}",
                before=plain(was),
                after=plain(is_),
            )


def _behaviours(before: Policy, after: Policy) -> Iterator[Change]:
    kinds = ("disallowed", "allowed")
    old = [(kind, text) for kind in kinds for text in getattr(before, kind)]
    new = [(kind, text) for kind in kinds for text in getattr(after, kind)]
    gone, come = _without(old, new), _without(new, old)
    moved = _moved(gone, come)
    gone, come = [one for one in gone if one not in moved], [one for one in come if one not in moved.values()]
    for (kind, text), (other, _) in moved.items():
        yield Change(kind="moved", what=kind, before=text, after=text, moved_to=other)
    for (kind, text), (other, now) in _reworded(gone, come):
        to = other if other != kind else None
        yield Change(kind="moved" if to else "reworded", what=kind, before=text, after=now, moved_to=to)
        gone.remove((kind, text))
        come.remove((other, now))
    for kind, text in gone:
        yield Change(kind="removed", what=kind, before=text)
    for kind, text in come:
        yield Change(kind="added", what=kind, after=text)
    for kind in kinds:
        was, is_ = list(getattr(before, kind)), list(getattr(after, kind))
        both = set(was) & set(is_)
        was, is_ = [text for text in was if text in both], [text for text in is_ if text in both]
        if was != is_:
            yield Change(kind="reordered", what=kind, before=was, after=is_)


_Behaviour = tuple[str, str]


def _without(some: Sequence[_Behaviour], others: Sequence[_Behaviour]) -> list[_Behaviour]:
    """Return *some* without what is among *others*, as often as it is there."""
    left = Counter(others)
    kept = []
    for one in some:
        if left[one]:
            left[one] -= 1
        else:
            kept.append(one)
    return kept


def _moved(gone: Sequence[_Behaviour], come: Sequence[_Behaviour]) -> dict[_Behaviour, _Behaviour]:
    """Return where those of *gone* went whose very words stand on the other side."""
    by_text = {text: (kind, text) for kind, text in come}
    return {(kind, text): by_text[text] for kind, text in gone if text in by_text}


def _reworded(gone: Sequence[_Behaviour], come: Sequence[_Behaviour]) -> list[tuple[_Behaviour, _Behaviour]]:
    """Return the pairs that are near, the nearest first, each behaviour once."""
    if len(gone) * len(come) > _MOST_PAIRS:
        return []
    near = sorted(
        (
            (_nearness(old[1], new[1]), old[0] == new[0], first, second)
            for first, old in enumerate(gone)
            for second, new in enumerate(come)
        ),
        key=lambda each: (-each[0], not each[1], each[2], each[3]),
    )
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for ratio, _, first, second in near:
        if ratio >= _NEAR and first not in pairs and second not in taken:
            pairs[first] = second
            taken.add(second)
    return [(gone[first], come[second]) for first, second in sorted(pairs.items())]


def _nearness(one: str, other: str) -> float:
    """Return how much of their words two texts have in common, in order: 0 to 1."""
    matcher = difflib.SequenceMatcher(None, one.casefold().split(), other.casefold().split(), autojunk=False)
    return 0.0 if matcher.real_quick_ratio() < _NEAR or matcher.quick_ratio() < _NEAR else matcher.ratio()
