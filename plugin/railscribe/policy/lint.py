"""What a policy says that will not work as its author means it, each with a code (docs/diagnostics.md).

Rules

1. Errors are what cannot work; warnings what a small guard model is known to get wrong; notes what is worth knowing.
2. A document that does not read as a policy is linted as far as it goes: each breach is an error with its line.
   What is too large to be read is not linted at all.
3. The evidence behind a rule stands in its docstring, what to write instead in its hint. Nothing is changed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from railscribe.errors import PolicyError
from railscribe.misfits import nearest
from railscribe.policy.checks import Kind, problems
from railscribe.policy.diagnostics import Diagnostic, Severity, line_of
from railscribe.policy.document import MAX_BYTES, Policy, parse_policy
from railscribe.policy.phrasing import (
    category_number,
    gives_examples,
    has_exception,
    has_several_sentences,
    negates_twice,
)
from railscribe.policy.render import render
from railscribe.policy.wording import count_words, near_duplicates, same_words, share, stems, turns, weight
from railscribe.taxonomy import ANNOUNCED_LANGUAGES, BUILTIN_CATEGORIES

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
_MANY_WORDS = 40
_MANY_CATEGORIES = 100
_BREACHES = {Kind.OTHER: "L001", Kind.COMMA: "L002", Kind.NOT_BUILTIN: "L003", Kind.TWICE: "L004"}
_ROOM_FOR_EXCHANGE = 0.5
"""Share of the context that a policy should leave."""
_BUILTIN = {frozenset(stems(name)): name for name in BUILTIN_CATEGORIES}
_FILLING = frozenset(
    stems(
        "all anybody anything anyone chat chatting content conversation discuss discussing discussion everything "
        "general kind material matter mention mentioning question request "
        "speak speaking talk talking text topic write writing"
    )
)
"""Words that make an allowed clause no narrower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What is known of the engine that will read the policy."""

    name: str
    scores: bool = True
    """Whether it gives a score for a side, as far as is known."""
    scores_categories: bool = True
    """Whether it can score each category."""
    context_tokens: int | None = None
    count_tokens: Callable[[str], int] | None = None
    """How many tokens a text has; without it, a quarter of its characters is taken for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """One wording of the document, and where it stands."""

    field: str
    text: str


def lint(
    document: Mapping[str, Any],
    *,
    lines: Mapping[str, int] | None = None,
    file: str | None = None,
    reader: Reader | None = None,
) -> list[Diagnostic]:
    """Return what is to be said of *document*, as YAML or JSON gives it, in the order of its lines.

    *lines* tells where each field stands, by its dotted path; *reader* what will read it, where that is known.
    """
    told = _Teller(lines or {}, file)
    large = list(_too_large(document, told))
    if large:
        return large
    try:
        policy = parse_policy(document)
    except PolicyError:
        found = list(_broken(document, told))
    else:
        found = [each for rule in _RULES for each in rule(policy, document, told)]
        if reader is not None:
            found += _for_reader(policy, reader, told)
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    return sorted(found, key=lambda each: (each.line or 0, order[each.severity], each.code, each.message))


class _Teller:
    """Makes diagnostics about fields of one document."""

    def __init__(self, lines: Mapping[str, int], file: str | None) -> None:
        self._lines = lines
        self._file = file

    def __call__(
        self, code: str, severity: Severity, field: str, message: str, hint: str | None = None
    ) -> Diagnostic:
        return Diagnostic(
            code=code,
            severity=severity,
            message=f"{field}: {message}" if field else message,
            file=self._file,
            line=line_of(field, self._lines),
            hint=hint,
        )


def _too_large(document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L024: what is larger than a policy file may be is not looked at any further."""
    try:
        written = json.dumps(document, ensure_ascii=False, default=str, skipkeys=True)
    except (RecursionError, ValueError):  # nested without end
        written = " " * (MAX_BYTES + 1)
    size = len(written.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        yield told(
            "L024",
            ERROR,
            "",
            f"the policy is larger than the {MAX_BYTES} bytes that are read",
            "No model reads that much with care: split it by rail.",
        )


def _broken(document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L001 to L004: what the document's own rules refuse (docs/policy-document.md)."""
    for problem in problems(document)[1]:
        yield told(_BREACHES[problem.kind], ERROR, problem.field, problem.message)


def _categories(document: Mapping[str, Any]) -> list[_Said]:
    listed = document.get("categories", [])
    return [_Said(field=f"categories.{at}.name", text=str(each["name"])) for at, each in enumerate(listed)]


def _definitions(document: Mapping[str, Any]) -> list[_Said]:
    return [
        _Said(field=f"categories.{at}.definition", text=str(each["definition"]))
        for at, each in enumerate(document.get("categories", []))
        if each.get("definition")
    ]


def _clauses(document: Mapping[str, Any], kind: str) -> list[_Said]:
    return [_Said(field=f"{kind}.{at}", text=str(text)) for at, text in enumerate(document.get(kind, []))]


def _read(document: Mapping[str, Any]) -> list[_Said]:
    """Return all that the model reads of *document*."""
    clauses = [*_clauses(document, "disallowed"), *_clauses(document, "allowed")]
    return [*_categories(document), *_definitions(document), *clauses]


def _near_duplicates(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L004, L005: two wordings for one thing split the model's choice between them, and the report of it."""
    lists = (_categories(document), _clauses(document, "disallowed"), _clauses(document, "allowed"))
    for said in lists:
        for first, second in near_duplicates([each.text for each in said]):
            one, other = said[first], said[second]
            if one.text.casefold() == other.text.casefold():
                yield told("L004", ERROR, other.field, f"{other.text!r} is listed twice")
                continue
            yield told(
                "L005",
                WARNING,
                other.field,
                f"nearly the same as {one.text!r}",
                "Keep one of them; if they differ, say how in other words.",
            )
    own = {each.text.casefold() for each in lists[0]}
    for each in lists[0]:
        if each.text not in BUILTIN_CATEGORIES:
            like = _BUILTIN.get(frozenset(stems(each.text)))
            if like is not None and like.casefold() not in own:
                yield told("L005", WARNING, each.field, f"nearly the built-in {like!r}", f"Write {like!r}.")


def _misspelt_builtin(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L006: a name that is almost a built-in one is a category of its own, which the model does not know."""
    for each in _categories(document):
        if frozenset(stems(each.text)) in _BUILTIN:
            continue
        close = difflib.get_close_matches(each.text, BUILTIN_CATEGORIES, n=1, cutoff=0.85)
        if close:
            yield told(
                "L006",
                WARNING,
                each.field,
                f"{each.text!r} is no built-in category{nearest(each.text, close)}",
            )


def _numbers(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L007: S-numbers mean other categories on other models, and this one answers with names (docs/contract.md)."""
    for each in _read(document):
        number = category_number(each.text)
        if number:
            yield told(
                "L007",
                WARNING,
                each.field,
                f"{number!r} is a category number of some model",
                "Write the name alone.",
            )


def _risky(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L008, L009: a small guard matches words, so a word under Disallowed catches what is allowed with it.

    Recorded from the 4B, and plainer still with the embedded guard (docs/policies.md).
    """
    allowed = [(other.text, frozenset(stems(other.text))) for other in _clauses(document, "allowed")]
    for clause in _clauses(document, "disallowed"):
        words = frozenset(stems(clause.text))
        if words and weight(clause.text) < 3:
            yield told(
                "L008",
                WARNING,
                clause.field,
                f"{clause.text!r} is so short that any text with its words may be caught",
                "Say who does what: 'Instructions for ...', 'Asking for ...'.",
            )
            continue
        for other, its_words in allowed:
            shared = sorted(words & its_words)
            if len(shared) >= 2 and 0.5 <= share(words, its_words) < 0.8:
                yield told(
                    "L009",
                    WARNING,
                    clause.field,
                    f"shares {', '.join(repr(word) for word in shared)} with what is allowed ({other!r})",
                    "Keep the risky words under allowed alone and say the forbidden act in others.",
                )


def _contradictions(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L010: what is both allowed and not is decided by chance."""
    allowed, disallowed = _clauses(document, "allowed"), _clauses(document, "disallowed")
    both = [*disallowed, *allowed]
    for first, second in near_duplicates([each.text for each in both], among=len(disallowed)):
        same = same_words(both[first].text, both[second].text)
        yield told(
            "L010",
            ERROR if same else WARNING,
            both[second].field,
            f"allows {'' if same else 'nearly '}what {both[first].field} forbids ({both[first].text!r})",
            "Take one out, or say in plain words where the line runs.",
        )


def _swallowed(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L011: an allowed clause as wide as a category leaves nothing of it."""
    listed = [
        (
            str(category["name"]),
            str(category.get("definition") or ""),
            frozenset(stems(str(category["name"]))),
            frozenset(stems(str(category.get("definition") or ""))),
        )
        for category in document.get("categories", [])
    ]
    for clause in _clauses(document, "allowed"):
        said, turned = frozenset(stems(clause.text)), turns(clause.text)
        for name, definition, named, defined in listed:
            wide = share(named, said) == 1.0 and said - named <= _FILLING
            defines = len(defined) > 2 and share(defined, said) >= 0.8 and len(said - defined) <= 2
            if wide or (defines and turned == turns(definition)):
                yield told(
                    "L011",
                    WARNING,
                    clause.field,
                    f"swallows the category {name!r}",
                    "Allow the harmless part of it: who asks, what for, how far.",
                )


def _examples(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L012: the model echoes examples that it reads, as categories and in traces (docs/contract.md)."""
    for each in _read(document):
        if gives_examples(each.text):
            yield told(
                "L012",
                WARNING,
                each.field,
                "gives examples, which the model echoes",
                "Name the kind of thing; keep examples under categories.N.examples, which are not rendered.",
            )


def _shape(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L013 to L016: long, many, negated and conditional clauses, of which a small model keeps the words."""
    for each in _read(document):
        if count_words(each.text) > _MANY_WORDS:
            yield told(
                "L013",
                WARNING,
                each.field,
                f"is longer than {_MANY_WORDS} words",
                "One idea a clause; make two of it.",
            )
        elif has_several_sentences(each.text):
            yield told("L014", WARNING, each.field, "holds more than one sentence", "One idea a clause.")
        if each.field.startswith(("disallowed", "categories")):
            if has_exception(each.text):
                yield told(
                    "L015",
                    WARNING,
                    each.field,
                    "forbids with an exception, which a small model does not keep apart",
                    "Put the exception under allowed.",
                )
            elif negates_twice(each.text):
                yield told(
                    "L016",
                    WARNING,
                    each.field,
                    "negates twice",
                    "Say what happens, not what does not fail to.",
                )


def _balance(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L017, L018: how the whole is built."""
    if document.get("disallowed") and not document.get("allowed"):
        yield told(
            "L017",
            NOTE,
            "disallowed",
            "nothing is allowed beside it: near misses will be caught",
            "Write down under allowed what sounds like it and is fine.",
        )
    if len(document.get("categories", [])) > _MANY_CATEGORIES:
        yield told(
            "L018",
            NOTE,
            "categories",
            f"more than {_MANY_CATEGORIES}: each is read with every check, and a small model mixes them up",
            "Give them parents, or split the policy by rail.",
        )


def _languages(policy: Policy, document: Mapping[str, Any], told: _Teller) -> Iterator[Diagnostic]:
    """L019: languages beyond those that the model's card and its announcement name were not trained."""
    listed = [(f"languages.{at}", code) for at, code in enumerate(document.get("languages", []))]
    listed += [(f"refusals.{code}", code) for code in document.get("refusals", {})]
    for at, category in enumerate(document.get("categories", [])):
        listed += [(f"categories.{at}.refusals.{code}", code) for code in category.get("refusals", {})]
    for field, code in listed:
        if code not in ANNOUNCED_LANGUAGES:
            yield told(
                "L019",
                WARNING,
                field,
                f"the model was not trained on {code!r}",
                f"It was on {', '.join(ANNOUNCED_LANGUAGES)}.",
            )


_RULES: Sequence[Callable[[Policy, Mapping[str, Any], _Teller], Iterable[Diagnostic]]] = (
    *(_near_duplicates, _misspelt_builtin, _numbers, _risky, _contradictions, _swallowed),
    *(_examples, _shape, _balance, _languages),
)


def _for_reader(policy: Policy, reader: Reader, told: _Teller) -> Iterator[Diagnostic]:
    """L020 to L023: what this engine cannot do with the policy."""
    wanted = [name for name in ("threshold", "review_band") if getattr(policy, name) is not None]
    if wanted and not reader.scores:
        yield told(
            "L020",
            ERROR,
            wanted[0],
            f"needs a score, which {reader.name} does not give",
            "Serve the model where log-probabilities are returned (railscribe doctor), or take it out.",
        )
    if policy.scores_categories and not reader.scores_categories:
        yield told(
            "L021",
            ERROR,
            "categories",
            f"thresholds on categories need their scores, which {reader.name} does not give",
            "Use an engine in process (embedded, transformers), or take the thresholds out.",
        )
    if reader.context_tokens is None:
        return
    text = render(policy, thinking=True).text
    tokens = reader.count_tokens(text) if reader.count_tokens else len(text) // 4
    about = "" if reader.count_tokens else "about "
    if tokens >= reader.context_tokens:
        yield told(
            "L022",
            ERROR,
            "",
            f"the policy's text has {about}{tokens} tokens; {reader.name} has room for {reader.context_tokens}",
            "Shorten it, or split it by rail.",
        )
    elif tokens > _ROOM_FOR_EXCHANGE * reader.context_tokens:
        yield told(
            "L023",
            WARNING,
            "",
            f"the policy's text takes {about}{tokens} of the {reader.context_tokens} tokens that {reader.name} reads",
            "What is judged comes in windows of what is left.",
        )
