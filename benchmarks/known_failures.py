"""List what a guard gets wrong of policies' cases, or write it into the cases as known failures.

    railscribe policy test retail-banking customer-support --json > report.json
    python benchmarks/known_failures.py report.json                    # how many pass, and each case that does not
    python benchmarks/known_failures.py report.json --mark embedded    # ... and that goes into the files

Rules

1. Marking changes ``known_failure`` alone: no expectation is touched, and every other line of a file stays as it is.
2. A guard's mark on a case that fails is written anew; on one that passes after all it is taken out.
3. The reason says what the guard did. What to make of it is for people.
4. A case must stand on the line that the report names, in block style, or nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_WRONG = ("failed", "flaky", "known_failure")
_CASE, _FIELD, _GUARD = "  - name: ", "    ", "      "


def main(given: argparse.Namespace) -> None:
    """Print what fails; with a guard to mark, write it into the files."""
    files = json.loads(given.report.read_text(encoding="utf-8"))["files"]
    print("| policy | cases | pass | share | decision alone |\n|---|---:|---:|---:|---:|")
    for file in files:
        cases = file["cases"]
        passed = len(cases) - len(wrong(cases))
        decided = sum(all(each["field"] != "decision" for each in case["differences"]) for case in cases)
        told = (len(cases), passed, f"{passed / len(cases):.0%}", f"{decided / len(cases):.0%}")
        print(f"| {file['policy']['name']} | {' | '.join(map(str, told))} |")
    for file in files:
        for case in wrong(file["cases"]):
            print(f"{file['policy']['name']}: {case['name']}: {reason(case)}")
    if given.mark:
        texts = {Path(file["file"]): marked(file, given.mark) for file in files}
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")


def wrong(cases: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return those of *cases* that did not pass."""
    return [case for case in cases if case["standing"] in _WRONG]


def reason(case: Mapping[str, Any]) -> str:
    """Return what the guard made of *case*, in words."""
    differences = {each["field"]: each for each in case["differences"]}
    decision, named = differences.get("decision"), " and ".join(case["categories"])
    if decision is not None and decision["got"] == "allow":
        return "Takes it for safe."
    if decision is not None and decision["got"].startswith("undecided"):
        return "Leaves it undecided."
    if named:
        return f"Takes it for {named}."
    if decision is not None and decision["got"] == "flag":
        return "Is not sure of it."
    return "Takes it for unsafe." if decision is not None else "Gets its label or its category wrong."


def marked(file: Mapping[str, Any], guard: str) -> str:
    """Return the text of a file of cases with *guard*'s known failures as its report has them."""
    path = Path(file["file"])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for case in reversed(file["cases"]):
        start = (case["line"] or 0) - 1
        if not lines[start].startswith(_CASE + case["name"]):
            sys.exit(
                f"{path}:{start + 1}: here does not stand the case {case['name']!r}; nothing was written"
            )
        end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith(_FIELD)), len(lines))
        mark = json.dumps(reason(case), ensure_ascii=False) if case in wrong(file["cases"]) else None
        lines[start:end] = _with_mark(lines[start:end], guard, mark)
    return "".join(lines)


def _with_mark(case: Sequence[str], guard: str, mark: str | None) -> Iterator[str]:
    """Yield the lines of *case* with *mark* as its reason for *guard*, and other guards' marks as they are."""
    head = f"{_FIELD}known_failure:\n"
    at = case.index(head) if head in case else len(case)
    end = next((n for n in range(at + 1, len(case)) if not case[n].startswith(_GUARD)), len(case))
    marks, own = [], False
    for line in case[at + 1 : end]:
        if not line.startswith(f"{_GUARD} "):  # what is further in goes on with the line above
            own = line.startswith(f"{_GUARD}{guard}:")
        marks += [] if own else [line]
    marks += [f"{_GUARD}{guard}: {mark}\n"] if mark else []
    yield from case[:at]
    yield from [head, *marks] if marks else []
    yield from case[end:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--mark", metavar="GUARD", help="the guard's name, such as embedded")
    main(parser.parse_args())
