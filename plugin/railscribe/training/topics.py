"""Policies composed from topics, so that a guard learns to read a policy instead of knowing it by heart.

A *topic* is something that somebody may not want in their application and that harms nobody: clauses that forbid,
define and permit it, texts that fall under them, and texts that share words with it and do not.

Rules

1. A policy is composed anew each time: some topics forbidden, some permitted, most not mentioned. A text is unsafe
   where its topic is forbidden and safe everywhere else, so the policy alone decides its label.
2. Topics of one file do not overlap, so a policy takes all its topics, and its texts, from one file. A topic that is
   about form or tone overlaps with everything: its policy forbids nothing else and judges its own texts alone.
3. Now and then it is the other way round: what is permitted is all that may be talked about, and every other text is
   off topic.
4. Where a policy keeps the built-in categories, harmful texts are among those to judge, unsafe as ever.
5. What is composed depends on the random generator alone.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from railscribe.errors import UsageError
from railscribe.policy import Policy, parse_policy
from railscribe.training.rows import Row, in_held_out, numbered_lines
from railscribe.values import Label

_ROWS_A_POLICY = 14
_MOST_ALLOWED = 4
"""Subjects of a policy that confines the talk to them."""
_WHOSE = (
    "Rules of our assistant.", "What the chat on our site may talk about.", "Guidelines for the help desk bot.",
    "Content policy of a mobile app.", "Limits that the product owner set for this assistant.",
    "House rules for members and the bot that answers them.", "Policy for the internal copilot.",
    "Scope and tone of the customer chat.", "Rules for posts and answers in our community.",
    "Policy for the voice assistant in our branches.", "What may be asked and answered in this channel.",
    "Acceptable use of the writing assistant.", "Moderation policy of a small company.",
    "Compliance rules for the public chatbot.", "Terms for talk with our digital colleague.",
)  # fmt: skip
_OFF_TOPIC = ("Off-Topic", "Out Of Scope", "Unrelated Requests", "Other Subjects", "Beyond Our Remit")
_ALL_ELSE = (
    "anything that is not about the subjects allowed below",
    "messages on other subjects than those listed as allowed",
    "questions and remarks that none of the allowed behaviours covers",
    "talk that has nothing to do with what this assistant is for, as listed under allowed",
    "everything outside the allowed subjects, however harmless",
)
_FIRST = (
    "amber",
    "birch",
    "cobalt",
    "delta",
    "ember",
    "fjord",
    "granite",
    "harbor",
    "indigo",
    "juniper",
    "kestrel",
)
_SECOND = (
    "assistant",
    "bot",
    "chat",
    "community",
    "copilot",
    "desk",
    "guide",
    "helper",
    "house-rules",
    "portal",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One thing a policy may forbid or permit."""

    name: str
    """As a category."""
    kin: str
    file: str
    definition: str
    forbids: tuple[str, ...]
    permits: tuple[str, ...]
    inside: tuple[str, ...]
    """Texts that fall under it."""
    near: tuple[str, ...]
    """Texts that share its words and do not fall under it."""
    answers: tuple[tuple[str, str], ...]
    """Harmless texts, each with an answer that falls under it."""
    form: bool
    """It is about form or tone (rule 2)."""
    language: str = "en"

    @property
    def held_out(self) -> bool:
        """Whether it is for measuring and never for training."""
        return in_held_out(self.kin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A policy and what is to be judged under it."""

    document: Mapping[str, Any]
    policy: Policy
    """*document*, read."""
    rows: tuple[Row, ...]


def read_topics(path: Path) -> list[Topic]:
    """Return the topics of *path*, JSON lines.

    Raises:
        UsageError: the file cannot be read, or a line is no topic, with file and line.
    """
    topics = []
    for number, line in numbered_lines(path):
        try:
            topics.append(_topic(json.loads(line), path.stem))
        except KeyError as error:
            raise UsageError(f"{path}, line {number}: not a topic ({error} is missing).") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}, line {number}: not a topic ({error}).") from None
    return topics


def _topic(item: dict[str, Any], file: str) -> Topic:
    return Topic(
        name=_text(item["name"], "name"),
        kin=_text(item["topic"], "topic"),
        file=file,
        definition=_text(item["define"], "define"),
        forbids=_texts(item, "forbid"),
        permits=_texts(item, "permit"),
        inside=_texts(item, "in"),
        near=_texts(item, "near", may_be_empty=True),
        answers=tuple(
            (_text(user, "in_responses"), _text(answer, "in_responses"))
            for user, answer in item.get("in_responses", ())
        ),
        form=item.get("form", False),
        language=item.get("language", "en"),
    )


def _texts(item: dict[str, Any], name: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    if not isinstance(item[name], list) or not (item[name] or may_be_empty):
        raise ValueError(f"{name!r} must be a list of texts{'' if may_be_empty else ', one at least'}")
    return tuple(_text(text, name) for text in item[name])


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} must hold text")
    return value


def compose(
    topics: Sequence[Topic], harmful: Sequence[Row], *, rounds: int, rng: random.Random
) -> Iterator[Composed]:
    """Yield policies in which each topic is forbidden about *rounds* times; *harmful* are rows for rule 4."""
    by_file: dict[str, list[Topic]] = {}
    for topic in topics:
        by_file.setdefault(topic.file, []).append(topic)
    for _ in range(rounds):
        for listed in by_file.values():
            plain = [topic for topic in listed if not topic.form]
            rng.shuffle(plain)
            while plain:
                forbidden = [plain.pop() for _ in range(min(len(plain), rng.choice((1, 1, 2, 2, 3, 4))))]
                others = [topic for topic in listed if not topic.form and topic not in forbidden]
                yield _composed(forbidden, others, harmful, rng)
            for topic in listed:
                if topic.form:
                    yield _composed([topic], [], (), rng)
            subjects = [topic for topic in listed if not topic.form]
            for _ in range(max(1, len(subjects) // 12) if len(subjects) > _MOST_ALLOWED else 0):
                yield _confined(rng.sample(subjects, rng.randint(1, _MOST_ALLOWED)), subjects, rng)


def _composed(
    forbidden: Sequence[Topic], others: Sequence[Topic], harmful: Sequence[Row], rng: random.Random
) -> Composed:
    permitted = rng.sample(others, min(len(others), rng.choice((0, 1, 1, 2, 3))))
    builtin = bool(harmful) and rng.random() < 0.2
    document = _document(forbidden, permitted, builtin=builtin, rng=rng)
    policy = parse_policy(document)
    each = max(2, _ROWS_A_POLICY // (2 * len(forbidden)))
    rows: list[Row] = []
    for topic in forbidden:
        rows += _rows(topic, rng.sample(topic.inside, min(each, len(topic.inside))), policy, unsafe=True)
        rows += _rows(
            topic, rng.sample(topic.near, min(each // 2 + 1, len(topic.near))), policy, unsafe=False
        )
    for topic in permitted:
        rows += _rows(topic, rng.sample(topic.inside, min(2, len(topic.inside))), policy, unsafe=False)
    # What the policy is silent on, its own subjects and not only what lies near the forbidden ones.
    silent = [topic for topic in others if topic not in permitted]
    for topic in rng.sample(silent, min(len(silent), max(2, 5 - 2 * len(permitted)))):
        rows += _rows(topic, [rng.choice(topic.inside)], policy, unsafe=False)
    rows += _answered(forbidden, [*permitted, *silent], policy, rng)
    if builtin:
        rows += [replace(row, policy=policy.name) for row in rng.sample(harmful, min(2, len(harmful)))]
    rng.shuffle(rows)
    return Composed(document=document, policy=policy, rows=tuple(rows))


def _confined(scope: Sequence[Topic], subjects: Sequence[Topic], rng: random.Random) -> Composed:
    """Return a policy under which *scope* alone may be talked about (rule 3)."""
    name, clause = rng.choice(_OFF_TOPIC), rng.choice(_ALL_ELSE)
    shape = rng.choice(("category", "both"))
    document = {
        **_about(rng),
        "mode": "policy" if shape == "both" else rng.choice(("policy", "taxonomy")),
        "builtin": False,
        "categories": [{"name": name, "definition": clause} if shape == "category" else {"name": name}],
        "disallowed": [clause[0].upper() + clause[1:]] if shape == "both" else [],
        "allowed": [rng.choice(topic.permits) for topic in scope],
    }
    policy = parse_policy(document)
    rows: list[Row] = []
    for topic in scope:
        each = min(len(topic.inside), _ROWS_A_POLICY // (2 * len(scope)))
        rows += _rows(topic, rng.sample(topic.inside, each), policy, unsafe=False)
    beyond = [topic for topic in subjects if topic not in scope]
    for topic in rng.sample(beyond, min(len(beyond), _ROWS_A_POLICY // 2)):
        row = _row(topic, rng.choice(topic.inside), policy, Label.UNSAFE)
        rows.append(replace(row, categories=(name,)))
    rng.shuffle(rows)
    return Composed(document=document, policy=policy, rows=tuple(rows))


def _about(rng: random.Random) -> dict[str, Any]:
    name = f"{rng.choice(_FIRST)}-{rng.choice(_SECOND)}-{rng.randrange(10_000)}"
    return {"name": name, "version": "1", "description": rng.choice(_WHOSE)}


def _document(
    forbidden: Sequence[Topic], permitted: Sequence[Topic], *, builtin: bool, rng: random.Random
) -> Mapping[str, Any]:
    mode = rng.choices(("policy", "taxonomy"), (0.75, 0.25))[0]
    # A topic stands as a category, as a clause, or as both; in a taxonomy there are categories alone.
    shape = "category" if mode == "taxonomy" else rng.choice(("category", "clause", "both", "both"))
    categories: list[dict[str, str]] = []
    for topic in forbidden:
        said = rng.choice((topic.definition, topic.definition, rng.choice(topic.forbids).rstrip(".")))
        named_only = shape == "both" and rng.random() < 0.3
        categories.append({"name": topic.name} if named_only else {"name": topic.name, "definition": said})
    return {
        **_about(rng),
        "mode": mode,
        "builtin": builtin,
        "categories": categories if shape != "clause" else [],
        "disallowed": [rng.choice(topic.forbids) for topic in forbidden] if shape != "category" else [],
        "allowed": [rng.choice(topic.permits) for topic in permitted],
    }


def _rows(topic: Topic, texts: Sequence[str], policy: Policy, *, unsafe: bool) -> list[Row]:
    label = Label.UNSAFE if unsafe else Label.SAFE
    return [_row(topic, text, policy, label) for text in texts]


def _row(topic: Topic, text: str, policy: Policy, label: Label) -> Row:
    named = policy.category(topic.name) is not None and label is Label.UNSAFE
    return Row(
        prompt=text,
        prompt_label=label,
        categories=(topic.name,) if named else (),
        language=topic.language,
        policy=policy.name,
        source=topic.file,
        kin=topic.kin,
    )


def _answered(
    forbidden: Sequence[Topic], others: Sequence[Topic], policy: Policy, rng: random.Random
) -> Iterator[Row]:
    for topic in [*rng.sample(forbidden, 1), *rng.sample(others, min(1, len(others)))]:
        if topic.answers and rng.random() < 0.5:
            user, answer = rng.choice(topic.answers)
            unsafe = topic in forbidden
            yield Row(
                prompt=user,
                prompt_label=Label.SAFE,
                response=answer,
                response_label=Label.UNSAFE if unsafe else Label.SAFE,
                categories=(topic.name,) if unsafe and policy.category(topic.name) else (),
                language=topic.language,
                policy=policy.name,
                source=topic.file,
                kin=topic.kin,
            )
