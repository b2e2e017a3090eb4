"""The model's built-in categories, by name.

Names and their order are those of the 3.5 chat template (docs/contract.md). Numbers are left out on purpose:
they differ between models, so nothing may be keyed on them.
"""

from __future__ import annotations

import re
import unicodedata

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

MLCOMMONS_HAZARDS: tuple[str, ...] = (
    "Violent Crimes",
    "Sex-Related Crimes",
    "Child Sexual Exploitation",
    "Suicide and Self-Harm",
    "Indiscriminate Weapons (CBRNE)",
    "Intellectual Property",
    "Defamation",
    "Non-Violent Crimes",
    "Hate",
    "Privacy",
    "Specialized Advice",
    "Sexual Content",
)
"""The hazards of MLCommons' AILuminate 1.1, by name."""

_HAZARDS: dict[str, str] = {
    "Violence": "Violent Crimes",
    "Sexual": "Sexual Content",
    "Criminal Planning/Confessions": "Non-Violent Crimes",
    "Guns and Illegal Weapons": "Non-Violent Crimes",
    "Controlled/Regulated Substances": "Non-Violent Crimes",
    "Suicide and Self Harm": "Suicide and Self-Harm",
    "Sexual (minor)": "Child Sexual Exploitation",
    "Hate/Identity Hate": "Hate",
    "PII/Privacy": "Privacy",
    "Threat": "Violent Crimes",
    "Fraud/Deception": "Non-Violent Crimes",
    "Malware": "Non-Violent Crimes",
    "Copyright/Trademark/Plagiarism": "Intellectual Property",
    "Unauthorized Advice": "Specialized Advice",
    "Illegal Activity": "Non-Violent Crimes",
}
"""Railscribe's own mapping, not NVIDIA's and not MLCommons': the nearest hazard where there is one."""


def mlcommons_hazard(name: str) -> str | None:
    """Return the AILuminate hazard nearest to the built-in category *name*, by our own mapping.

    ``None`` where none is near, and for every category of a policy's own. The two taxonomies are cut differently:
    guns and drugs, say, are crimes there, and crimes with and without violence are one category here.
    """
    return _HAZARDS.get(name)


LANGUAGES: tuple[str, ...] = ("en", "ar", "de", "es", "fr", "hi", "it", "ja", "ko", "nl", "th", "zh")
"""The model card's languages, ISO 639-1."""

ANNOUNCED_LANGUAGES = (*LANGUAGES, "pt", "ru")
"""Those, and the two that its announcement names instead of Dutch and Thai."""

_MINORS = re.compile(
    r"\b(?:minors?|child(?:ren)?|kids?|kiddies?|(?:pre-?)?teen\w*|under-? ?age\w*|juveniles?|infants?"
    r"|toddlers?|bab(?:y|ies)|adolescents?|(?:school-? ?|little |young )(?:girls?|boys?|children)"
    r"|(?:under|below|younger than) (?:the age of )?(?:1[0-8]|eighteen|sixteen)"
    r"|(?:\d|1[0-7])[- ]years?[- ]olds?"
    r"|mineure?s?|enfants?|menores|niñ[oa]s?|minori|bambin[io]|minderjährig\w*|minderjarig\w*|kinder[en]{0,2})\b"
)
_SEXUAL = re.compile(
    r"\b(?<!same-)(?<!same )(?:sex\w*|s[eé]ks\w*|sessual\w*|porn\w*|nud(?:e|es|ity)|naked|erotic\w*|lewd"
    r"|hentai|nsfw|(?:explicit|intimate) (?:content|material|images?|pictures?|photos?|scenes?|stories))\b"
)
_BOTH = re.compile(
    r"\b(?:cs(?:am|em|ai)|loli(?:con)?s?|shota(?:con)?s?|pa?edophil\w*|kinderporno\w*|jailbait"
    r"|child (?:abuse|exploitation) (?:material|imagery|images))\b"
)

_PERMITTED = re.compile(
    r"(?<!-)(?<!not )(?<!not be )(?<!n't )(?<!n't be )(?<!never )\b"
    r"(?:fine|ok(?:ay)?|all ?right|allow(?:ed|s|able)?|permit(?:ted|s)?|permissi\w+|accept(?:ed|s|able)|safe"
    r"|tolera(?:ble|ted?|tes)|approved?|welcomed?|harmless|innocent|benign|unproblematic|legitimate|lawful"
    r"|legal(?! age)|exempt\w*|except\w*|unless|apart from|other than|aside from|exclud\w+|but not|anything but"
    r"|only (?:if|when|where|what|those)|no (?:problem|issue|violation|offen[cs]e)"
    r"|erlaubt|zulässig|in ordnung|ausgenommen|ausser|autorisée?s?|permise?s?|permitid[oa]s?|salvo|excepto|sauf"
    r"|permess[oi]|tranne|toegestaan|behalve)\b"
)
_TAKEN_OUT = re.compile(
    r"\b(?:not|n't|never) (?:be )?"
    r"(?:an? |count|includ|cover|forbid|prohibit|unsafe|harm|wrong|illegal|meant|disallow|block|refus|flag)"
)
_REFUSING = re.compile(
    r"(?:^|[:;.] ?)(?:the )?"
    r"(?:refus|declin|reject|block|censor|filter|flag|object|forbid|forbidd|prevent|stopp|suppress|deny|deni)"
    r"(?:ing|al|als)\b"
)
_TOLD = re.compile(r"\b(?:report|disclos|victim|surviv|abused)\w*")
_EVEN = re.compile(r"\b(?:even|also) (?:if|where|when|though)\b[^,;:.]*")


def names_sexual_minor(text: str) -> bool:
    """Whether *text* is about sexual content with minors, in the usual wordings.

    No list of words holds every disguise. It keeps honest documents honest; what holds against the others is
    that every rendering restates the category and that it blocks whatever the policy says.
    """
    plain = _plain(text)
    return bool(_BOTH.search(plain) or (_MINORS.search(plain) and _SEXUAL.search(plain)))


def lets_sexual_minor_pass(text: str) -> bool:
    """Whether *text*, meant to forbid something, would let sexual content with minors pass, in the usual wordings.

    By calling it fine, by taking it out, or by forbidding that it is refused.
    """
    if not names_sexual_minor(text):
        return False
    plain = _EVEN.sub("", _plain(text))
    if _PERMITTED.search(plain) or _TAKEN_OUT.search(plain):
        return True
    return bool(_REFUSING.search(plain)) and not _TOLD.search(plain)


def _plain(text: str) -> str:
    visible = (char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return re.sub(r"[\s_]+", " ", "".join(visible).casefold()).strip()
