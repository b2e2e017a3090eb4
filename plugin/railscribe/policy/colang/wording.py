"""From an intent's name, or a rule somebody wrote, to a clause that a small model reads (docs/colang.md).

Rules

1. A clause is a doing, in the words of the author: "ask about hate speech" becomes "Asking about hate speech".
2. Examples stay out of it: a small model echoes them. Only where a name says nothing do they stand for it.
3. One line, no trailing full stop, the first letter a capital.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_MOST_EXAMPLES = 3
_LONGEST_EXAMPLE = 100
_SAYS_NOTHING = {
    "user", "intent", "input", "message", "msg", "utterance", "question", "query", "request", "ask", "asked", "asks", "say",
    "says", "said", "do", "does", "something", "anything", "other", "others", "misc", "general", "generic", "test",
    "example", "the", "a", "an", "no", "nr", "number", "topic", "thing", "flow",
}  # fmt: skip
_COUNTED = re.compile(r"[a-z]?\d*")
_STEMS = {
    "asked": "ask", "requested": "request", "expressed": "express", "informed": "inform", "inquired": "inquire",
    "wanted": "want", "tried": "try", "said": "say", "told": "tell", "gave": "give", "made": "make", "sent": "send",
    "insulted": "insult", "mentioned": "mention", "provided": "provide", "reported": "report", "shared": "share",
    "complained": "complain", "greeted": "greet", "discussed": "discuss", "talked": "talk", "used": "use",
    "attempted": "attempt", "threatened": "threaten", "asks": "ask", "wants": "want", "requests": "request",
    "is": "be", "has": "have", "does": "do", "tries": "try",
}  # fmt: skip
_DOUBLED = {
    "get", "put", "run", "stop", "plan", "set", "let", "swim", "begin", "chat", "cut", "hit", "spam",
    "admit", "refer", "submit", "ship", "shop", "stab", "bet", "beg", "rob", "drop", "skip", "step",
    "swap", "tip", "forget", "transfer",
}  # fmt: skip
_VERBS = set(_STEMS.values()) | {
    "accept", "access", "add", "agree", "answer", "apologize", "approve", "bypass", "buy", "call",
    "cancel", "change", "check", "claim", "comment", "compare", "confirm", "contain", "create",
    "criticize", "deny", "describe", "disclose", "encourage", "engage", "enter", "evade", "execute",
    "explain", "expose", "find", "forget", "generate", "get", "hack", "harass", "help", "identify",
    "ignore", "impersonate", "include", "instruct", "invest", "manufacture", "need", "offer", "open",
    "order", "override", "pay", "play", "promote", "question", "quote", "reject", "repeat", "respond",
    "return", "reveal", "search", "seek", "sell", "share", "show", "speculate", "spread", "start",
    "steal", "stop", "submit", "suggest", "support", "terminate", "thank", "transfer", "translate",
    "trick", "update", "violate", "write", "address", "assist", "condone", "demean", "incite", "insult",
    "offend", "romanticize", "give", "put", "run",
}  # fmt: skip


def gerund(verb: str) -> str:
    """Return the -ing form of an English *verb*."""
    base = _STEMS.get(verb.lower(), verb.lower())
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")) and base != "be":
        return base[:-1] + "ing"
    if base in _DOUBLED:
        return base + base[-1] + "ing"
    return base + "ing"


def doing(phrase: str) -> str:
    """Return *phrase*, which begins with a verb where its author wrote one, as a doing (rule 1)."""
    words = phrase.replace("_", " ").split()
    if not words:
        return ""
    verbs = 0
    for number, word in enumerate(words):
        if number and word in ("or", "and") and verbs == number:
            verbs += 1  # "insult, offend, or demean people"
            continue
        bare = word.rstrip(",")
        if verbs != number or _STEMS.get(bare.lower(), bare.lower()) not in _VERBS:
            break
        if number and not words[number - 1].endswith((",", "or", "and")):
            break
        words[number] = gerund(bare) + word[len(bare) :]
        verbs += 1
    return line(" ".join(words))


def line(text: str) -> str:
    """Return *text* as one line of a policy (rule 3)."""
    plain = " ".join(text.split()).strip().rstrip(".;,:").strip()
    return plain[:1].upper() + plain[1:]


def says_nothing(name: str) -> bool:
    """Whether *name* tells nothing of what is meant."""
    words = re.split(r"[\s_-]+", name.strip().lower())
    return all(word.rstrip("0123456789") in _SAYS_NOTHING or _COUNTED.fullmatch(word) for word in words)


def intent_clause(name: str, examples: Sequence[str], description: str = "") -> str:
    """Return the clause for an intent (rules 1 and 2)."""
    bare = re.sub(r"^user\s+", "", name.strip(), flags=re.IGNORECASE)
    if not says_nothing(bare):
        return doing(bare)
    if description:
        return line(description)
    shown = [f'"{" ".join(text.split())}"' for text in examples if len(text) <= _LONGEST_EXAMPLE]
    if not shown:
        return line(f"Messages of the kind called {bare or 'user'}") if examples or bare else ""
    return line("Messages such as " + " or ".join(shown[:_MOST_EXAMPLES]))
