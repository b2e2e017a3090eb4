"""A NeMo configuration's YAML, gathered into what a policy can come from, each piece with its place.

Rules

1. The files are read before any runtime sees them: the runtime adds to what it is given.
2. Pieces that NeMo joins (instructions, prompts) are joined; those of which it keeps one file's (``rails``) are an
   error where two files give them, because which one counts depends on the order of a folder.
3. A key that says nothing about what may be said is no business of a policy's; one that is unknown is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from railscribe.policy.diagnostics import Diagnostic, Severity, Source, line_of

SIDES = ("input", "output", "retrieval", "tool_input", "tool_output")
_WITHOUT_WORDS = {
    "models", "colang_version", "lowest_temperature", "enable_multi_step_generation", "event_source_uid",
    "prompting_mode", "knowledge_base", "core", "streaming", "passthrough", "raw_llm_call_action",
    "enable_rails_exceptions", "tracing", "metrics", "import_paths", "actions_server_url", "docs",
    "embedding_search_provider", "imported_paths", "cache", "guardrails_data", "log",
}  # fmt: skip
_READ = {
    "instructions",
    "prompts",
    "rails",
    "sample_conversation",
    "custom_data",
    "user_messages",
    "bot_messages",
    "flows",
}


_IN_YAML = ("user_messages", "bot_messages", "flows")


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFile:
    """One YAML file, read: what it says, and where each field stands by its dotted path."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[str, int]
    origins: Mapping[int, Source] = field(default_factory=dict)
    """What a compiled policy says of where its lines come from."""

    def source(self, path: str, construct: str = "") -> Source:
        """Return the place of the field at *path*, or of the innermost part of it that has one."""
        return Source(file=self.name, line=line_of(path, self.lines), construct=construct or path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt of a task."""

    task: str
    text: str
    source: Source
    first_line: int | None = None
    """Where the first line of the text stands, if each line of it has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One flow that is switched on for a side."""

    side: str
    name: str
    source: Source


@dataclass(slots=True, kw_only=True)
class Configuration:
    """All that the YAML files of a configuration say (rule 2)."""

    version: Literal["1.0", "2.x"] = "1.0"
    instructions: list[tuple[str, str, Source]] = field(default_factory=list)
    prompts: list[Prompt] = field(default_factory=list)
    rails: list[Rail] = field(default_factory=list)
    settings: dict[str, tuple[Any, Source]] = field(default_factory=dict)
    custom_data: list[tuple[str, Any, Source]] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def prompts_of(self, task: str) -> list[Prompt]:
        """Return the prompts of *task*: NeMo takes the one that fits the model in use, so all of them count."""
        return [prompt for prompt in self.prompts if prompt.task == task]

    def setting(self, *path: str) -> tuple[Any, Source | None]:
        """Return the value at *path* below ``rails.config``, and where its section stands."""
        found, source = self.settings.get(path[0], (None, None))
        for key in path[1:]:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found, source


def configuration_of(files: Sequence[YamlFile]) -> Configuration:
    """Return what *files* say together."""
    found = Configuration()
    for file in files:
        if str(file.data.get("colang_version", "1.0")) == "2.x":
            found.version = "2.x"
    with_rails = [file for file in files if file.data.get("rails")]
    if len(with_rails) > 1:
        found.diagnostics.append(
            _problem(
                "C018",
                Severity.ERROR,
                f"rails are given here and in {with_rails[0].name}; NeMo keeps those of one file",
                with_rails[-1].source("rails"),
                "Put all rails into one file.",
            )
        )
    for file in files:
        _read(found, file)
    return found


def _problem(
    code: str, severity: Severity, message: str, source: Source, hint: str | None = None
) -> Diagnostic:
    return Diagnostic(
        code=code, severity=severity, message=message, file=source.file, line=source.line, hint=hint
    )


def _read(found: Configuration, file: YamlFile) -> None:
    for number, instruction in _items(found, file, "instructions"):
        content = instruction.get("content")
        if isinstance(content, str):
            kind = str(instruction.get("type", "general"))
            source = file.source(f"instructions.{number}.content", f"instructions ({kind})")
            found.instructions.append((kind, content, source))
    for number, prompt in _items(found, file, "prompts"):
        _read_prompt(found, file, number, prompt)
    rails = file.data.get("rails")
    if isinstance(rails, Mapping):
        _read_rails(found, file, rails)
    elif rails is not None:
        found.diagnostics.append(_misshapen(file, "rails"))
    if "sample_conversation" in file.data:
        source = file.source("sample_conversation")
        message = "the sample conversation is no rule; it is left out"
        found.diagnostics.append(_problem("C303", Severity.NOTE, message, source))
    custom = file.data.get("custom_data")
    if isinstance(custom, Mapping):
        found.custom_data.extend(
            (str(key), value, file.source(f"custom_data.{key}")) for key, value in custom.items()
        )
    found.diagnostics.extend(_unread(file))


def _unread(file: YamlFile) -> Iterator[Diagnostic]:
    """Yield what is to be said of fields that are not read (rule 3)."""
    for key, value in file.data.items():
        source = file.source(str(key))
        if key in _IN_YAML and value:
            message = f"{key} in YAML are not read, and a refusal may hide in them"
            yield _problem("C023", Severity.ERROR, message, source, "Write them in a .co file.")
        elif key not in _READ | _WITHOUT_WORDS:
            message = f"the field {key!r} is not known here and was left out"
            yield _problem("C306", Severity.WARNING, message, source)


def _items(found: Configuration, file: YamlFile, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    listed = file.data.get(key) or []
    if not isinstance(listed, list):
        found.diagnostics.append(_misshapen(file, key))
        return
    for number, item in enumerate(listed):
        if isinstance(item, Mapping):
            yield number, item
        else:
            found.diagnostics.append(_misshapen(file, f"{key}.{number}"))


def _misshapen(file: YamlFile, path: str) -> Diagnostic:
    return _problem(
        "C024", Severity.ERROR, f"{path} does not have the shape that NeMo reads", file.source(path)
    )


def _read_prompt(found: Configuration, file: YamlFile, number: int, prompt: Mapping[str, Any]) -> None:
    task = str(prompt.get("task", ""))
    field_name, text = "content", prompt.get("content")
    if not isinstance(text, str):
        messages = prompt.get("messages") or []
        parts = [
            m if isinstance(m, str) else m.get("content") for m in messages if isinstance(m, (str, Mapping))
        ]
        field_name, text = "messages", "\n".join(part for part in parts if isinstance(part, str))
    source = file.source(f"prompts.{number}.{field_name}", f"prompt {task}")
    first_line = file.lines.get(f"prompts.{number}.content.|") if field_name == "content" else None
    found.prompts.append(Prompt(task=task, text=text, source=source, first_line=first_line))


def _read_rails(found: Configuration, file: YamlFile, rails: Mapping[str, Any]) -> None:
    for side in SIDES:
        section = rails.get(side)
        flows = section.get("flows") if isinstance(section, Mapping) else None
        if section is not None and not isinstance(section, Mapping):
            found.diagnostics.append(_misshapen(file, f"rails.{side}"))
        if flows is not None and not isinstance(flows, list):
            found.diagnostics.append(_misshapen(file, f"rails.{side}.flows"))
        for number, name in enumerate(flows if isinstance(flows, list) else []):
            source = file.source(f"rails.{side}.flows.{number}", f"rails.{side}: {name}")
            found.rails.append(Rail(side=side, name=str(name), source=source))
    settings = rails.get("config")
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            found.settings[str(key)] = (value, file.source(f"rails.config.{key}", f"rails.config.{key}"))
