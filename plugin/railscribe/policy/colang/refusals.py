"""Whether what a bot says is a refusal: by the name its author gave it, and by its words.

Rules

1. A name that says refuse, cannot, deny and the like is a refusal whatever its words; else the words decide.
2. Of several wordings of one message, one that refuses is enough.
3. The words are those in which assistants refuse, in the languages of the guard. "You cannot withdraw before May"
   informs; "I cannot discuss that" refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = re.compile(
    r"\b(?:refus\w*|declin(?:e|es|ing)|den(?:y|ies|ied|ying)|reject(?:s|ing)?|cannot|can ?not|can'?t|can t|unable|won'?t"
    r"|not (?:able|answer|respond|discuss|talk|help)|^(?:inform |say |tell )?not (?:allowed|permitted)|do(?:es)?n'?t (?:answer|respond|discuss|help)"
    r"|disallow\w*|forbid\w*|prohibit\w*|moderated|off[- ]topic|out of scope|(?:message|input|output|content|request|prompt) blocked|block(?:ed)?(?: the)? (?:message|input|output|content|request|prompt)"
    r"|unacceptable|inappropriate|(?:conversation|chat) (?:already )?(?:ended|over|closed))\b",
    re.IGNORECASE,
)
_ABLE = r"(?:can(?:no|['’ ]?)t|can not|could(?:n['’]?t| not)|wo(?:n['’]?t)|will not|must not|may not|do(?:n['’]?t| not))"
_DOING = (
    r"(?:answer|assist|comment|comply|continue|discuss|do that|engage|fulfil+|generate|give|guide|help|offer|proceed"
    r"|process|promote|provide|reply|respond|reveal|say|share|show|speak|support|take part|talk|tell|write)"
)
_TEXT = re.compile(
    rf"\b(?:i|we)\b(?:[^.?!\n]{{0,30}}?)\b{_ABLE}\b(?:\s+\w+){{0,3}}?\s+{_DOING}\b"
    rf"|\b(?:i|we)\b[^.?!\n]{{0,20}}?\b(?:unable|not able|not allowed|not permitted|not authori[sz]ed|not designed)\s+to\b"
    rf"|\b(?:sorry|apologies|afraid)\b[^.?!\n]{{0,20}}\b{_ABLE}\b"
    r"|\b(?:i|we) (?:have to|must|need to|will have to) (?:decline|refuse|stop)\b|\b(?:i|we) (?:decline|refuse)\b"
    r"|\bagainst (?:my|our|the|company) (?:programming|polic(?:y|ies)|rules|guidelines|terms)\b"
    r"|\b(?:is|are|was) (?:not allowed|not permitted|prohibited|forbidden|blocked|inappropriate)\b"
    r"|\b(?:has|have) been blocked\b|\b(?:let'?s|please) (?:not|keep it|stay on)\b[^.?!\n]{0,20}\b(?:talk|discuss|topic)\b"
    r"|\bthis (?:conversation|chat) (?:ends|is over|has ended|is closed)\b"
    r"|\boutside (?:of )?(?:my|our|the) (?:scope|remit)\b",
    re.IGNORECASE,
)
_OTHER_LANGUAGES = re.compile(
    r"je ne (?:peux|suis) pas|nous ne pouvons pas|no (?:puedo|podemos)|kann ich (?:leider |dir |ihnen )*(?:dazu |dabei )?nicht"
    r"|k(?:ann|önnen) (?:ich|wir) (?:\w+ ){0,3}nicht|nicht (?:erlaubt|gestattet|möglich)|non (?:posso|possiamo)"
    r"|não (?:posso|podemos)|kan ik (?:\w+ ){0,3}niet|kunnen we (?:\w+ ){0,3}niet|не (?:могу|можем|разрешено)"
    r"|できません|いたしかねます|お答えでき|お手伝いでき|无法|不能(?:回答|提供|协助|讨论)|無法|수 없습니다|수 없어요|도와드릴 수"
    r"|لا (?:أستطيع|يمكنني|يمكننا)|नहीं (?:कर|दे|बता) (?:सकता|सकती|सकते)|मदद नहीं|ไม่สามารถ",
    re.IGNORECASE,
)
_FORBIDDING = re.compile(
    r"\b(?:refus(?:e|es|ed|ing)|declin(?:e|es|ed|ing)|do(?:es)? not (?:answer|discuss|talk|respond|provide|give|engage)|don'?t (?:answer|discuss"
    r"|talk|respond|engage)|(?:must|should|may|shall|can)(?: not|n'?t)|cannot|never|not allowed|prohibited|forbidden"
    r"|only (?:answers?|talks?|responds?|engages?|about|questions?)|end the (?:interaction|conversation))\b",
    re.IGNORECASE,
)


def name_refuses(name: str) -> bool:
    """Whether a message called *name* is meant as a refusal (rule 1)."""
    return bool(_NAME.search(name.replace("_", " ")))


def text_refuses(text: str) -> bool:
    """Whether *text* is worded as a refusal (rule 3)."""
    return bool(_TEXT.search(text) or _OTHER_LANGUAGES.search(text))


def refuses(name: str, texts: Iterable[str]) -> bool:
    """Whether the message called *name* that says *texts* is a refusal (rules 1 and 2)."""
    return name_refuses(name) or any(text_refuses(text) for text in texts)


def forbids(sentence: str) -> bool:
    """Whether *sentence* tells an assistant what it must not do."""
    return bool(_FORBIDDING.search(sentence))


_TOPIC = re.compile(
    r"\b(?:about|regarding|concerning|with respect to|related to|on the (?:topic|subject) of|to discuss|discuss(?:ing)?)"
    r"\s+(?P<topic>\w.*)$",
    re.IGNORECASE,
)


def topic_of(name: str, texts: Iterable[str] = ()) -> str:
    """Return what a refusal called *name* is about, where its name or its words say so."""
    for said in (name, *texts):
        found = _TOPIC.search(said.strip().rstrip(".!"))
        if (
            found
            and len(found["topic"]) <= 80
            and not re.fullmatch(r"(?:it|that|this|these|those)\b.*", found["topic"])
        ):
            return found["topic"].strip()
    return ""
