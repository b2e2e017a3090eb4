"""The codes: each is documented, and none is documented that nothing gives."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_code_of_the_compiler_is_documented() -> None:
    """docs/diagnostics.md lists the C codes that the compiler gives, and no other."""
    sources = (ROOT / "plugin" / "railscribe" / "policy").rglob("*.py")
    given = {code for path in sources for code in re.findall(r'"(C\d{3})"', path.read_text(encoding="utf-8"))}
    listed = re.findall(
        r"^\| (C\d{3}) \|", (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8"), re.M
    )

    assert sorted(listed) == sorted(set(listed))
    assert set(listed) == given
