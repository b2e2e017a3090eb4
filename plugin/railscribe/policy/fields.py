"""The kinds of value that a policy document's fields hold, each refusing what it is not.

Rule 6 of :mod:`railscribe.policy.document` (plain lines) is kept here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from railscribe.misfits import nearest
from railscribe.nemotron.neutralise import neutralise

_SLUG = r"[a-z0-9][a-z0-9._-]{0,99}"
COMMA, TWICE = "comma", "twice"
"""Kinds of what is wrong with a value, beside pydantic's own."""
_BREAKS = {"Cc", "Zl", "Zp"}
_UNSEEN = {"Cf", "Mn", "Me", "Zs"}
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and a symbol that look like nothing."""
ISO_639_1 = frozenset(
    (  # noqa: SIM905 - a list of them takes a page
        "aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
        "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io "
        "is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn "
        "mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se "
        "sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo "
        "wa wo xh yi yo za zh zu"
    ).split()
)
"""The two-letter codes of languages."""


def _plain(text: str) -> str:
    if any(unicodedata.category(char) in _BREAKS for char in text):
        raise ValueError("must be one line, without tabs (in YAML, fold a long one with '>')")
    if all(unicodedata.category(char) in _UNSEEN or char in _FILLERS for char in text):
        raise ValueError("holds nothing that can be seen")
    markers = neutralise(text).markers
    if markers:
        raise ValueError(f"reads as structure of the model's template ({', '.join(markers)}); reword it")
    return text


def _slug(name: str) -> str:
    if not re.fullmatch(_SLUG, name):
        raise ValueError("use lower-case letters, digits, '.', '_' and '-', such as dev-tools-assistant")
    return name


def _speakable(name: str) -> str:
    # The model answers with a comma-separated list.
    if "," in name:
        raise PydanticCustomError(COMMA, "a category name holds no comma: the model separates names by it")
    return name


def _language(code: str) -> str:
    if code not in ISO_639_1:
        known = nearest(code, ISO_639_1) if len(code) == 2 else ""
        raise ValueError(f"{code!r} is no two-letter code of ISO 639-1, such as en{known}")
    return code


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half a character, which cannot be stored") from None
    return text


def _unrepeated(codes: list[str]) -> list[str]:
    twice = {code for code in codes if codes.count(code) > 1}
    if twice:
        raise PydanticCustomError(TWICE, "{codes} is listed twice", {"codes": ", ".join(sorted(twice))})
    return codes


Line = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
"""What the model reads: one line without its template's structure."""
Version = Annotated[str, Field(min_length=1, max_length=50), AfterValidator(_plain)]
Slug = Annotated[str, Field(json_schema_extra={"pattern": f"^{_SLUG}$"}), AfterValidator(_slug)]
CategoryName = Annotated[
    str,
    Field(min_length=1, max_length=80, json_schema_extra={"pattern": "^[^,]*$"}),
    AfterValidator(_plain),
    AfterValidator(_speakable),
]
Text = Annotated[str, Field(min_length=1), AfterValidator(_encodable)]
"""What the model never reads, so it may have any lines and signs."""
Language = Annotated[str, Field(json_schema_extra={"pattern": "^[a-z]{2}$"}), AfterValidator(_language)]
Languages = Annotated[
    list[Language], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_unrepeated)
]
TextsByLanguage = Annotated[
    dict[Language, Text], Field(json_schema_extra={"propertyNames": {"pattern": "^[a-z]{2}$"}})
]
Share = Annotated[float, Field(gt=0, lt=1)]
"""A score to be reached."""
