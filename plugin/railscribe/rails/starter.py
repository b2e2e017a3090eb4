"""Ready NeMo configurations, written so that they find the rails of this very installation.

NeMo looks for imports beside its own package. Where Railscribe is installed elsewhere (an editable install,
another site directory), a configuration must name the directory, and that ``import_paths`` in YAML can while
Colang's ``import`` cannot.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from railscribe.errors import UsageError

_IMPORT_LINE = "import railscribe.rails\n"
_IMPORT_PATH = "import_paths: [railscribe/rails]"


def rails_path() -> str:
    """Return what ``import_paths`` must hold here: ``railscribe/rails``, or the directory itself."""
    nemo = find_spec("nemoguardrails")
    own = Path(__file__).resolve().parent
    beside = (
        Path(nemo.origin).resolve().parent.parent / "railscribe" / "rails" if nemo and nemo.origin else None
    )
    return "railscribe/rails" if beside == own else str(own)


def write_config(directory: Path | str, colang: str = "1.0") -> list[Path]:
    """Write a ready configuration into *directory* and return its files.

    Raises:
        UsageError: one of the files exists already; nothing is written then.
    """
    if colang not in ("1.0", "2.x"):
        raise UsageError(f"There is no Colang version {colang!r}.", hint="Give 1.0 or 2.x.")
    source = Path(str(files("railscribe.rails_configs"))) / ("colang_1" if colang == "1.0" else "colang_2")
    texts = {
        Path(directory) / path.name: _placed(path.read_text(encoding="utf-8"))
        for path in sorted(source.iterdir())
    }
    for path in texts:
        if path.exists():
            raise UsageError(f"{path} exists already.", hint="Give an empty directory.")
    Path(directory).mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _placed(text: str) -> str:
    where = rails_path()
    if where == "railscribe/rails":
        return text
    named = f"import_paths: [{json.dumps(where)}]"
    if text.startswith('colang_version: "2.x"'):
        return text.replace("\n", f"\n{named}\n", 1)
    return text.replace(_IMPORT_PATH, named).replace(_IMPORT_LINE, "")
