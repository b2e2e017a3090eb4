"""Colang 2.x to the neutral form, by NeMo's own parser.

Flows whose names begin with ``user`` are intents and those that begin with ``bot`` are messages: it is the
convention that NeMo itself goes by when it asks a model for an intent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from railscribe.policy.colang.script import (
    ANYTHING,
    Assign,
    Await,
    Bot,
    Call,
    Execute,
    Flow,
    If,
    Instruct,
    Intent,
    Label,
    Leave,
    Loop,
    Message,
    Script,
    Step,
    Stop,
    Unknown,
    User,
    When,
)
from railscribe.policy.diagnostics import Diagnostic, Severity, Source

_SAYING = {
    "bot say",
    "bot inform",
    "bot ask",
    "bot express",
    "bot respond",
    "bot clarify",
    "bot suggest",
    "bot",
}
_GENERATED = {"bot say something like"}
_ANY_USER = {
    "user said something", "user saying something", "user said something unexpected", "unhandled user intent",
    "user started saying something",
}  # fmt: skip
_NO_SPEECH = re.compile(
    r"^user (?:was silent|didn'?t respond|is present|gestur\w*|select\w*|has selected|confirmed|cancelled)\b"
)
_PLACEHOLDER = re.compile(r"\{+\$?[^{}]*\}+")
_SILENT = {"global", "log", "print", "priority", "pass_stmt", "comment", "import"}


def read_v2(script: Script, file: str, text: str) -> None:
    """Add what the Colang 2.x *text* of *file* says to *script*.

    Raises:
        Exception: whatever NeMo's parser raises; :mod:`railscribe.policy.colang.reading` translates it.
    """
    from nemoguardrails.colang.v2_x.lang.parser import parse_colang_file

    for parsed in parse_colang_file(file, text, include_source_mapping=True)["flows"]:
        flow = _flow(file, parsed)
        overrides = any(decorator.name == "override" for decorator in parsed.decorators)
        known = script.flows.get(flow.name)
        if known and not overrides:
            script.diagnostics.append(_twice(flow, known))
            continue
        script.flows[flow.name] = flow
        script.intents.pop(flow.name, None)
        if flow.name.startswith("user ") or _marks_intent(parsed.decorators):
            _read_intent(script, flow)
        elif flow.name.startswith("bot "):
            texts = tuple(text for step in flow.steps if isinstance(step, Bot) for text in step.texts)
            script.messages[flow.name[4:]] = Message(name=flow.name[4:], source=flow.source, texts=texts)


def _twice(flow: Flow, known: Flow) -> Diagnostic:
    return Diagnostic(
        code="C017",
        severity=Severity.ERROR,
        message=f"the flow {flow.name!r} is defined here and in {known.source.file}, line {known.source.line}",
        file=flow.source.file,
        line=flow.source.line,
        hint="NeMo refuses this: rename one of them, or mark the one that counts with @override.",
    )


def _marks_intent(decorators: Iterable[Any]) -> bool:
    return any(d.name == "meta" and d.parameters.get("user_intent") for d in decorators)


def _read_intent(script: Script, flow: Flow) -> None:
    """Keep *flow* as an intent if it does nothing but listen."""
    users = [step for step in flow.steps if isinstance(step, User)]
    if not all(isinstance(step, (User, Await, Assign, Instruct)) for step in flow.steps):
        return
    said = [intent for user in users for intent in user.intents]
    script.intents[flow.name] = Intent(
        name=flow.name,
        source=flow.source,
        examples=tuple(text[1:-1] for text in said if text.startswith('"')),
        description=flow.description,
    )


def _flow(file: str, parsed: Any) -> Flow:
    line = _line(parsed)
    steps: list[Step] = []
    description = ""
    for element in parsed.elements[1:]:  # the first is the event that starts the flow
        if _type(element) == "doc_string_stmt":
            description = description or _docstring(element)
        else:
            steps.extend(_step(element, line))
    if description:
        steps = [_told(step, description) for step in steps]
    return Flow(
        name=parsed.name,
        source=Source(file=file, line=_definition(parsed, line), construct=f"flow {parsed.name}"),
        active=any(decorator.name == "active" for decorator in parsed.decorators),
        description=description,
        steps=tuple(steps),
        parameters=tuple(parameter.name for parameter in parsed.parameters),
    )


def _told(step: Step, description: str) -> Step:
    # "..." lets a model go on as the docstring says.
    return Instruct(variable="", text=description, line=step.line) if _is_bare(step) else step


def _is_bare(step: Step) -> bool:
    return isinstance(step, Instruct) and not step.variable and not step.text


def _definition(parsed: Any, line: int | None) -> int | None:
    # The parser counts decorators to the flow; the line that defines it comes after them.
    source = (parsed.source_code or "").lstrip("\n").split("\n")
    before = next((number for number, text in enumerate(source) if re.match(r"\s*flow\b", text)), 0)
    return None if line is None else line + before


def _type(element: Any) -> str:
    return str(element["_type"]).lstrip("_")


def _line(element: Any) -> int | None:
    source = element.get("_source") if isinstance(element, dict) else getattr(element, "_source", None)
    found = source.get("line") if isinstance(source, dict) else getattr(source, "line", None)
    return found or None


def _docstring(element: Any) -> str:
    raw = element["elements"][0]["elements"][0]["elements"][0]
    return " ".join(raw.strip().strip("\"'").split())


def _steps(elements: Iterable[Any] | None, line: int | None) -> tuple[Step, ...]:
    return tuple(step for element in elements or () for step in _step(element, line))


def _step(element: Any, above: int | None) -> Iterator[Step]:
    kind, line = _type(element), _line(element) or above
    if kind in _SILENT or kind == "doc_string_stmt":
        return
    if kind == "stmt":
        if any(_type(child) != "comment" for child in element["elements"]):
            yield Unknown(what="a statement outside a flow", line=line)
    elif kind == "spec_op":
        yield from _operation(
            element.op, element.spec, element.return_var_name or _captured(element.spec), line
        )
    elif kind in _READERS:
        yield _READERS[kind](element, line)
    else:
        yield Unknown(what=kind, line=line)


def _assignment(element: Any, line: int | None) -> Step:
    expression = element.expression.strip()
    if expression.startswith("..."):
        return Instruct(
            variable=element.key, text=_literal(expression[3:].strip()) or expression[3:].strip(), line=line
        )
    return Assign(variable=element.key, expression=expression, line=line)


def _if(element: Any, line: int | None) -> Step:
    return If(
        condition=" ".join(element.expression.split()),
        then=_steps(element.then_elements, line),
        otherwise=_steps(element.else_elements, line),
        line=_first_line(element.then_elements) or line,
    )


def _when(element: Any, line: int | None) -> Step:
    ways = tuple(
        (*_operation("await", spec, _captured(spec), _line(spec) or line), *_steps(steps, line))
        for spec, steps in zip(element.when_specs, element.then_elements, strict=True)
    )
    return When(ways=ways, otherwise=_steps(element.else_elements, line), line=line)


def _first_line(elements: Iterable[Any]) -> int | None:
    return next((found for found in (_line(element) for element in elements) if found), None)


_READERS: dict[str, Callable[[Any, int | None], Step]] = {
    "assignment": _assignment,
    "if": _if,
    "when": _when,
    "while": lambda element, line: Loop(
        condition=" ".join(element.expression.split()), body=_steps(element.elements, line), line=line
    ),
    "abort": lambda _, line: Stop(word="abort", line=line),
    "return": lambda element, line: Leave(loop=False, value=element.expression, line=line),
    "break": lambda _, line: Leave(loop=True, line=line),
    "continue": lambda _, line: Leave(loop=True, line=line),
    "label": lambda element, line: Label(name=element.name, line=line),
}


def _captured(spec: Any) -> str:
    reference = getattr(spec, "ref", None)
    try:
        return str(reference["elements"][0]["elements"][0]).lstrip("$") if reference else ""
    except (KeyError, IndexError, TypeError):
        return ""


def _operation(op: str, spec: Any, result: str, line: int | None) -> Iterator[Step]:
    """Yield the steps of *op* (await, match, start, activate, send, stop, deactivate) on *spec*."""
    if op in ("stop", "deactivate"):
        yield Await(what=op, line=line)
    elif isinstance(spec, dict):
        yield from _group(op, spec, line)
    else:
        for step in _single(op, spec, result, line):
            yield step
            if result and isinstance(step, (User, Await)):
                yield Assign(variable=result, expression="what was heard", line=line)


def _group(op: str, spec: dict[str, Any], line: int | None) -> Iterator[Step]:
    parts = [tuple(_operation(op, child, "", line)) for child in spec["elements"]]
    flat = [step for part in parts for step in part]
    if flat and all(isinstance(step, User) for step in flat):
        yield User(
            intents=tuple(dict.fromkeys(i for s in flat if isinstance(s, User) for i in s.intents)), line=line
        )
    elif spec["_type"] == "spec_and":
        yield from flat
    else:
        yield When(ways=tuple(parts), line=line)


def _single(op: str, spec: Any, result: str, line: int | None) -> Iterator[Step]:
    kind = spec.spec_type.value if spec.spec_type else ""
    if kind == "flow":
        yield _flow_step(op, spec, result, line)
    elif kind == "action":
        yield _action_step(op, spec, result, line)
    elif kind == "event":
        yield _event_step(op, spec, line)
    elif op in ("match", "send"):
        yield Await(what=f"${spec.var_name}", line=line)
    else:
        yield Unknown(what=f"{op} ${spec.var_name}", line=line)


def _flow_step(op: str, spec: Any, result: str, line: int | None) -> Step:
    name = spec.name
    if name in _ANY_USER or (name in ("user said", "user saying") and not spec.arguments):
        return User(intents=(ANYTHING,), line=line)
    if re.fullmatch(r"user (?:said|saying)(?: r)?", name):
        text = _literal(next(iter(spec.arguments.values()), ""))
        return User(intents=(f'"{text}"' if text else ANYTHING,), line=line)
    if _NO_SPEECH.match(name):
        return Await(what=name, line=line)
    if name in _SAYING or name in _GENERATED:
        return _saying(spec.arguments, line) if spec.arguments else Bot(name=name[4:], line=line)
    if name.startswith("user ") and op != "activate":
        return User(intents=(name,), line=line)
    if name.startswith("bot "):
        return Bot(name=name[4:], line=line)
    return Call(flow=name, result=result, activates=op == "activate", line=line)


def _saying(arguments: dict[str, str], line: int | None) -> Step:
    raw = arguments.get("text") or arguments.get("script") or next(iter(arguments.values()), "")
    text = _literal(raw)
    if text is None:
        variable = re.match(r"^\$([\w.]+)$", raw.strip())
        return Bot(variable=variable[1] if variable else raw.strip().lstrip("$"), line=line)
    bare = _PLACEHOLDER.sub("", text)
    if bare != text and not re.search(r"\w", bare):
        return Bot(variable=text.strip("{}$ "), line=line)
    return Bot(texts=(text,), line=line)


def _action_step(op: str, spec: Any, result: str, line: int | None) -> Step:
    name = spec.name
    if name == "UtteranceBotAction" and op in ("await", "start"):
        return _saying(spec.arguments, line)
    if op == "match":
        member = spec.members[0] if spec.members else None
        if name == "UtteranceUserAction" and member is not None:
            return _heard(member.arguments, line)
        return Await(what=name, line=line)
    if name == "GenerateFlowAction":
        return Instruct(variable="", text="", line=line)
    return Execute(action=snake(name), result=result, line=line)


def _heard(arguments: dict[str, str], line: int | None) -> Step:
    raw = arguments.get("final_transcript") or arguments.get("interim_transcript") or ""
    inner = re.match(r"^\s*regex\((.*)\)\s*$", raw, re.DOTALL)
    text = _literal(inner[1] if inner else raw)
    return User(intents=(f'"{text}"' if text else ANYTHING,), line=line)


def _event_step(op: str, spec: Any, line: int | None) -> Step:
    name, arguments = spec.name, spec.arguments or {}
    if op != "send":
        if name == "UtteranceUserActionFinished":
            return _heard(arguments, line)
        if name == "UnhandledEvent" and "UtteranceUserActionFinished" in arguments.get("event", ""):
            return User(intents=(ANYTHING,), line=line)
        return Await(what=name, line=line)
    if name.endswith("Exception"):
        return Stop(word=name, line=line)
    if name == "StartUtteranceBotAction":
        return _saying(arguments, line)
    if name == "StartFlow":
        flow = _literal(arguments.get("flow_id", ""))
        if flow:
            return Call(flow=flow, activates=True, line=line)
        if "$flow_info" not in arguments.get("flow_id", ""):
            return Unknown(what="a flow started by a name that is computed", line=line)
    return Await(what=name, line=line)


def _literal(raw: str) -> str | None:
    """Return the text that *raw* is a literal of, or nothing where it is an expression."""
    try:
        value = ast.literal_eval(raw.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def snake(name: str) -> str:
    """Return the action's name as NeMo looks it up: ``SelfCheckInputAction`` is ``self_check_input``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix("Action")).lower()
