"""In which language a user is told that something was refused.

Rules

1. The caller knows best: ``Identity(language=...)`` goes before anything that is guessed.
2. Else it is guessed from the user's text, or from the response where there is none, among the languages in which the
   policy has something to say, and English. The first ``_READ`` characters decide.
3. A script that one of them alone is written in settles it: Japanese (kana), Chinese, Korean, Hindi, Arabic,
   Russian, Thai and whatever shares their scripts.
4. What is left goes by py3langid (the extra ``languages``; without it nothing is guessed), and only where it is
   ``_SURE`` among them and no other language in the world is ``_LIKELIER``.
5. In doubt nothing is guessed, and the policy's default text is used.
"""

from __future__ import annotations

import logging
import math
import unicodedata
from collections import Counter
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from railscribe.policy import Policy, refusal_for
from railscribe.policy.refusal import refusal_languages
from railscribe.values import Record

logger = logging.getLogger(__name__)

_READ = 1000
_SURE = 0.7
_LIKELIER = 3.0
"""In nats: twenty times."""
_SCRIPTS = {
    "HANGUL": ("ko",),
    "HIRAGANA": ("ja",),
    "KATAKANA": ("ja",),
    "CJK": ("zh", "ja"),
    "DEVANAGARI": ("hi", "mr", "ne", "sa"),
    "ARABIC": ("ar", "fa", "ur", "ps", "sd", "ug", "ku"),
    "CYRILLIC": ("ru", "uk", "bg", "sr", "be", "mk", "kk", "ky", "mn", "tg", "tt"),
    "THAI": ("th",),
}
"""The languages of a script, the first of which it stands for where no other is asked about."""
_DENSE = {"HANGUL", "HIRAGANA", "KATAKANA", "CJK"}
"""Scripts of which one sign says as much as some letters of another."""


def told(policy: Policy, record: Record) -> str:
    """Return what the user is told where *record*, decided by *policy*, is refused.

    May load a model and take a while: not for an event loop.
    """
    languages = refusal_languages(policy)
    language = record.identity.language
    if language is None and languages:
        language = detect(record.exchange.user.strip() or record.exchange.response or "", languages)
    return refusal_for(policy, record.decision, language)


def detect(text: str, languages: Collection[str]) -> str | None:
    """Return which of *languages*, or English, *text* is in; ``None`` where that is not sure."""
    asked = {*languages, "en"}
    script = _script(text[:_READ])
    if script is None:
        return None
    if script not in _SCRIPTS:
        of_others = {language for languages in _SCRIPTS.values() for language in languages}
        return _likeliest(text[:_READ], asked - of_others)
    its = [language for language in _SCRIPTS[script] if language in asked]
    if script == "CJK" or len(its) < 2:
        return its[0] if its else None
    return _likeliest(text[:_READ], set(its))


def _script(text: str) -> str | None:
    """Return the script that most of *text* is in; any kana makes Chinese characters Japanese."""
    counts: Counter[str] = Counter()
    for char in text:
        if unicodedata.category(char)[0] == "L":
            script = unicodedata.name(char, "").partition(" ")[0]
            counts[script] += 3 if script in _DENSE else 1
    kana = counts.pop("HIRAGANA", 0) + counts.pop("KATAKANA", 0)
    if kana:
        counts["HIRAGANA"] = kana + counts.pop("CJK", 0)
    return counts.most_common(1)[0][0] if counts else None


def _likeliest(text: str, asked: set[str]) -> str | None:
    """Return which of *asked* *text* is in, if that is sure (rule 4)."""
    identifier = _identifier()
    if identifier is None:
        return None
    likely: dict[str, float] = dict(identifier.rank(text))
    odds = {language: likely[language] for language in asked if language in likely}
    if not odds:
        return None
    best = max(odds, key=lambda language: odds[language])
    share = 1 / sum(math.exp(value - odds[best]) for value in odds.values())
    return best if share >= _SURE and max(likely.values()) - odds[best] <= _LIKELIER else None


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """Return py3langid's model, loaded once; ``None`` where it is not installed."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        logger.warning(
            "Languages in Latin letters are not told apart, so refusals come in the policy's default text: "
            "pip install 'railscribe[languages]'"
        )
        return None
    return LanguageIdentifier.from_model_file(MODEL_FILE)
