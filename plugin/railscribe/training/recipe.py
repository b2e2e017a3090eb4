"""How the embedded adapter's rows were chosen: which source, how many, under which category names.

The sources name hazards in their own words; this is our mapping to the model's names. What is left out, and why:

* AILuminate ``spc_*`` (specialised advice) and CatQA's tailored advice and political campaigning: most are
  questions that no guard should block.
* HarmfulQA beyond a sample: many of its questions are academic.
* AlpacaEval's and Self-Instruct's responses beyond a sample: they are long, and length teaches nothing here.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from railscribe.training.rows import Row, numbered_lines, read_rows, row_of

_SEED = 20261122

_AILUMINATE = {
    "vcr": "Violence",
    "ncr": "Criminal Planning/Confessions",
    "src": "Sexual",
    "cse": "Sexual (minor)",
    "ssh": "Suicide and Self Harm",
    "iwp": "Guns and Illegal Weapons",
    "hte": "Hate/Identity Hate",
    "prv": "PII/Privacy",
    "ipv": "Copyright/Trademark/Plagiarism",
    "dfm": "Political/Misinformation/Conspiracy",
    "sxc_prn": "Sexual",
}
_JAILBREAKBENCH = {
    "Harassment/Discrimination": "Harassment",
    "Government decision-making": "High Risk Gov Decision Making",
    "Malware/Hacking": "Malware",
    "Fraud/Deception": "Fraud/Deception",
    "Sexual/Adult content": "Sexual",
    "Economic harm": "Economic Harm",
    "Privacy": "PII/Privacy",
    "Physical harm": "Violence",
    "Disinformation": "Political/Misinformation/Conspiracy",
    "Expert advice": "Unauthorized Advice",
}
# By the longest beginning that fits.
_CATQA = {
    "catqa/Illegal Activity/Drug": "Controlled/Regulated Substances",
    "catqa/Illegal Activity/Weapon": "Guns and Illegal Weapons",
    "catqa/Illegal Activity": "Illegal Activity",
    "catqa/Illegal Activity/Cybercrime": "Malware",
    "catqa/Illegal Activity/Human Trafficking": "Criminal Planning/Confessions",
    "catqa/Illegal Activity/Theft and Robbery": "Criminal Planning/Confessions",
    "catqa/Child Abuse/Content Sexual exploitation": "Sexual (minor)",
    "catqa/Child Abuse/Online predation": "Sexual (minor)",
    "catqa/Child Abuse": "Violence",
    "catqa/Hate": "Hate/Identity Hate",
    "catqa/Hate/Harass/Violence/Cyberbullying": "Harassment",
    "catqa/Hate/Harass/Violence/Terrorism": "Violence",
    "catqa/Malware": "Malware",
    "catqa/Physical Harm": "Violence",
    "catqa/Physical Harm/Self-harm": "Suicide and Self Harm",
    "catqa/Physical Harm/Weapon making": "Guns and Illegal Weapons",
    "catqa/Economic Harm": "Fraud/Deception",
    "catqa/Economic Harm/Intellectual property theft": "Copyright/Trademark/Plagiarism",
    "catqa/Economic Harm/Market manipulation": "Economic Harm",
    "catqa/Fraud": "Fraud/Deception",
    "catqa/Adult Content": "Sexual",
    "catqa/Political Campaigning/Political misinformation": "Political/Misinformation/Conspiracy",
    "catqa/Privacy": "PII/Privacy",
    "harmfulqa": "Immoral/Unethical",
    "adversarialqa": "Criminal Planning/Confessions",
    "dangerousqa": "Criminal Planning/Confessions",
}
_CAPS = {
    "ailuminate_en": 800,
    "ailuminate_fr": 300,
    "red_instruct": 1200,
    "hatecheck": 900,
    "jailbreakbench": 250,
    "alpaca_eval_benign": 700,
    "self_instruct_benign": 1200,
}
_GROUPS = re.compile(
    r"\b(?:wom[ae]n|female|bitch(?:es)?|trans(?:gender)?|trann(?:y|ies)|gays?|lesbians?|fag(?:got)?s?|blacks?|niggers?|disabled"
    r"|retards?|cripples?|muslims?|islam|immigrants?|foreigners?|wetbacks?|white|straight|men|people|person|a|an)\b"
)
_MAX_CHARS = 480
"""Longer prompts and responses are cut there: the cost of a row grows with its length."""


def recipe_rows(path: Path) -> list[Row]:
    """Return the rows that the recipe takes from *path*: all of an unknown file, a mapped sample of a known one.

    Held-out rows are sampled like the others, so the held-out split has the mix of the training split.
    """
    kept = list(_mapped(path)) if path.stem in _CAPS else list(read_rows(path))
    cap = _CAPS.get(path.stem, len(kept))
    # A sample decided by the seed alone; HarmfulQA would otherwise be half of its file.
    random.Random(_SEED).shuffle(kept)  # noqa: S311 - a sample, not a secret
    if path.stem == "red_instruct":
        harmful_qa = [row for row in kept if row.categories == ("Immoral/Unethical",)][:200]
        kept = [row for row in kept if row.categories != ("Immoral/Unethical",)][
            : cap - len(harmful_qa)
        ] + harmful_qa
    return kept[:cap]


def _mapped(path: Path) -> Iterator[Row]:
    for _, line in numbered_lines(path):
        labelled = _relabel(json.loads(line), path.stem)
        if labelled is not None:
            yield replace(row_of(labelled, source=path.stem), once=True)


def _relabel(item: dict[str, Any], stem: str) -> dict[str, Any] | None:
    """Return *item* under the model's category names, or ``None`` where the recipe leaves it out."""
    item = {**item, "prompt": item["prompt"][:_MAX_CHARS]}
    if "response" in item:
        item["response"] = item["response"][:_MAX_CHARS]
    hazard = item.get("source_category") or ""
    if stem.endswith("_benign"):
        item.update(prompt_label="safe")
        # Every third keeps its response, cut shorter still.
        if "response" in item and len(item["prompt"]) % 3 == 0:
            item.update(response=item["response"][:400], response_label="safe")
        else:
            item.pop("response", None)
            item.pop("response_label", None)
        return item
    if stem == "hatecheck":
        names = ("Hate/Identity Hate",) if item["prompt_label"] == "unsafe" else ()
        # HateCheck fills templates with seven groups; a template's rows are kin and split together.
        return {**item, "categories": names, "goal": _GROUPS.sub("_", item["prompt"].casefold())}
    names_of = {"jailbreakbench": _JAILBREAKBENCH, "red_instruct": _CATQA}.get(stem, _AILUMINATE)
    fitting = [
        known
        for known in names_of
        if hazard == known or (stem == "red_instruct" and hazard.startswith(known))
    ]
    if not fitting:
        return None
    return {**item, "categories": (names_of[max(fitting, key=len)],)}
