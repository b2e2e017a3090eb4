"""Find a policy by name or path and read it. The only part of this package that touches a file."""

from __future__ import annotations

import difflib
import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from railscribe.errors import PolicyError
from railscribe.policy.document import Policy, parse_policy


def ready_policies() -> dict[str, Path]:
    """Return the policies that ship with Railscribe: their files by name."""
    folder = Path(str(files("railscribe.rails_configs"))) / "policies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_policy(name_or_path: str) -> Policy:
    """Return the policy called *name_or_path*: a ready one's name, or a YAML or JSON file.

    Raises:
        PolicyError: no such policy (the nearest names are given), or the file does not hold one (the field is
            named).
    """
    ready = ready_policies()
    if name_or_path in ready:
        return _read(ready[name_or_path])
    path = Path(name_or_path)
    if path.suffix.lower() in {".yaml", ".yml", ".json"}:
        return _read(path)
    near = difflib.get_close_matches(name_or_path, ready, n=3, cutoff=0.3) or list(ready)
    raise PolicyError(
        f"There is no policy called {name_or_path!r}.",
        hint=f"Give a .yaml or .json file, or a ready one: {', '.join(near)}.",
    )


def _read(path: Path) -> Policy:
    try:
        modified = path.stat().st_mtime_ns
    except OSError as error:
        raise PolicyError(f"Cannot read the policy file {path}: {error.strerror}.") from error
    return _read_cached(path, modified)


@lru_cache(maxsize=64)
def _read_cached(path: Path, _modified_ns: int) -> Policy:
    try:
        text = path.read_text(encoding="utf-8")
        document: Any = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise PolicyError(f"Cannot read the policy file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path} is not UTF-8 text.") from error
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        line = getattr(error, "lineno", None) or getattr(getattr(error, "problem_mark", None), "line", -1) + 1
        reason = getattr(error, "msg", None) or getattr(error, "problem", None) or "syntax error"
        raise PolicyError(f"{path}, line {line}: {reason}.") from None
    if not isinstance(document, dict):
        raise PolicyError(f"{path} does not hold a policy.", hint="Its top level must be fields such as name: and version:.")
    try:
        return parse_policy(document)
    except PolicyError as error:
        raise PolicyError(f"{path}{_line_of(text, str(error))}: {error}") from None


def _line_of(text: str, problem: str) -> str:
    """Return ``, line N`` of the field a problem starts with, where it can be found in *text*."""
    field = problem.split(":", 1)[0].split(".", 1)[0].strip()
    for number, line in enumerate(text.splitlines(), start=1):
        if field and line.lstrip(' "').startswith((f"{field}:", f'{field}":')):
            return f", line {number}"
    return ""
