"""Colang 1.0 to the neutral form, by NeMo's own parser.

The parser runs in the three passes that NeMo itself calls: snippets, flows, and the markdown in which it keeps
intents and messages. The flows are taken as the tree before it is flattened, which keeps the blocks that
conditions stand over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from railscribe.policy.colang.headers import Headers, headers_of
from railscribe.policy.colang.script import (
    ANYTHING,
    Assign,
    Await,
    Bot,
    Call,
    Execute,
    Flow,
    Goto,
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

_PARAMETERS = re.compile(r"\s*\(.*\)\s*$", re.DOTALL)
_REFERENCE = re.compile(r"^\{intent:")
_PLACEHOLDER = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def read_v1(script: Script, file: str, text: str) -> None:
    """Add what the Colang 1.0 *text* of *file* says to *script*.

    Raises:
        Exception: whatever NeMo's parser raises; :mod:`railscribe.policy.colang.reading` translates it.
    """
    from nemoguardrails.colang.v1_0.lang.colang_parser import (
        parse_coflows_to_yml_flows,
        parse_snippets_and_imports,
    )
    from nemoguardrails.colang.v1_0.lang.coyml_parser import parse_flow_elements

    headers = headers_of(text)
    snippets, _ = parse_snippets_and_imports(file, text)
    parsed = parse_coflows_to_yml_flows(file, text, snippets=snippets, include_source_mapping=True)
    _read_markdown(script, file, headers, parsed.get("markdown") or "")
    for name, items in parsed["flows"].items():
        flow = _flow(file, headers, name, items)
        parse_flow_elements(items)  # what NeMo would not accept is found here; it changes its argument
        earlier = script.flows.get(name)
        if earlier:
            script.diagnostics.append(_twice(flow, earlier))
        script.flows.setdefault(name, flow)


def _twice(flow: Flow, earlier: Flow) -> Diagnostic:
    return Diagnostic(
        code="C017",
        severity=Severity.ERROR,
        message=f"the flow {flow.name!r} is defined here and in {earlier.source.file}; only one of them runs",
        file=flow.source.file,
        line=flow.source.line,
        hint="Rename one of them, or delete it.",
    )


def _read_markdown(script: Script, file: str, headers: Headers, markdown: str) -> None:
    from nemoguardrails.colang.v1_0.lang.comd_parser import parse_md_file

    examples: dict[str, list[str]] = {header.name: [] for header in headers.found if header.kind == "user"}
    texts: dict[str, list[str]] = {header.name: [] for header in headers.found if header.kind == "bot"}
    if markdown:
        parsed = parse_md_file(file, content=markdown)
        for pattern in parsed["patterns"]:
            if pattern["sym"].startswith("intent:"):
                said = examples.setdefault(pattern["sym"][7:].replace("|", " "), [])
                if not _REFERENCE.match(pattern["body"]):
                    said.append(_PLACEHOLDER.sub(r"\1", pattern["body"]))
        for name, utterances in parsed["utterances"].items():
            listed = utterances if isinstance(utterances, list) else [utterances]
            texts.setdefault(name, []).extend(
                text for text in (utterance.get("text") for utterance in listed) if isinstance(text, str)
            )
    for name, listed_ in examples.items():
        said = [text for text in listed_ if re.search(r"\w", text)]
        if listed_ and not said:
            script.wildcards.add(name)
            continue
        header = headers.of("user", name)
        known = script.intents.get(name)
        source = known.source if known else _source(file, header, f"define user {name}".strip())
        script.intents[name] = Intent(
            name=name,
            source=source,
            examples=(*(known.examples if known else ()), *said),
            description=header.description if header else "",
        )
    for name, utterances_ in texts.items():
        message = script.messages.get(name)
        header = headers.of("bot", name)
        script.messages[name] = Message(
            name=name,
            source=message.source if message else _source(file, header, f"define bot {name}".strip()),
            texts=(*(message.texts if message else ()), *utterances_),
        )


def _source(file: str, header: Any, construct: str) -> Source:
    return Source(
        file=file, line=header.line if header else None, construct=header.construct if header else construct
    )


def _flow(file: str, headers: Headers, name: str, items: list[Any]) -> Flow:
    first = next(_line_numbers(items), None)
    header = headers.of("flow", name) or headers.of("subflow", name)
    header = header or (headers.above(first) if first else None)
    meta: Mapping[str, Any] = next(
        (item["meta"] for item in items if isinstance(item, dict) and "meta" in item), {}
    )
    subflow = bool(meta.get("subflow")) or (header is not None and header.kind == "subflow")
    construct = f"define flow {name}" if not name.startswith("anonymous-") else "define flow"
    return Flow(
        name=name,
        source=_source(file, header, construct),
        kind="subflow" if subflow else "flow",
        active=not subflow,
        description=header.description if header else "",
        steps=tuple(_steps(items)),
    )


def _line_numbers(items: Iterable[Any]) -> Iterator[int]:
    for item in items:
        if isinstance(item, list):
            yield from _line_numbers(item)
        elif isinstance(item, dict):
            number = _line(item)
            if number:
                yield number


def _line(item: Mapping[str, Any]) -> int | None:
    number = (item.get("_source_mapping") or {}).get("line_number")
    return number if isinstance(number, int) else None


def _steps(items: list[Any]) -> Iterator[Step]:
    number = 0
    while number < len(items):
        item = items[number]
        if isinstance(item, list):
            ways = []
            while number < len(items) and isinstance(items[number], list):
                ways.append(tuple(_steps(items[number])))
                number += 1
            yield When(ways=tuple(ways), line=next(_line_numbers(item), None))
            continue
        yield from _step(item)
        number += 1


def _step(item: dict[str, Any]) -> Iterator[Step]:
    kind = next(iter(item))
    value, line = item[kind], _line(item)
    if kind in ("meta", "continue", "pass", "expect"):
        return
    reader = _READERS.get(kind)
    if reader is None:
        yield Unknown(what=kind, line=line)
    else:
        yield from reader(item, value, line)


def _bare(value: Any) -> str:
    return _PARAMETERS.sub("", str(value)).strip()


def _user(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    names = value if isinstance(value, list) else [value]
    if item.get("_is_example"):
        yield User(intents=tuple(f'"{name}"' for name in names), line=line)
        return
    bare = [_bare(name) for name in names]
    yield User(intents=tuple(ANYTHING if name in ("*", "...", "") else name for name in bare), line=line)


def _bot(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    if isinstance(value, dict):
        text = value.get("text")
        if isinstance(text, str):
            yield Bot(texts=(text,), line=line)
        else:
            yield Unknown(what="a bot message that is no text", line=line)
        return
    name = _bare(value)
    if name in ("stop", "abort"):
        yield Stop(word=name, line=line)
    elif name.startswith("$"):
        yield Bot(variable=name[1:], line=line)
    else:
        yield Bot(name=name, line=line)


def _call(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    results = item.get("_return_vars") or [""]
    yield Call(flow=_bare(value), result=str(results[0]), line=line)


def _run(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    result, _, action = (
        str(value).partition("=") if re.match(r"^\s*\$?[\w.]+\s*=", str(value)) else ("", "", str(value))
    )
    yield Execute(action=_bare(action), result=result.strip().lstrip("$"), line=line)


def _set(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    variable, _, expression = str(value).partition("=")
    name = variable.strip().lstrip("$")
    if expression.strip() == "...":
        comment = (item.get("_source_mapping") or {}).get("comment") or ""
        yield Instruct(variable=name, text=comment, line=line)
    else:
        yield Assign(variable=name, expression=expression.strip(), line=line)


def _if(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    yield If(
        condition=" ".join(str(value).split()),
        then=tuple(_steps(item["then"])),
        otherwise=tuple(_steps(item.get("else") or [])),
        line=line,
    )


def _while(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    yield Loop(condition=" ".join(str(value).split()), body=tuple(_steps(item["do"])), line=line)


def _any(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    steps = list(_steps(value))
    users = [step for step in steps if isinstance(step, User)]
    if len(users) == len(steps):
        yield User(intents=tuple(intent for user in users for intent in user.intents), line=line)
    else:
        yield When(ways=tuple((step,) for step in steps), line=line)


def _infer(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    events = [next(iter(event.items())) for event in value if isinstance(event, dict)]
    for kind, named in events:
        name = _bare(named)
        if kind == "event" and name.endswith("Exception"):
            yield Stop(word=name, line=line)
        elif kind == "event":
            yield Execute(action=f"create event {name}", line=line)
        else:
            yield Unknown(what=f"infer {kind}", line=line)


def _leave(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    values = item.get("_return_values") or [""]
    yield Leave(loop="break" in item, value=str(values[0]), line=line)


def _await(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    name = _bare(value)
    if name.startswith("UtteranceUserActionFinished"):
        yield User(intents=(ANYTHING,), line=line)
    else:
        yield Await(what=name, line=line)


def _label(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    yield Label(name=str(value), line=line)


def _goto(item: dict[str, Any], value: Any, line: int | None) -> Iterator[Step]:
    yield Goto(label=str(value), line=line)


_READERS = {
    "user": _user,
    "bot": _bot,
    "flow": _call,
    "run": _run,
    "set": _set,
    "if": _if,
    "while": _while,
    "any": _any,
    "infer": _infer,
    "return": _leave,
    "break": _leave,
    "event": _await,
    "label": _label,
    "checkpoint": _label,
    "goto": _goto,
}
