"""Rules that somebody wrote for a language model, sentence by sentence, to clauses.

Rules

1. "should not X", "do not X", "never X", "avoid X" forbid; "can X", "it's ok to X", "X is ok" allow; "S4: Guns and
   Illegal Weapons." names a category, and what stands below it under "Should not" and "Can" belongs to it.
2. A rule about form ("be polite") is none about what may be said.
3. A sentence that forbids something and does not come apart by rule 1 is *unclear*: the caller fails on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from railscribe.policy.colang.refusals import forbids, text_refuses
from railscribe.policy.colang.wording import doing, line

Kind = Literal["category", "disallowed", "allowed", "form", "unclear"]

_CATEGORY = re.compile(
    r"""^\s*["']?[SO]\d{1,2}["']?\s*[:.)]\s*["']?(?P<name>[A-Z][^.:"\n]{1,78})(?:[.:]\s*(?P<more>[^"]*))?["']?,?\s*$"""
)
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(?P<said>\S.*)$")
_QUOTED = re.compile(r'^["“](?:No )?(?P<name>[^"”]{2,78})["”]\s*:\s*(?P<said>.+)$')
_HEADING = re.compile(r"^\s*(?P<sense>Should not|Should|Can|Cannot)\s*:?\s*$", re.IGNORECASE)
_MARKER = re.compile(r"<\s*/?\s*(?:BEGIN|END)[^>]*>|\{%.*?%\}")

_WHO = (
    r"(?:(?:the|a|an|any|all|your|their)\s+)?(?:(?:user|users|bot|bots|assistant|agent|model|human|llm|chatbot|prompt|message"
    r"|response|answer|input|output)(?:'s)?\s+)?(?:(?:messages?|responses?|prompts?|answers?|requests?|inputs?|outputs?|you|it"
    r"|they|i|we)\s+)?(?:(?:always|also|please)\s+)?"
)
_FORBIDS = re.compile(
    rf"^{_WHO}(?:(?:should|must|shall|may|can|will|do|does)\s*(?:not|n['’]t)|(?:(?:should|must|shall|may|can|will)\s+)?never|cannot|can['’]t|don['’]t|doesn['’]t|won['’]t)"
    r"\s+(?:ever\s+)?(?P<rest>\S.*)$",
    re.IGNORECASE,
)
_AVOIDS = re.compile(
    rf"^{_WHO}(?:should\s+|must\s+)?(?:avoid|refrain from|refuse to (?:answer|discuss|talk about|respond to)|decline to "
    r"(?:answer|discuss|talk about|respond to)|reject|refuse|block|decline)\s+(?P<rest>\S.*)$",
    re.IGNORECASE,
)
_ALLOWS = re.compile(
    rf"^(?:(?:it['’]?s|it is)\s+(?:ok|okay|fine|allowed|permitted|acceptable)\s+(?:to|for \w+ to)\s+|{_WHO}(?:can|may)\s+"
    r"(?!not\b)|allow\s+|respond to\s+(?=all|any|the|questions))(?P<rest>\S.*)$",
    re.IGNORECASE,
)
_IS_FINE = re.compile(
    r"^(?P<rest>.+?)\s+(?:is|are)\s+(?:ok|okay|fine|allowed|permitted|acceptable)$", re.IGNORECASE
)
_ONLY = re.compile(
    rf"^{_WHO}(?:should\s+|must\s+)?(?:engage|respond|answer|talk|reply)\s+only\s+(?:(?:with|to|about|in)\s+)?(?P<rest>\S.*)$",
    re.IGNORECASE,
)
_IF_ASKED = re.compile(
    r"^if (?:the|a|any) users? (?P<asks>asks?|wants?|requests?|tries|try|says?|mentions?)\s+(?P<rest>[^,]+),\s*(?P<then>.+)$",
    re.IGNORECASE,
)
_TURNS_AWAY = re.compile(
    r"\b(?:redirect|end the (?:interaction|conversation|chat)|change the subject)\b", re.IGNORECASE
)
# What a judging prompt says of its own reply. Narrow on purpose: "should not reveal the output of tools" is a rule.
_ON_THE_ANSWER = re.compile(
    r"\b(?:first|second) line\b|\bcomma-separated\b|\bomit (?:if|all|it)\b|\byes or no\b|\byes/no\b|\bnothing (?:more|else)$"
    r"|\b(?:include|add|write|print|return|output|respond with) (?:anything|any text|text|words) (?:other|more|else|but|besides)\b"
    r"|^(?:only )?output (?:only |the answer|your)|\bin (?:the )?(?:following |above |below |specified |output )*(?:json )?format\b"
    r"|^omit\b|\b(?:output|safety) json\b",
    re.IGNORECASE,
)
_FALLS_UNDER = re.compile(
    r"\bone of the following(?: categories| topics)?:\s*(?P<listed>[^?.\n]+)", re.IGNORECASE
)
_FOR_ANY = re.compile(r"^for\s+(?P<rest>any\s+[^,]+),\s*(?P<then>.+)$", re.IGNORECASE)
_ANSWERING = re.compile(
    r"^(?:answer|respond to|reply to|answer to)\s+(?:any\s+)?(?P<rest>\S.*)$", re.IGNORECASE
)
_CONTAINING = re.compile(r"^(?:contain|include|contains|includes)\s+(?P<rest>\S.*)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRule:
    """One rule, and the line it stands on, counted from 0."""

    kind: Kind
    text: str
    definition: str = ""
    line: int = 0


def rules_in(text: str) -> list[WrittenRule]:
    """Return the rules of a prompt: its categories and its bullets, in order."""
    found: list[WrittenRule] = []
    sense = ""
    category: int | None = None
    for number, raw in enumerate(text.split("\n")):
        if re.search(r"<\s*END\b", raw):
            category, sense = None, ""
        if not _BULLET.match(raw):
            raw = _MARKER.sub("", raw)  # noqa: PLW2901 - the same line, without what structures the prompt
        heading, named, bullet = _HEADING.match(raw), _CATEGORY.match(raw), _BULLET.match(raw)
        if named:
            category, sense = len(found), ""
            found.append(_named(named, number))
        elif heading:
            sense = heading["sense"].lower()
        elif bullet and category is not None and sense:
            _belongs(found, category, sense, bullet["said"], number)
        elif bullet:
            found.append(_of_bullet(bullet["said"], number))
        else:
            found.extend(_listed(raw, number))
            found.extend(_prose(raw, number))
    return [_settled(rule) for rule in found]


def _settled(rule: WrittenRule) -> WrittenRule:
    """Return *rule*; one that holds a value which only a run gives is unclear (rule 3)."""
    open_ended = any(mark in said for said in (rule.text, rule.definition) for mark in ("{{", "{%"))
    return replace(rule, kind="unclear") if open_ended and rule.kind != "form" else rule


def _prose(raw: str, number: int) -> Iterator[WrittenRule]:
    """Yield what the sentences of a line of prose forbid; what they permit, or say of the task, is no rule."""
    for sentence in sentences_of(raw):
        if forbids(sentence) and not _ON_THE_ANSWER.search(sentence):
            rule = rule_of(sentence)
            if rule.kind in ("disallowed", "unclear"):
                yield WrittenRule(kind=rule.kind, text=rule.text, line=number)


def _listed(raw: str, number: int) -> Iterator[WrittenRule]:
    match = _FALLS_UNDER.search(raw)
    for item in re.split(r",\s*(?:or\s+|and\s+)?", match["listed"]) if match else ():
        if item.strip():
            yield WrittenRule(kind="disallowed", text=line(item), line=number)


def _named(match: re.Match[str], number: int) -> WrittenRule:
    more = match["more"] or ""
    return WrittenRule(
        kind="category", text=match["name"].strip(), definition=line(more) if more else "", line=number
    )


def _belongs(found: list[WrittenRule], category: int, sense: str, said: str, number: int) -> None:
    """Take a bullet below a category: what it should not joins its definition, what it can is allowed."""
    above = found[category]
    if sense in ("should not", "cannot"):
        clause = doing(said.rstrip(". "))
        whole = f"{above.definition}; {clause[:1].lower()}{clause[1:]}" if above.definition else clause
        found[category] = WrittenRule(kind="category", text=above.text, definition=whole, line=above.line)
    elif sense == "can":
        found.append(WrittenRule(kind="allowed", text=doing(said.rstrip(". ")), line=number))
    else:
        found.append(WrittenRule(kind="form", text=said, line=number))


def _of_bullet(said: str, number: int) -> WrittenRule:
    quoted = _QUOTED.match(said)
    if quoted:
        inner = rule_of(quoted["said"])
        if inner.kind == "disallowed":
            return WrittenRule(kind="category", text=quoted["name"], definition=inner.text, line=number)
        said = quoted["said"]
    if _ON_THE_ANSWER.search(said):
        return WrittenRule(kind="form", text=line(said), line=number)
    rule = rule_of(said)
    return WrittenRule(kind=rule.kind, text=rule.text, line=number)


def rule_of(sentence: str) -> WrittenRule:
    """Return what one *sentence* rules (rules 1 to 3)."""
    said = " ".join(sentence.split()).strip().rstrip(".!")
    for reader in (_only, _forbidden, _permitted):
        found = reader(said)
        if found:
            return found
    unclear = forbids(said) or text_refuses(said)
    return WrittenRule(kind="unclear" if unclear else "form", text=line(said))


def sentences_of(text: str) -> Iterator[str]:
    """Yield the sentences of a *text* in plain words."""
    for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])|\n+", text):
        if part.strip():
            yield part.strip()


def _only(said: str) -> WrittenRule | None:
    match = _ONLY.match(said)
    if match:
        return WrittenRule(kind="disallowed", text=f"Anything but {match['rest']}")
    match = _FOR_ANY.match(said)
    if match and (text_refuses(match["then"]) or forbids(match["then"])):
        return WrittenRule(kind="disallowed", text=line(match["rest"]))
    match = _IF_ASKED.match(said)
    if match and (text_refuses(match["then"]) or forbids(match["then"]) or _TURNS_AWAY.search(match["then"])):
        return WrittenRule(kind="disallowed", text=doing(f"{match['asks']} {match['rest']}"))
    return None


def _forbidden(said: str) -> WrittenRule | None:
    match = _AVOIDS.match(said)
    if match:
        return WrittenRule(kind="disallowed", text=line(match["rest"]))
    match = _FORBIDS.match(said)
    if not match:
        return None
    rest = match["rest"]
    answering, containing = _ANSWERING.match(rest), _CONTAINING.match(rest)
    if answering:
        text = line(answering["rest"])
    elif containing:
        text = f"Messages that contain {containing['rest']}"
    else:
        text = doing(rest)
    return WrittenRule(kind="disallowed", text=text)


def _permitted(said: str) -> WrittenRule | None:
    match = _ALLOWS.match(said) or _IS_FINE.match(said)
    return WrittenRule(kind="allowed", text=doing(match["rest"])) if match else None
