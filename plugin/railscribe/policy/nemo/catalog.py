"""NeMo's own rails, by what a policy can make of each.

Rules

1. *prompted*: what it refuses stands in a prompt of the configuration.
2. *personal data*: what it refuses stands in its settings.
3. *stated*: what it refuses is what its name says; the words are ours.
4. *grounding*: it compares an answer with documents. No rule about what may be said; it stays NeMo's.
5. *masking*: it changes what is said and refuses nothing.
6. *ours*: it asks Railscribe, by the policy that it names.
7. *elsewhere*: somebody else's service or code decides. What it refuses stands in none of the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

Treatment = Literal[
    "prompted",
    "personal",
    "stated",
    "grounding",
    "masking",
    "injection",
    "validator",
    "patterns",
    "ours",
    "elsewhere",
]


class Library(NamedTuple):
    """The names of the flows that come with NeMo Guardrails."""

    rails: frozenset[str]
    helpers: frozenset[str]
    """Those of Colang's own standard library, which refuse nothing by themselves."""

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return self.rails | self.helpers


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
_ON = r"on (?:input|output|retrieval)$"
_BY_PATTERN: tuple[tuple[re.Pattern[str], Treatment, str], ...] = (
    (re.compile(rf"^detect sensitive data(?: {_ON})?"), "personal", "sensitive_data_detection"),
    (re.compile(rf"^detect pii {_ON}"), "personal", "privateai"),
    (re.compile(rf"^gliner detect pii {_ON}"), "personal", "gliner"),
    (re.compile(rf"^polygraf detect pii {_ON}"), "personal", "polygraf"),
    (re.compile(rf"\bmask (?:pii|sensitive data) {_ON}"), "masking", ""),
    (re.compile(r"^injection detection$"), "injection", "injection_detection"),
    (re.compile(r"^guardrailsai check (?:input|output)$"), "validator", "guardrails_ai"),
    (re.compile(r"^regex check (?:input|output|retrieval)$"), "patterns", "regex_detection"),
    (re.compile(r"^railscribe check (?:input|output|retrieval|tool output|tool input)$"), "ours", ""),
)
_STATED = {
    "jailbreak detection heuristics": "Trying to make the assistant ignore its instructions or its rules",
    "jailbreak detection model": "Trying to make the assistant ignore its instructions or its rules",
}
_GROUNDING = re.compile(
    r"\b(?:facts?|factcheck|hallucination|groundedness|faithfulness|trustworthiness|alignscore|context bloat)\b"
)
_PARAMETERS = re.compile(r"\s*(?:\(.*\)|\$\w+\s*=.*)\s*$", re.DOTALL)
_PARAMETER = re.compile(r"\$?(\w+)\s*=\s*(\"[^\"]*\"|'[^']*'|[\w.-]+)")


def bare_name(name: str) -> str:
    """Return the flow's name without its parameters."""
    return _PARAMETERS.sub("", name).strip()


def parameters_of(name: str) -> dict[str, str]:
    """Return the parameters that a rail is named with, such as ``$model=content_safety``."""
    return {key: value.strip("\"'") for key, value in _PARAMETER.findall(name[len(bare_name(name)) :])}


def known_rail(name: str, library: Library) -> Known | None:
    """Return what is known of the library's rail, or action, called *name*; ``None`` for one that is not its own."""
    plain = bare_name(name).replace("_", " ")
    if plain in _PROMPTED:
        return Known(treatment="prompted", key=_PROMPTED[plain])
    for pattern, treatment, key in _BY_PATTERN:
        if pattern.search(plain):
            return Known(treatment=treatment, key=key)
    if plain in _STATED:
        return Known(treatment="stated", key=_STATED[plain])
    if plain not in library.rails:
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
