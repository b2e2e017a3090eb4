"""Colang files to one script, and NeMo's errors to diagnostics.

NeMo Guardrails is needed for the syntax alone: nothing of it runs. Files of the version that the configuration
does not use are left out, as NeMo leaves them out, and named.
"""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from railscribe.errors import MissingExtraError
from railscribe.policy.colang.script import Script
from railscribe.policy.colang.v1 import read_v1
from railscribe.policy.colang.v2 import read_v2
from railscribe.policy.diagnostics import Diagnostic, Severity

_DEFINE = re.compile(r"^\s*define", re.MULTILINE)
_DOCSTRING = re.compile(r'""".*?"""', re.DOTALL)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_WHERE = re.compile(r"\bline (\d+)\b")


def read_colang(files: Iterable[tuple[str, str]], version: Literal["1.0", "2.x"]) -> Script:
    """Return what *files*, pairs of a name and its text, say in Colang *version*.

    Raises:
        MissingExtraError: NeMo Guardrails is not installed.
    """
    script = Script(version=version)
    listed = list(files)
    if listed:
        _need_parsers()
    for file, text in listed:
        if not _COMMENT.sub("", text).strip():
            continue
        found = version_of(text)
        if found != version:
            script.diagnostics.append(_other_version(file, found, version))
            continue
        with _translated(script, file):
            (read_v1 if version == "1.0" else read_v2)(script, file, text)
    return script


def version_of(text: str) -> Literal["1.0", "2.x"]:
    """Return the version *text* is written in, by the same sign that NeMo goes by."""
    return "1.0" if _DEFINE.search(_COMMENT.sub("", _DOCSTRING.sub("", text))) else "2.x"


def _need_parsers() -> None:
    try:
        import nemoguardrails.colang  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "Reading Colang needs NeMo Guardrails, which is not installed.",
            hint="Install it with: pip install 'railscribe[nemo]'.",
        ) from error


def _other_version(file: str, found: str, version: str) -> Diagnostic:
    return Diagnostic(
        code="C022",
        severity=Severity.ERROR,
        message=f"this is Colang {found}, and the configuration is {version}: NeMo leaves the file out",
        file=file,
        line=1,
        hint=f'Set colang_version: "{found}" in config.yml, or take the file away.',
    )


@contextmanager
def _translated(script: Script, file: str) -> Iterator[None]:
    log = logging.getLogger("nemoguardrails")
    level = log.level
    log.setLevel(logging.CRITICAL)
    # The collector walks a growing parse tree again and again, in which there is no garbage: with it, the parser for
    # 2.x takes twice the time, and more for each flow the more there are (benchmarks/compile_time.py).
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    except RecursionError:
        script.diagnostics.append(
            Diagnostic(
                code="C021",
                severity=Severity.ERROR,
                message="blocks are nested too deeply to be read",
                file=file,
                hint="Move inner blocks into flows of their own.",
            )
        )
    except Exception as error:  # noqa: BLE001 - NeMo's parsers raise what comes: Exception, AssertionError, lark's
        script.diagnostics.append(
            Diagnostic(
                code="C020",
                severity=Severity.ERROR,
                message=f"NeMo's Colang {script.version} parser refuses this: {_reason(error)}",
                file=file,
                line=_line(error),
                hint="NeMo Guardrails would not start with this file either.",
            )
        )
    finally:
        if collecting:
            gc.enable()
        log.setLevel(level)


def _line(error: Exception) -> int | None:
    line = getattr(error, "line", None)
    if isinstance(line, int) and line > 0:
        return line
    found = _WHERE.search(str(error))
    return int(found[1]) if found else None


def _reason(error: Exception) -> str:
    # The first line at most: lark goes on to quote the file and to list what it had hoped for.
    said = getattr(error, "error", None) or str(error) or type(error).__name__
    first = str(said).strip().split("\n")[0]
    return re.sub(r"^Error parsing line \d+ in \S+: ", "", first)[:200].rstrip(".")
