"""Taking out of content what names a person: by a callable of the operator's, or by Presidio.

    def redact(text: str) -> Redaction:
        found = re.findall(NUMBER, text)
        return Redaction(text=re.sub(NUMBER, "<NUMBER>", text), counts={"NUMBER": len(found)})

Rules

1. A redactor returns what is left of a text and how many of each kind it took out, never what it took out.
2. One that cannot be had is an error as the store opens, not at the first record.
3. One that fails on a text leaves nothing of it: the content is withheld, and its record says so.
4. Nothing here asks the network: spaCy's model is looked for, never fetched.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from railscribe.audit.hooks import called
from railscribe.errors import MissingExtraError, SettingsError

logger = logging.getLogger(__name__)

PRESIDIO, PATTERNS = "presidio", "presidio-patterns"
_MODEL = "en_core_web_lg"
_SCORE = (
    0.35  # of Presidio's finds, those likelier than this; its own patterns start at 0.4 once they are valid
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What is left of a text, and what was taken out of it."""

    text: str
    counts: Mapping[str, int] = field(default_factory=dict)
    """By kind, such as ``EMAIL_ADDRESS``; no content."""


class Redactor(Protocol):
    """Takes out of a text what names a person. Called on threads, several at a time."""

    def __call__(self, text: str) -> Redaction:
        """Return *text* without it."""


def open_redactor(name: str) -> Redactor:
    """Return the redactor *name*: ``presidio``, ``presidio-patterns``, or ``module:function``.

    Raises:
        MissingExtraError: Presidio, or the language model that it needs to find names, is not installed.
        SettingsError: there is no such function.
    """
    if name not in (PRESIDIO, PATTERNS):
        redactor: Redactor = called("redactor", name)
        return redactor
    if find_spec("presidio_analyzer") is None or find_spec("presidio_anonymizer") is None:
        raise MissingExtraError(
            "Content mode 'redacted' needs Presidio.", hint="Install it: pip install 'railscribe[redact]'"
        )
    return _Presidio(names=name == PRESIDIO)


def redacted(redactor: Redactor, text: str) -> Redaction | None:
    """Return what *redactor* leaves of *text*; ``None`` where it failed (rule 3)."""
    try:
        redaction = redactor(text)
        counts = {str(kind): int(count) for kind, count in sorted(redaction.counts.items())}
        return Redaction(text=redaction.text + "", counts=counts)  # what is no text fails here, too
    except Exception as error:  # noqa: BLE001 - whatever it does, it must not cost the record
        logger.warning("content was withheld: the redactor failed (%s)", type(error).__name__)
        return None


class _Presidio:
    """Presidio with its own recognizers; names, places and the like only with a language model."""

    def __init__(self, *, names: bool) -> None:
        analyzer: Any = import_module("presidio_analyzer")  # an extra, and seconds to load
        anonymizer: Any = import_module("presidio_anonymizer")
        _stay_offline()
        if names:
            _require_model()
            self._analyzer: Any = analyzer.AnalyzerEngine()
        else:
            self._analyzer = analyzer.AnalyzerEngine(nlp_engine=_no_language(), registry=_patterns(analyzer))
        self._anonymizer: Any = anonymizer.AnonymizerEngine()

    def __call__(self, text: str) -> Redaction:
        found = self._analyzer.analyze(text=text, language="en", score_threshold=_SCORE)
        result = self._anonymizer.anonymize(text=text, analyzer_results=found)
        counts = Counter(item.entity_type for item in result.items)
        return Redaction(text=result.text, counts=counts)


def _stay_offline() -> None:
    """Let the recognizer of e-mail addresses judge their ends by the list in its package, and fetch none (rule 4)."""
    found: Any = import_module("tldextract")  # comes with Presidio, whose recognizer asks this very module
    import_module("tldextract.tldextract").TLD_EXTRACTOR = found.TLDExtract(  # type: ignore[attr-defined,unused-ignore]
        suffix_list_urls=()
    )


def _require_model() -> None:
    """Check that spaCy's model is there: Presidio would fetch it, and end the process where it cannot (rule 4)."""
    if not import_module("spacy.util").is_package(_MODEL):  # comes with Presidio
        raise MissingExtraError(
            f"Presidio finds names with spaCy's model {_MODEL}, which is not installed.",
            hint=f"Install it: python -m spacy download {_MODEL}; or redact numbers, addresses and the like"
            f" without names: redactor = {PATTERNS!r}",
        )


def _patterns(analyzer: Any) -> Any:
    """Return Presidio's recognizers that need no language model."""
    registry = analyzer.RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"])
    registry.recognizers = [
        recognizer for recognizer in registry.recognizers if "Spacy" not in type(recognizer).__name__
    ]
    if not registry.recognizers:
        raise SettingsError("This version of Presidio has no pattern recognizers.")
    return registry


def _no_language() -> Any:
    """Return a language engine for Presidio that knows no language: no words, no lemmas, no names."""
    engines: Any = import_module("presidio_analyzer.nlp_engine")

    class NoLanguage(engines.NlpEngine):  # type: ignore[misc] # an extra, which may not be there
        def load(self) -> None:
            pass

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> Any:
            return engines.NlpArtifacts([], [], [], [], self, language)

        def process_batch(self, texts: Any, language: str, **_: Any) -> Any:
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:
            return False

        def is_punct(self, word: str, language: str) -> bool:
            return False

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    return NoLanguage()
