"""The command line, run as a person runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@pytest.fixture
def railscribe(tmp_path: Path) -> Callable[..., Ran]:
    """Runs ``railscribe`` in an empty folder with a clean environment."""

    def run(*arguments: str, stdin: str | None = None, timeout: float = 120, **environment: str) -> Ran:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAILSCRIBE_")}
        ran = subprocess.run(
            [
                sys.executable,
                "-P" if sys.version_info >= (3, 11) else "-s",
                "-c",
                "from railscribe.cli.main import main; main()",
                *arguments,
            ],
            cwd=tmp_path,
            env={**kept, "COLUMNS": "200", **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run
