"""YAML and JSON text to data, with the line of every field, in one parse.

Aliases are allowed here, for NeMo allows them: each anchored node is visited once, so they multiply nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Unreadable(Exception):  # noqa: N818 - a finding, translated into a diagnostic by the one caller
    """The text is not what its ending says."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadYaml:
    """What a text says."""

    data: Any
    lines: dict[str, int] = field(default_factory=dict)
    """By dotted path, counted from 1. That of a block's first line has ``.|`` behind its path."""
    repeated: tuple[tuple[str, int], ...] = ()
    """Keys that are given twice, and where for the second time."""


def read_yaml(text: str, *, is_json: bool = False) -> ReadYaml:
    """Return what *text* says.

    Raises:
        Unreadable: it is not YAML, or not JSON.
    """
    try:
        if is_json:
            json.loads(text)  # what is no JSON is said to be none, though YAML might read it
            text = text.replace("\t", " ")
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            lines, repeated = _lines(node)
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except json.JSONDecodeError as error:
        raise Unreadable(error.msg, error.lineno) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "syntax error"
        raise Unreadable(str(reason), mark.line + 1 if mark else None) from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply", None) from error
    except ValueError as error:  # such as a date that there is not
        raise Unreadable(str(error), None) from error
    return ReadYaml(data=data, lines=lines, repeated=tuple(repeated))


def _lines(root: yaml.Node | None) -> tuple[dict[str, int], list[tuple[str, int]]]:
    lines: dict[str, int] = {}
    repeated: list[tuple[str, int]] = []
    seen: set[int] = set()
    waiting: list[tuple[str, yaml.Node | None]] = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        prefix = f"{path}." if path else ""
        children: list[tuple[str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys:
                    repeated.append((name, key.start_mark.line + 1))
                keys.add(name)
                children.append((name, key, value))
        elif isinstance(node, yaml.SequenceNode):
            children = [(str(number), item, item) for number, item in enumerate(node.value)]
        for name, start, value in children:
            lines[prefix + name] = start.start_mark.line + 1
            if isinstance(value, yaml.ScalarNode) and value.style == "|":
                lines[f"{prefix}{name}.|"] = value.start_mark.line + 2
            waiting.append((prefix + name, value))
    return lines, sorted(repeated, key=lambda found: found[1])
