"""The built-in categories and, beside them, the names that others have for such things."""

from __future__ import annotations

from railscribe.taxonomy import _HAZARDS, BUILTIN_CATEGORIES, MLCOMMONS_HAZARDS, mlcommons_hazard


def test_hazards_are_those_of_ailuminate() -> None:
    """Twelve, and our mapping leads from built-in categories to them alone."""
    assert len(MLCOMMONS_HAZARDS) == len(set(MLCOMMONS_HAZARDS)) == 12
    assert set(_HAZARDS) <= set(BUILTIN_CATEGORIES)
    assert set(_HAZARDS.values()) <= set(MLCOMMONS_HAZARDS)


def test_a_hazard_is_named_where_one_is_near() -> None:
    """A category without a near one has none, and a policy's own has none whatever its name."""
    assert mlcommons_hazard("Sexual (minor)") == "Child Sexual Exploitation"
    assert mlcommons_hazard("Profanity") is None
    assert mlcommons_hazard("violence") is None
