"""Read what is to be compiled: a folder or a file, and all that it imports.

Rules

1. Files are taken in the order of their names, each once. A folder that links back into itself is left.
2. Text is UTF-8. A byte-order mark is taken off; anything else is an error with the line of the first such byte,
   and is then read as Latin-1, so that the rest can be checked too.
3. What is imported is read like the rest. NeMo's own library is not read: it is known by name
   (:mod:`railscribe.policy.nemo.catalog`).
4. Nothing is written, run or imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

from railscribe.errors import MissingExtraError, PolicyError
from railscribe.policy.diagnostics import Diagnostic, Severity
from railscribe.policy.gathered import ColangFile, Gathered
from railscribe.policy.nemo.catalog import Library
from railscribe.policy.nemo.configuration import YamlFile
from railscribe.policy.writing import origins
from railscribe.policy.yaml_text import Unreadable, read_yaml

_COLANG, _YAML = {".co"}, {".yml", ".yaml", ".json"}
_MAX_FILE = 8 * 1024 * 1024
_MAX_FILES = 5_000
_IMPORT = re.compile(r"^import[ \t]+(?P<path>\"[^\"]+\"|'[^']+'|[\w.]+)", re.MULTILINE)
_DEFINES = re.compile(
    r"^(?:flow|define (?:sub)?flow|define parallel flow)[ \t]+([^$\n(>#\"-]+?)[ \t]*(?:[$(:>#-].*)?$",
    re.MULTILINE,
)
_OURS = Path(__file__).resolve().parents[1] / "rails"


def gather(path: str | os.PathLike[str]) -> Gathered:
    """Return what *path* holds, with what could not be read as diagnostics.

    Raises:
        PolicyError: there is nothing at *path*.
    """
    root = Path(path)
    reader = _Reader(root)
    try:
        is_folder = root.is_dir()
        exists = is_folder or root.is_file()
    except OSError as error:
        raise PolicyError(f"Cannot read {root}: {error.strerror}.") from error
    if not exists:
        raise PolicyError(
            f"There is nothing to compile at {root}.", hint="Give a folder with a config.yml, or a file."
        )
    if is_folder:
        reader.folder(root, root)
        reader.check_folder()
    else:
        if root.suffix.lower() not in _COLANG | _YAML:
            raise PolicyError(
                f"{root} is neither Colang, YAML nor JSON.", hint="Its ending says which: .co, .yml, .json."
            )
        reader.file(root)
    reader.imports()
    return reader.gathered()


class _Reader:
    """Reads files, each once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._base = root if root.is_dir() else root.parent
        self._yaml: list[YamlFile] = []
        self._colang: list[ColangFile] = []
        self._diagnostics: list[Diagnostic] = []
        self._folders: set[Path] = set()
        self._files: set[Path] = set()
        self._ignored = _ignored(self._base)
        self._documents = False

    def gathered(self) -> Gathered:
        resolved = self._root.resolve()
        return Gathered(
            name=resolved.stem if self._root.is_file() else resolved.name,
            is_folder=self._root.is_dir(),
            yaml=tuple(self._yaml),
            colang=tuple(self._colang),
            diagnostics=tuple(self._diagnostics),
        )

    def folder(self, folder: Path, top: Path) -> None:
        """Read all of *folder*, and the folders in it (rule 1)."""
        resolved = folder.resolve()
        if resolved in self._folders:
            self._say(
                "C012",
                Severity.WARNING,
                "this folder was read already, by another name; it is read once",
                folder,
            )
            return
        self._folders.add(resolved)
        try:
            entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        except OSError as error:
            self._say("C019", Severity.ERROR, f"the folder cannot be read: {error.strerror}", folder)
            return
        for entry in entries:
            if folder == top and entry.name.startswith("kb"):
                self._say(
                    "C305", Severity.NOTE, "documents are knowledge, not rules; they are left out", entry
                )
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError as error:
                self._say("C012", Severity.WARNING, f"this link leads nowhere: {error.strerror}", entry)
                continue
            if is_folder:
                self.folder(entry, top)
            elif entry.suffix.lower() in _COLANG | _YAML - {".json"} and not self._is_ignored(entry):
                if is_file:
                    self.file(entry)
                else:
                    self._say("C012", Severity.WARNING, "this link leads nowhere, or to itself", entry)

    def file(self, path: Path) -> None:
        """Read the file at *path*."""
        resolved = path.resolve()
        if resolved in self._files:
            return
        self._files.add(resolved)
        if len(self._files) > _MAX_FILES:
            if len(self._files) == _MAX_FILES + 1:
                self._say(
                    "C013",
                    Severity.ERROR,
                    f"there are more than {_MAX_FILES} files; the rest is not read",
                    path,
                )
            return
        text = self._text(path)
        if text is None:
            return
        name = self._named(path)
        if path.suffix.lower() in _COLANG:
            self._colang.append(ColangFile(name=name, text=text))
            return
        try:
            read = read_yaml(text, is_json=path.suffix.lower() == ".json")
        except Unreadable as error:
            self._say(
                "C015",
                Severity.ERROR,
                f"this is not {path.suffix[1:].upper()}: {error}",
                path,
                line=error.line,
            )
            return
        for key, line in read.repeated:
            message = f"{key!r} is given twice, and only the last would count"
            self._say("C025", Severity.ERROR, message, path, "Delete one of them.", line=line)
        if read.data is None:
            return
        if isinstance(read.data, dict):
            self._yaml.append(YamlFile(name=name, data=read.data, lines=read.lines, origins=origins(text)))
        else:
            self._say("C024", Severity.ERROR, "the file does not hold fields", path, line=1)

    def check_folder(self) -> None:
        """Say where there is no configuration, or more than one."""
        if not (self._yaml or self._colang or self._diagnostics):
            hint = "Give the folder in which config.yml or the .co files lie."
            self._say("C014", Severity.ERROR, "there is no configuration in this folder", self._root, hint)
            return
        names = [Path(file.name) for file in self._yaml if Path(file.name).stem == "config"]
        at_top = [name for name in names if len(name.parts) == 1]
        if len(names) > 1 and not at_top:
            listed = ", ".join(str(name.parent.as_posix()) for name in names[:3])
            hint = f"Give one of them: {listed}{', ...' if len(names) > 3 else ''}."
            self._say(
                "C014", Severity.ERROR, "there are several configurations in this folder", self._root, hint
            )

    def imports(self) -> None:
        """Read what is imported, and what that imports (rule 3)."""
        done: set[str] = set()
        found = True
        while found:
            found = False
            for wanted, file, line in list(self._wanted()):
                if wanted in done:
                    continue
                done.add(wanted)
                found = True
                self._import(wanted, file, line)

    def _wanted(self) -> Iterator[tuple[str, str, int | None]]:
        for yaml in self._yaml:
            listed = yaml.data.get("import_paths")
            for number, path in enumerate(listed if isinstance(listed, list) else []):
                yield str(path), yaml.name, yaml.lines.get(f"import_paths.{number}")
        for colang in self._colang:
            if re.search(r"^\s*define\b", colang.text, re.MULTILINE):
                continue  # 1.0 reads imports and ignores them
            for match in _IMPORT.finditer(colang.text):
                raw = match["path"]
                path = raw.strip("\"'") if raw[0] in "\"'" else raw.replace(".", "/")
                yield path, colang.name, colang.text.count("\n", 0, match.start()) + 1

    def _import(self, wanted: str, file: str, line: int | None) -> None:
        library = _library_roots()
        for base in (self._base, Path.cwd(), *_colang_path(), *library):
            for candidate in (base / wanted, base / f"{wanted}.co"):
                if not candidate.exists():
                    continue
                resolved = candidate.resolve()
                if resolved.is_relative_to(_OURS) or any(
                    resolved.is_relative_to(root) for root in library[:2]
                ):
                    return
                if candidate.is_dir():
                    self.folder(candidate, candidate)
                else:
                    self.file(candidate)
                return
        if wanted.rstrip("/").endswith("railscribe/rails"):
            return
        self._diagnostics.append(
            Diagnostic(
                code="C016",
                severity=Severity.ERROR,
                message=f"the import {wanted!r} was not found",
                file=file,
                line=line,
                hint="Paths are looked up beside the configuration, in the current folder, in COLANGPATH and in NeMo.",
            )
        )

    def _text(self, path: Path) -> str | None:
        try:
            if path.stat().st_size > _MAX_FILE:
                self._say(
                    "C013", Severity.ERROR, f"the file is larger than {_MAX_FILE} bytes and is not read", path
                )
                return None
            raw = path.read_bytes()
        except OSError as error:
            self._say("C019", Severity.ERROR, f"the file cannot be read: {error.strerror}", path)
            return None
        if raw.startswith(b"\xef\xbb\xbf"):
            message = (
                "the file begins with a byte-order mark, which NeMo takes for a letter; it was taken off"
            )
            self._say("C011", Severity.WARNING, message, path, "Save the file as UTF-8 without it.", line=1)
            raw = raw[3:]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            wide = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
            self._say(
                "C010", Severity.ERROR, "the file is not UTF-8 text", path, "Save it as UTF-8.", line=line
            )
            text = raw.decode("utf-16", errors="replace") if wide else raw.decode("latin-1")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def _named(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self._base.absolute())).as_posix()

    def _is_ignored(self, path: Path) -> bool:
        return any(fnmatch(path.name, pattern) for pattern in self._ignored)

    def _say(
        self,
        code: str,
        severity: Severity,
        message: str,
        path: Path,
        hint: str | None = None,
        *,
        line: int | None = None,
    ) -> None:
        named = self._named(path)
        self._diagnostics.append(
            Diagnostic(code=code, severity=severity, message=message, file=named, line=line, hint=hint)
        )


def _ignored(base: Path) -> tuple[str, ...]:
    try:
        lines = (base / ".railsignore").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _colang_path() -> list[Path]:
    return [Path(part.strip()) for part in os.environ.get("COLANGPATH", "").split(os.pathsep) if part.strip()]


def _library_roots() -> tuple[Path, ...]:
    """Return NeMo's standard library, its package, and the folder that package lies in."""
    spec = find_spec("nemoguardrails")
    if spec is None or not spec.origin:
        return ()
    package = Path(spec.origin).resolve().parent
    return (package / "colang" / "v2_x" / "library", package, package.parent)


def library_flows() -> Library:
    """Return the names of the flows in the library of the installed NeMo Guardrails.

    Raises:
        MissingExtraError: NeMo Guardrails is not installed.
    """
    roots = _library_roots()
    if not roots:
        raise MissingExtraError(
            "Compiling a NeMo configuration needs NeMo Guardrails, which is not installed.",
            hint="Install it with: pip install 'railscribe[nemo]'.",
        )
    return Library(rails=_flows_in(roots[1] / "library"), helpers=_flows_in(roots[0]))


def _flows_in(folder: Path) -> frozenset[str]:
    texts = (path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.co")))
    return frozenset(name.strip() for text in texts for name in _DEFINES.findall(text))
