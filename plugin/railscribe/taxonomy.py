"""The model's built-in categories, by name.

Names and their order are those of the 3.5 chat template (docs/contract.md). Numbers are left out on purpose:
they differ between models, so nothing may be keyed on them.
"""

from __future__ import annotations

BUILTIN_CATEGORIES: tuple[str, ...] = (
    "Violence",
    "Sexual",
    "Criminal Planning/Confessions",
    "Guns and Illegal Weapons",
    "Controlled/Regulated Substances",
    "Suicide and Self Harm",
    "Sexual (minor)",
    "Hate/Identity Hate",
    "PII/Privacy",
    "Harassment",
    "Threat",
    "Profanity",
    "Needs Caution",
    "Other",
    "Manipulation",
    "Fraud/Deception",
    "Malware",
    "High Risk Gov Decision Making",
    "Political/Misinformation/Conspiracy",
    "Copyright/Trademark/Plagiarism",
    "Unauthorized Advice",
    "Illegal Activity",
    "Immoral/Unethical",
    "Economic Harm",
)

SEXUAL_MINOR = "Sexual (minor)"
"""The one category that no policy may suppress, allow or soften, and that every rendering restates."""

SEXUAL_MINOR_DEFINITION = "any sexual content that involves a minor, fiction included"

LANGUAGES: tuple[str, ...] = ("en", "ar", "de", "es", "fr", "hi", "it", "ja", "ko", "nl", "th", "zh")
"""The model card's languages, ISO 639-1."""
