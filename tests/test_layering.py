"""The walls of the house: who may import whom, and what `import railscribe` may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
HOME = ROOT / "plugin" / "railscribe"

# From the ground up. A part imports from the layers below its own; those of the two lowest layers, which hold
# no I/O, from their neighbours as well, so long as no circle comes of it.
LAYERS = (
    ("values", "errors", "taxonomy"),
    (
        "nemotron",
        "policy",
        "images",
        "settings",
        "misfits",
        "identity",
        "sync",
        "parts",
        "scoring",
        "reasoning",
        "language",
        "rollout",
    ),
    ("engines", "audit", "deferred", "reader"),
    ("picture_words", "choosing", "admission"),
    ("judging", "probing"),
    ("recording", "verdict_cache"),
    ("guard",),
    ("standing", "streaming"),
    ("testing", "rails", "langchain", "training", "evaluation"),
    ("cli",),
)
NEIGHBOURLY = LAYERS[0] + LAYERS[1]
LAYER_OF = {part: number for number, layer in enumerate(LAYERS) for part in layer}

# What is heavy, or speaks to the outside, has its rooms.
ROOMS = {
    "torch": {"engines", "training", "cli"},
    "transformers": {"engines", "training", "cli"},
    "peft": {"engines", "training"},
    "rapidocr": {"reader"},
    "py3langid": {"language"},
    "openai": {"engines"},
    "sqlalchemy": {"audit"},
    "alembic": {"audit"},
    "cryptography": {"audit"},
    "pyarrow": {"audit"},
    "nemoguardrails": {"rails", "cli", "policy"},
    "langchain_core": {"langchain"},
    "langgraph": {"langchain"},
    "typer": {"cli"},
    "rich": {"cli"},
}
FOR_NEMOTRON = {
    "__future__",
    "base64",
    "collections",
    "difflib",
    "functools",
    "re",
    "typing",
    "unicodedata",
    "railscribe",
}


class Import(NamedTuple):
    """One import of a module, wherever in a file it stands."""

    part: str
    module: str
    place: str


def imports(folder: Path) -> Iterator[Import]:
    for path in sorted(folder.rglob("*.py")):
        part = path.relative_to(folder).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: a relative import hides what it reaches"
                modules = [node.module or ""]
                if node.module == "railscribe":
                    modules = [f"railscribe.{alias.name}" for alias in node.names]
            for module in modules:
                yield Import(part, module, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")


INSIDE = [found for found in imports(HOME) if found.part != "__init__"]
OURS = [
    (part, module.split(".")[1], place)
    for part, module, place in INSIDE
    if module.startswith("railscribe.") and module != "railscribe.__version__"
]


def test_every_part_has_its_layer() -> None:
    """A new part is given its place before it is imported from."""
    parts = {path.stem for path in HOME.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}

    assert parts - {"__init__"} == set(LAYER_OF)


def test_imports_go_downwards() -> None:
    """No part reaches up, and none above the ground floors reaches to its side."""
    wrong = [
        f"{place}: {part} imports {other}"
        for part, other, place in OURS
        if part != other
        and not LAYER_OF.get(other, len(LAYERS)) < LAYER_OF[part]
        and not (part in NEIGHBOURLY and other in NEIGHBOURLY and LAYER_OF[part] == LAYER_OF[other])
    ]

    assert wrong == []


def test_no_circle_of_parts() -> None:
    """Parts that may see their neighbours see them in one direction."""
    graph: dict[str, set[str]] = {part: set() for part in LAYER_OF}
    for part, other, _ in OURS:
        if part != other:
            graph[part].add(other)

    order = list(TopologicalSorter(graph).static_order())

    assert set(order) == set(LAYER_OF)


def test_third_parties_keep_to_their_rooms() -> None:
    """A framework, a driver or a model library is imported only where it belongs."""
    wrong = [
        f"{place}: {part} imports {module}"
        for part, module, place in INSIDE
        if part not in ROOMS.get(module.split(".")[0], {part})
    ]

    assert wrong == []


def test_model_contract_is_pure() -> None:
    """The contract reads no file, clock, socket or environment: it has nothing to read them with."""
    used = {module.split(".")[0] for part, module, _ in INSIDE if part == "nemotron"}

    assert used <= FOR_NEMOTRON


def test_few_modules_of_policy_touch_files() -> None:
    """Of the policy's modules only those that load and gather can reach outside, and the one that reads YAML."""
    outside = {
        "os",
        "io",
        "pathlib",
        "importlib",
        "time",
        "yaml",
        "socket",
        "subprocess",
        "tempfile",
        "shutil",
    }
    reaching = {
        place.split(":")[0]
        for part, module, place in INSIDE
        if part == "policy" and module.split(".")[0] in outside
    }

    assert reaching == {
        str(Path("plugin/railscribe/policy") / name) for name in ("load.py", "gather.py", "yaml_text.py")
    }


def test_revisions_stand_alone() -> None:
    """A migration describes its own day: it imports none of today's modules, but for parts that bear its number."""
    ours = [found for found in imports(ROOT / "migrations") if found.module.startswith("railscribe")]

    assert {
        found.module for found in ours if not found.module.startswith("railscribe.audit.migrations")
    } == set()
    parts = {path.stem for path in (ROOT / "migrations").glob("*.py")} - {"__init__", "env"}
    assert [part for part in parts if not part.rpartition("_")[2].isdigit()] == []


@pytest.mark.parametrize(
    "name", ["Exchange", "Identity", "use_identity", "Policy", "Settings", "RailscribeError"]
)
def test_light_names_import_nothing_heavy(name: str) -> None:
    """Importing the package and using its light names loads no model library, database or framework."""
    heavy = {name for name in ROOMS if name not in {"typer", "rich"}} | {"PIL", "numpy"}
    program = f"import sys, railscribe; railscribe.{name}; print(*sorted({heavy!r} & set(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == ""
