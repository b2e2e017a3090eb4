"""Compile every example configuration that NeMo Guardrails ships, and print a table of what came of each.

    python benchmarks/example_configs.py [FOLDER] [--details]

FOLDER is searched for configurations; without it, the examples in the installed wheel are. Their newest wheels hold
three; the wheel of 0.22.0 held all of the repository's, and ``pip download --no-deps nemoguardrails==0.22.0`` and
unpacking it gives the folder that docs/colang-examples.md was made from.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from railscribe.policy.compile import compile_policy
from railscribe.policy.compiled import Compiled
from railscribe.policy.diagnostics import Severity
from railscribe.policy.gather import gather, library_flows

_COLUMNS = (
    "configuration", "intents refused", "disallowed", "allowed", "categories", "compiles", "errors", "warnings",
    "notes",
)  # fmt: skip


def shipped() -> Path:
    """Return the folder of the examples in the installed wheel."""
    spec = find_spec("nemoguardrails")
    if spec is None or spec.origin is None:
        sys.exit("NeMo Guardrails is not installed")
    return Path(spec.origin).parent / "examples"


def configurations(folder: Path) -> Iterator[Path]:
    """Yield the outermost folders below *folder* that hold YAML or Colang."""
    found: list[Path] = []
    for path in sorted({p.parent for p in folder.rglob("*") if p.suffix in {".yml", ".yaml", ".co"}}):
        if path != folder and not any(outer in path.parents for outer in found):
            found.append(path)
            yield path


def row(folder: Path, path: Path, compiled: Compiled) -> str:
    """Return one line of the table."""
    kinds = Counter(clause.kind for clause in compiled.clauses)
    codes = {
        severity: Counter(found.code for found in compiled.diagnostics if found.severity is severity)
        for severity in Severity
    }
    cells = [
        path.relative_to(folder).as_posix(),
        str(compiled.refused_intents),
        str(kinds["disallowed"]),
        str(kinds["allowed"]),
        str(kinds["category"]),
        "yes" if not compiled.failed else "no",
        *(
            " ".join(f"{c}x{n}" if n > 1 else c for c, n in sorted(codes[severity].items()))
            for severity in Severity
        ),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--details", action="store_true", help="print each clause and diagnostic as well")
    options = parser.parse_args()
    folder = options.folder or shipped()
    library = library_flows()
    print(f"| {' | '.join(_COLUMNS)} |")
    print("|---|---:|---:|---:|---:|---|---|---|---|")
    for path in configurations(folder):
        compiled = compile_policy(gather(path), library=lambda: library)
        print(row(folder, path, compiled), flush=True)
        if options.details:
            for clause in compiled.clauses:
                source = f"{clause.source.place} {clause.source.construct}" if clause.source else ""
                print(f"      {clause.kind}: {clause.text[:110]}   <- {source[:110]}")
            for found in compiled.diagnostics:
                if found.severity is not Severity.NOTE:
                    print(f"      {found.place} {found.severity.value} {found.code}: {found.message[:170]}")


if __name__ == "__main__":
    main()
