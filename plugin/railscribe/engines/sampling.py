"""What engines agree on: how much the model may write, and the score of a label.

Rules

1. Greedy always: a check that is repeated is answered alike.
2. The token budget is a threshold, not a dial: a reply that needs more was looping and counts as truncated.
3. A score is the share of *unsafe* in the probability of *safe* and *unsafe* together, at the token where the
   label was written. Labels inside the trace are not labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate

from railscribe.values import Request, Side

_LABEL = re.compile(r"^(User|Response) Safety:[ \t]*(?=\S)", re.MULTILINE)
_SIDES = {"User": Side.USER, "Response": Side.RESPONSE}


def token_budget(request: Request) -> int:
    """Return how many tokens the reply to *request* may have (rule 2)."""
    if not request.flags.thinking:
        return 128
    return 1024 if request.response is None else 2048


def label_positions(tokens: Sequence[str]) -> dict[Side, int]:
    """Return, by side, which of a reply's *tokens* begins its label (rule 3); none where it is not plain."""
    text = "".join(tokens)
    starts = [0, *accumulate(len(token) for token in tokens)][:-1]
    verdict = text.rpartition("</think>")[2]
    if "<think>" in verdict:
        return {}
    positions: dict[Side, int] = {}
    for match in _LABEL.finditer(verdict):
        at = len(text) - len(verdict) + match.end()
        position = max(index for index, start in enumerate(starts) if start <= at)
        if not text[starts[position] : at].strip():
            positions.setdefault(_SIDES[match[1]], position)
    return positions


def unsafe_share(probabilities: Mapping[str, float]) -> float | None:
    """Return the score of a label from the *probabilities* of the tokens that could begin it (rule 3)."""
    safe = sum(share for token, share in probabilities.items() if _begins(token, "safe"))
    unsafe = sum(share for token, share in probabilities.items() if _begins(token, "unsafe"))
    return unsafe / (safe + unsafe) if safe + unsafe > 0 else None


def _begins(token: str, word: str) -> bool:
    # A tokenizer may split a label: "un" speaks for "unsafe". The two share no beginning.
    return bool(token.strip()) and word.startswith(token.strip())
