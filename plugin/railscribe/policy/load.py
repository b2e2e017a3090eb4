"""Find a policy by name or path and read it. The only part of this package that touches a file.

YAML is read without what makes it surprising: aliases, which can multiply a small file without end, and a key
given twice, or once more by a merge (``<<``), of which all but one would be dropped without a word.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from railscribe.errors import PolicyError
from railscribe.policy.cases import Suite, parse_suite
from railscribe.policy.diagnostics import Clause, Source
from railscribe.policy.document import MAX_BYTES, Policy, parse_policy
from railscribe.policy.lint import lint
from railscribe.policy.registration import Registration, SourceFile, document_clauses
from railscribe.policy.writing import allowances, origins

_ENDINGS = {".yaml", ".yml", ".json"}


def ready_policies() -> dict[str, Path]:
    """Return the policies that ship with Railscribe: their files by name."""
    folder = Path(str(files("railscribe.rails_configs"))) / "policies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_policy(name_or_path: str) -> Policy:
    """Return the policy called *name_or_path*: a ready one's name, or a YAML or JSON file.

    Raises:
        PolicyError: no such policy (the nearest names are given), or the file does not hold one (its lines
            and fields are named).
    """
    ready = ready_policies()
    if name_or_path in ready:
        return _read(ready[name_or_path])
    if _is_file_name(name_or_path):
        return _read(Path(name_or_path))
    raise PolicyError(
        f"There is no policy called {name_or_path!r}.",
        hint=f"Give a .yaml or .json file, or a ready one: {', '.join(nearest_ready(name_or_path))}.",
    )


def is_loadable(name_or_path: str) -> bool:
    """Whether *name_or_path* is for :func:`load_policy`: a ready policy's name, or a file by its ending."""
    return name_or_path in ready_policies() or _is_file_name(name_or_path)


def _is_file_name(name_or_path: str) -> bool:
    return Path(name_or_path).suffix.lower() in _ENDINGS


def load_registration(name_or_path: str) -> Registration:
    """Return what :func:`load_policy` returns with its source, where each clause stands, and what lint says of it.

    Raises:
        PolicyError: as :func:`load_policy`.
    """
    policy = load_policy(name_or_path)
    path = ready_policies().get(name_or_path, Path(name_or_path))
    text = _text(path)
    document, lines = _parse(path, text)
    if parse_policy(document) != policy:
        raise PolicyError(f"{path} was changed while it was read.", hint="Try again.")
    clauses = document_clauses(policy, document, lines=lines, file=path.name)
    return Registration(
        policy=policy,
        sources=(SourceFile(file=path.name, text=text),),
        clauses=tuple(_traced(clauses, origins(text))),
        allowances=allowances(text),
        diagnostics=tuple(lint(document, lines=lines, file=path.name)),
    )


def _traced(clauses: Iterable[Clause], origins: Mapping[int, Source]) -> Iterator[Clause]:
    """Yield *clauses*, those of a compiled policy with the places that they were compiled from."""
    for clause in clauses:
        origin = origins.get(clause.source.line or 0) if clause.source else None
        yield replace(clause, source=origin) if origin else clause


def ready_cases() -> dict[str, Path]:
    """Return the cases that ship with ready policies: their files by the policy's name."""
    folder = Path(str(files("railscribe.rails_configs"))) / "policies" / "cases"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_cases(name_or_path: str, *, policy: str | None = None) -> Suite:
    """Return the cases called *name_or_path*: a YAML or JSON file, or those of the ready policy of that name.

    *policy*, a name or a path, takes the place of the policy that the file names.

    Raises:
        PolicyError: no such cases, or the file does not hold any (its lines and fields are named).
    """
    ready = ready_cases()
    path = ready.get(name_or_path, Path(name_or_path))
    if not (name_or_path in ready or _is_file_name(name_or_path)):
        raise PolicyError(
            f"There are no cases for {name_or_path!r}.",
            hint=f"Give a .yaml file of cases, or a ready policy that has some: {', '.join(ready) or 'none has'}.",
        )
    document, lines = read_document(path)

    def beside(name: str) -> Policy:
        near = path.parent / name
        return load_policy(policy or (str(near) if near.is_file() else name))

    def is_there(picture: str) -> bool:
        try:
            return (path.parent / picture).is_file()
        except OSError:  # a name that no system takes
            return False

    return parse_suite(document, file=str(path), lines=lines, policy=beside, is_there=is_there)


def nearest_ready(name: str) -> list[str]:
    """Return the ready policies whose names are near *name*; all where none is."""
    ready = list(ready_policies())
    return difflib.get_close_matches(name, ready, n=3, cutoff=0.3) or ready


def policy_documents(path: Path) -> dict[str, dict[str, Any]]:
    """Return the documents of *path*, a JSON list of policies that labelled rows refer to by name.

    Their built-in categories are off unless one says otherwise: such rows are labelled by the policy's own words.

    Raises:
        PolicyError: the file cannot be read, or is no list of documents with names.
    """
    try:
        listed = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unrepeated)
        return {document["name"]: {"builtin": False, **document} for document in listed}
    except OSError as error:
        raise PolicyError(f"Cannot read the policies {path}: {_reason(error)}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise PolicyError(
            f"{path} does not hold policies.", hint="It must be a JSON list of documents, each with a name."
        ) from error


def read_document(path: Path, *, of_policy: bool = False) -> tuple[Any, dict[str, int]]:
    """Return what the YAML or JSON file *path* says, and the line of each field by its dotted path ("cases.0.name").

    Raises:
        PolicyError: it cannot be read, is no UTF-8, is no YAML or JSON as this module takes it, or is too large
            *of_policy*.
    """
    if of_policy and path.is_file():
        _check_size(path, path.stat().st_size)
    return _parse(path, _text(path))


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise PolicyError(f"The policy file {path} is larger than {MAX_BYTES} bytes.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PolicyError(f"Cannot read {path}: {_reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path} is not UTF-8 text.") from error


def _read(path: Path) -> Policy:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        hint = f"Ready policies have no ending: {', '.join(ready_policies())}."
        raise PolicyError(f"Cannot read the policy file {path}: {_reason(error)}.", hint=hint) from error
    _check_size(path, found.st_size)
    return _read_cached(path.absolute(), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _read_cached(path: Path, _modified_ns: int, _size: int) -> Policy:
    document, lines = read_document(path)
    if not isinstance(document, dict):
        hint = "Its top level must be fields such as name: and version:."
        raise PolicyError(f"{path} does not hold a policy.", hint=hint)
    try:
        return parse_policy(document, lines=lines)
    except PolicyError as error:
        raise PolicyError(f"{path}: {error}") from None


def _parse(path: Path, text: str) -> tuple[Any, dict[str, int]]:
    """Return what *text* says and the line of each field."""
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_unrepeated), _json_lines(text)
        return yaml.load(text, _PlainLoader), _lines(text)  # noqa: S506 - a SafeLoader, and stricter
    except RecursionError:
        raise PolicyError(f"{path} is nested too deeply to be a policy.") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", None)
        raise PolicyError(f"{path}{f', line {line}' if line else ''}: {_reason(error)}.") from None


_MERGE = "tag:yaml.org,2002:merge"


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, without repeated keys and without merges, which repeat keys unseen."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise ComposerError(None, None, "a policy is written out, without aliases", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - its parent's signature
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.tag == _MERGE:
                raise ConstructorError(
                    None, None, "a policy is written out, without merges (<<)", key.start_mark
                )
            if key.value in seen:
                raise ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"{name!r} is given twice")
        fields[name] = value
    return fields


def _json_lines(text: str) -> dict[str, int]:
    # JSON is YAML but for the tabs, near enough to find the lines; without them the fields are still named.
    try:
        return _lines(text.replace("\t", " "))
    except yaml.YAMLError:
        return {}


def _lines(text: str) -> dict[str, int]:
    """Return the line of every field and item of *text*, by its dotted path."""
    lines: dict[str, int] = {}
    waiting: list[tuple[str, yaml.Node | None]] = [("", yaml.compose(text, _PlainLoader))]
    while waiting:
        path, node = waiting.pop()
        prefix = f"{path}." if path else ""
        children: list[tuple[str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            children = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            children = [(str(number), item, item) for number, item in enumerate(node.value)]
        for name, start, value in children:
            lines[prefix + name] = start.start_mark.line + 1
            waiting.append((prefix + name, value))
    return lines


def _reason(error: Exception) -> str:
    """Return what *error* complains of, in its own words."""
    for name in ("strerror", "msg", "problem", "reason"):
        words = getattr(error, name, None)
        if words:
            return str(words)
    return str(error) or "syntax error"
