"""NeMo's own rails, by what a policy can make of each.

Rules

1. *prompted*: what it refuses stands in a prompt of the configuration.
2. *personal data*: what it refuses stands in its settings.
3. *stated*: what it refuses is what its name says; the words are ours.
4. *grounding*: it compares an answer with documents. No rule about what may be said; it stays NeMo's.
5. *masking*: it changes what is said and refuses nothing.
6. *elsewhere*: somebody else's service or code decides. What it refuses stands in none of the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Treatment = Literal["prompted", "personal", "stated", "grounding", "masking", "injection", "validator", "patterns", "elsewhere"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one rail of the library."""

    treatment: Treatment
    key: str = ""
    """The prompt's task, the settings' section, or the stated clause."""


_PROMPTED = {
    "self check input": "self_check_input",
    "self check output": "self_check_output",
    "content safety check input": "content_safety_check_input",
    "content safety check output": "content_safety_check_output",
    "topic safety check input": "topic_safety_check_input",
    "llama guard check input": "llama_guard_check_input",
    "llama guard check output": "llama_guard_check_output",
}
_PERSONAL = (
    (re.compile(r"^detect sensitive data on (?:input|output|retrieval)$"), "sensitive_data_detection"),
    (re.compile(r"^detect pii on (?:input|output|retrieval)$"), "privateai"),
    (re.compile(r"^gliner detect pii on (?:input|output|retrieval)$"), "gliner"),
    (re.compile(r"^polygraf detect pii on (?:input|output|retrieval)$"), "polygraf"),
    (re.compile(r"^detect sensitive data$"), "sensitive_data_detection"),
)
_STATED = {
    "jailbreak detection heuristics": "Trying to make the assistant ignore its instructions or its rules",
    "jailbreak detection model": "Trying to make the assistant ignore its instructions or its rules",
}
_GROUNDING = re.compile(
    r"\b(?:facts?|factcheck|hallucination|groundedness|faithfulness|trustworthiness|alignscore|context bloat)\b"
)
_MASKING = re.compile(r"\bmask (?:pii|sensitive data) on (?:input|output|retrieval)$")
_PARAMETERS = re.compile(r"\s*(?:\(.*\)|\$\w+\s*=.*)\s*$", re.DOTALL)
_PARAMETER = re.compile(r"\$?(\w+)\s*=\s*(\"[^\"]*\"|'[^']*'|[\w.-]+)")


def bare_name(name: str) -> str:
    """Return the flow's name without its parameters."""
    return _PARAMETERS.sub("", name).strip()


def parameters_of(name: str) -> dict[str, str]:
    """Return the parameters that a rail is named with, such as ``$model=content_safety``."""
    return {key: value.strip("\"'") for key, value in _PARAMETER.findall(name[len(bare_name(name)) :])}


def known_rail(name: str, library: frozenset[str]) -> Known | None:
    """Return what is known of the library's rail, or action, called *name*; ``None`` for one that is not its own."""
    plain = bare_name(name).replace("_", " ")
    if plain in _PROMPTED:
        return Known(treatment="prompted", key=_PROMPTED[plain])
    for pattern, section in _PERSONAL:
        if pattern.match(plain):
            return Known(treatment="personal", key=section)
    if plain in _STATED:
        return Known(treatment="stated", key=_STATED[plain])
    if plain == "injection detection":
        return Known(treatment="injection", key="injection_detection")
    if _MASKING.search(plain):
        return Known(treatment="masking")
    if plain.startswith("guardrailsai check"):
        return Known(treatment="validator", key="guardrails_ai")
    if plain.startswith("regex check"):
        return Known(treatment="patterns", key="regex_detection")
    if plain not in library:
        return None
    return Known(treatment="grounding" if _GROUNDING.search(plain) else "elsewhere")


_ENTITIES = {
    "PERSON": "names of people", "EMAIL_ADDRESS": "e-mail addresses", "EMAIL": "e-mail addresses",
    "PHONE_NUMBER": "phone numbers", "CREDIT_CARD": "credit card numbers", "US_SSN": "social security numbers",
    "SSN": "social security numbers", "LOCATION": "places where people live", "IBAN_CODE": "bank account numbers",
    "US_BANK_NUMBER": "bank account numbers", "IP_ADDRESS": "IP addresses", "DATE_TIME": "dates and times",
    "CRYPTO": "crypto wallet addresses", "NRP": "nationality, religion or political group",
    "MEDICAL_LICENSE": "medical licence numbers", "URL": "web addresses", "US_PASSPORT": "passport numbers",
    "US_DRIVER_LICENSE": "driving licence numbers", "FIRST_NAME": "first names", "LAST_NAME": "last names",
    "NAME": "names of people", "NAME_FAMILY": "family names", "LOCATION_ADDRESS_STREET": "street addresses",
    "US_ITIN": "tax numbers", "UK_NHS": "health service numbers", "AGE": "ages", "DOB": "dates of birth",
}  # fmt: skip


def entity_words(entity: str) -> str:
    """Return an entity of a detector in plain words."""
    known = _ENTITIES.get(entity.upper())
    return known or entity.replace("_", " ").lower()


INJECTIONS = {
    "code": "Code meant to run where the answer is shown or processed",
    "sqli": "SQL meant to break into a database",
    "template": "Template code meant to run where the answer is processed",
    "xss": "Script code meant to run in a reader's browser",
}
