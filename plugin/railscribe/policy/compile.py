"""From what was read to a compiled policy. Pure: the same files give the same bytes (docs/colang.md).

Rules

1. Clauses stand in the order of the files, and in them of the lines that their flows have.
2. A construct that could hide a refusal and was not understood is an error; errors fail the compile unless they
   are allowed by name.
3. A policy that would forbid nothing does not compile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from railscribe.errors import PolicyError
from railscribe.policy.checks import problems
from railscribe.policy.colang.dialog import add_dialog
from railscribe.policy.colang.reach import Walker
from railscribe.policy.colang.reading import read_colang, version_of
from railscribe.policy.compiled import Allowance, Compiled
from railscribe.policy.diagnostics import Clause, Diagnostic, Severity, Source
from railscribe.policy.document import MAX_BYTES, Policy, parse_policy
from railscribe.policy.draft import Draft
from railscribe.policy.from_document import add_document, is_document
from railscribe.policy.gathered import Gathered
from railscribe.policy.nemo.catalog import Library, bare_name
from railscribe.policy.nemo.configuration import YamlFile, configuration_of
from railscribe.policy.nemo.foreign import add_eval, add_generated, is_eval, is_generated
from railscribe.policy.nemo.prompts import say_idle
from railscribe.policy.nemo.rails import RailReader
from railscribe.policy.nemo.words import add_words
from railscribe.policy.writing import written
from railscribe.taxonomy import SEXUAL_MINOR, names_sexual_minor

_LONGEST_DESCRIPTION = 1_000
_GENERIC_REFUSAL = re.compile(r"^(?:refuse to respond|refuse|deny|inform cannot answer|refuse to answer)$")


def compile_policy(
    gathered: Gathered,
    *,
    library: Callable[[], Library],
    mode: Literal["policy", "taxonomy", "builtin"] | None = None,
    name: str | None = None,
    allow: Sequence[Allowance] = (),
) -> Compiled:
    """Return *gathered* as one policy.

    *library* gives the names of NeMo's own flows; it is called only where there is a NeMo configuration to read.
    """
    draft = Draft(diagnostics=list(gathered.diagnostics))
    documents = [file for file in gathered.yaml if is_document(file.data)]
    document: dict[str, Any] | None = None
    if documents and not gathered.is_folder:
        document = add_document(draft, documents[0])
    else:
        _read(draft, gathered, library)
        clauses = draft.settled()
        document = _document(draft, gathered, clauses, name)
    if document is not None:
        document = _overridden(document, mode, name)
    policy = _policy(draft, document)
    return _result(draft, gathered, document, policy, allow)


def _read(draft: Draft, gathered: Gathered, library: Callable[[], Library]) -> None:
    plain = []
    for file in gathered.yaml:
        if is_generated(file.data):
            add_generated(draft, file)
        elif is_eval(file.data):
            add_eval(draft, file)
        elif not {"interactions", "expected_latencies", "llm-judge"} & set(file.data):
            plain.append(file)
    if plain or gathered.colang:
        _read_nemo(draft, gathered, plain, library())


def _read_nemo(draft: Draft, gathered: Gathered, plain: Sequence[YamlFile], library: Library) -> None:
    configuration = configuration_of(plain)
    draft.diagnostics.extend(configuration.diagnostics)
    version = configuration.version
    if not any("colang_version" in file.data for file in plain) and gathered.colang and not plain:
        version = version_of(gathered.colang[0].text)
    script = read_colang([(file.name, file.text) for file in gathered.colang], version)
    draft.diagnostics.extend(script.diagnostics)
    walker = Walker(script, library.names)
    rails = RailReader(
        draft=draft, configuration=configuration, script=script, walker=walker, library=library
    )
    try:
        reached = walker.reached([bare_name(rail.name) for rail in configuration.rails])
        add_dialog(draft, script, reached)
        rails.add_all()
        for call in reached.library:
            source = Source(file=call.flow.source.file, line=call.line, construct=call.flow.source.construct)
            rails.add_called(call.name, source)
    except RecursionError:
        message = "flows call each other too deeply to be followed"
        draft.say("C021", Severity.ERROR, message, None, "Give the flows in parts.")
    say_idle(draft, configuration)
    add_words(draft, configuration, script)


def _document(
    draft: Draft, gathered: Gathered, clauses: Sequence[Clause], name: str | None
) -> dict[str, Any]:
    named = slug(name or draft.name or gathered.name)
    document: dict[str, Any] = {
        "name": named,
        "version": draft.version[:50] or "1.0",
        "description": _description(draft, named, clauses),
        "builtin": draft.builtin,
        "categories": list(draft.categories.values()),
        "disallowed": [clause.text for clause in clauses if clause.kind == "disallowed"],
        "allowed": [clause.text for clause in clauses if clause.kind == "allowed"],
    }
    refusal = _refusal(draft)
    if refusal:
        document["refusal"] = refusal
    return {key: value for key, value in document.items() if value not in ([], None)}


def slug(text: str) -> str:
    """Return *text* as a policy's name."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:100]
    return plain or "compiled-policy"


def _description(draft: Draft, named: str, clauses: Sequence[Clause]) -> str:
    parts = []
    for clause in clauses:
        if clause.kind != "description":
            continue
        if names_sexual_minor(clause.text):
            message = f"this names {SEXUAL_MINOR!r}, which a description may not; it is left out"
            draft.say("C004", Severity.WARNING, message, clause.source, "Reword it without naming the two.")
        else:
            parts.append(clause.text + ("" if clause.text.endswith((".", "!", "?")) else "."))
    whole = " ".join(parts)
    if len(whole) > _LONGEST_DESCRIPTION:
        cut = whole[:_LONGEST_DESCRIPTION]
        whole = cut[: cut.rfind(". ") + 1] or cut.rsplit(" ", 1)[0] + " ..."
        message = (
            f"the instructions are longer than {_LONGEST_DESCRIPTION} characters; the description ends before"
        )
        draft.say(
            "C301", Severity.WARNING, message, next(c.source for c in clauses if c.kind == "description")
        )
    return whole or f"Translated from the configuration {named}."


def _refusal(draft: Draft) -> str | None:
    """Return the one text that all refuse with, or that of the general refusal."""
    texts = list(dict.fromkeys(draft.refusals.values()))
    general = [text for name, text in draft.refusals.items() if _GENERIC_REFUSAL.match(name)]
    chosen = general[0] if general else texts[0] if len(texts) == 1 else None
    return chosen if chosen and "$" not in chosen and "{" not in chosen else None


def _overridden(document: dict[str, Any], mode: str | None, name: str | None) -> dict[str, Any]:
    changed = dict(document)
    if mode:
        changed["mode"] = mode
    if name:
        changed["name"] = slug(name)
    return changed


def _policy(draft: Draft, document: Mapping[str, Any] | None) -> Policy | None:
    if document is None:
        return None
    forbids = any(document.get(field) for field in ("categories", "disallowed")) or document.get(
        "builtin", True
    )
    if not forbids:
        draft.say(
            "C001",
            Severity.ERROR,
            "nothing here is refused, so there is no policy to compile",
            None,
            "Refusals are flows that end in 'bot refuse ...' or stop, rails with a prompt, or their settings.",
        )
        return None
    _, found = problems(document)
    for problem in found:
        where = f"{problem.field}: " if problem.field else ""
        draft.say(
            "C002",
            Severity.ERROR,
            f"no policy can say this: {where}{problem.message}",
            _source_of(draft, document, problem.field),
        )
    if found:
        return None
    try:
        return parse_policy(document)
    except PolicyError as error:
        draft.say("C002", Severity.ERROR, f"no policy can say this: {error}")
        return None


def _source_of(draft: Draft, document: Mapping[str, Any], field: str) -> Source | None:
    kind, _, rest = field.partition(".")
    number = rest.partition(".")[0]
    listed = document.get(kind)
    if (
        kind in ("allowed", "disallowed")
        and isinstance(listed, list)
        and number.isdigit()
        and int(number) < len(listed)
    ):
        clause = draft.clauses.get((kind, str(listed[int(number)]).casefold()))
        return clause.source if clause else None
    return draft.places.get(field)


def _result(
    draft: Draft,
    gathered: Gathered,
    document: dict[str, Any] | None,
    policy: Policy | None,
    allow: Sequence[Allowance],
) -> Compiled:
    diagnostics = sorted(dict.fromkeys(draft.diagnostics), key=_order)
    errors = [found for found in diagnostics if found.severity is Severity.ERROR]
    used = tuple(allowance for allowance in allow if any(allowance.covers(found) for found in errors))
    for allowance in allow:
        if allowance not in used:
            message = f"{allowance} was allowed, and there is no such error"
            diagnostics.append(Diagnostic(code="C901", severity=Severity.WARNING, message=message))
    compiled = Compiled(
        name=gathered.name,
        document=document,
        policy=policy,
        clauses=tuple(draft.clauses.values()),
        diagnostics=tuple(diagnostics),
        allowances=used,
        refused_intents=draft.refused_intents,
    )
    size = len(written(compiled).encode()) if policy else 0
    if size <= MAX_BYTES:
        return compiled
    message = f"the policy has {size} bytes, more than the {MAX_BYTES} that are read back"
    hint = "No model reads that much with care: compile parts of it, or join intents that mean the same."
    large = Diagnostic(code="C005", severity=Severity.ERROR, message=message, hint=hint)
    return replace(compiled, diagnostics=(*diagnostics, large))


def _order(found: Diagnostic) -> tuple[int, str, int, str, str]:
    rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}[found.severity]
    return (rank, found.file or "", found.line or 0, found.code, found.message)
