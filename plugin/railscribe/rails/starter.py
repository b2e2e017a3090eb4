"""Ready NeMo configurations, written so that they find the rails of this very installation.

NeMo looks for imports beside its own package. Where Railscribe is installed elsewhere (an editable install,
another site directory), a configuration must name the directory, and that ``import_paths`` in YAML can while
Colang's ``import`` cannot.

One starter for each version of Colang serves every ready policy: nothing else of a configuration depends on the
policy, and copies would drift apart. A template is that starter with a ready policy and its cases beside it, to be
changed; a ``.railsignore`` keeps NeMo from reading the two as configuration.
"""

from __future__ import annotations

import json
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from railscribe.errors import UsageError
from railscribe.policy.load import nearest_ready, ready_cases, ready_policies

_IMPORT_LINE = "import railscribe.rails\n"
_IMPORT_PATH = "import_paths: [railscribe/rails]"
_POLICY = "    policy: default #"


def rails_path() -> str:
    """Return what ``import_paths`` must hold here: ``railscribe/rails``, or the directory itself."""
    nemo = find_spec("nemoguardrails")
    own = Path(__file__).resolve().parent
    beside = (
        Path(nemo.origin).resolve().parent.parent / "railscribe" / "rails" if nemo and nemo.origin else None
    )
    return "railscribe/rails" if beside == own else str(own)


def write_config(directory: Path | str, colang: str = "1.0", template: str | None = None) -> list[Path]:
    """Write a ready configuration into *directory* and return its files.

    *template* is a ready policy's name: the policy is copied beside the configuration, with its cases.

    Raises:
        UsageError: there is no such version or template, or one of the files exists already; nothing is written then.
    """
    if colang not in ("1.0", "2.x"):
        raise UsageError(f"There is no Colang version {colang!r}.", hint="Give 1.0 or 2.x.")
    source = Path(str(files("railscribe.rails_configs"))) / ("colang_1" if colang == "1.0" else "colang_2")
    texts = {path.name: _placed(path.read_text(encoding="utf-8")) for path in sorted(source.iterdir())}
    if template is not None:
        texts["config.yml"] = texts["config.yml"].replace(_POLICY, f"    policy: {template}.yaml #")
        texts |= _policy_files(template)
    written = {Path(directory) / name: text for name, text in texts.items()}
    for path in written:
        if path.exists():
            raise UsageError(f"{path} exists already.", hint="Give an empty directory.")
    Path(directory).mkdir(parents=True, exist_ok=True)
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    return list(written)


def _policy_files(template: str) -> dict[str, str]:
    policies, cases = ready_policies(), ready_cases()
    if template not in policies:
        near = ", ".join(nearest_ready(template))
        raise UsageError(f"There is no template called {template!r}.", hint=f"Give a ready policy: {near}.")
    texts = {f"{template}.yaml": policies[template].read_text(encoding="utf-8")}
    if template in cases:
        text = cases[template].read_text(encoding="utf-8")
        texts[f"{template}.cases.yaml"] = text.replace(
            f"policy: {template}\n", f"policy: {template}.yaml\n", 1
        )
    ignored = "".join(f"{name}\n" for name in texts)
    texts[".railsignore"] = f"# Policies and cases are no configuration of NeMo's.\n{ignored}"
    # For editors: the policy's first line names it.
    schema = policies[template].with_name("policy.schema.json")
    return {**texts, schema.name: schema.read_text(encoding="utf-8")}


def _placed(text: str) -> str:
    where = rails_path()
    if where == "railscribe/rails":
        return text
    named = f"import_paths: [{json.dumps(where)}]"
    if text.startswith('colang_version: "2.x"'):
        return text.replace("\n", f"\n{named}\n", 1)
    return text.replace(_IMPORT_PATH, named).replace(_IMPORT_LINE, "")
