"""The ready configurations run, wherever Railscribe is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

import railscribe.rails
from railscribe.errors import UsageError
from railscribe.rails import write_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rails.conftest import Host

VERSIONS = ("1.0", "2.x")
RUN = """
import sys, warnings
warnings.simplefilter("ignore")
from nemoguardrails import LLMRails, RailsConfig
for config in sys.argv[1:]:
    app = LLMRails(RailsConfig.from_path(config))
    print(app.generate(messages=[{"role": "user", "content": "hello"}])["content"])
"""


@pytest.mark.parametrize("colang", VERSIONS)
def test_a_written_configuration_runs(
    host: Callable[..., Host], tmp_path: Path, colang: Literal["1.0", "2.x"]
) -> None:
    """What write_config writes finds the rails of this installation and refuses what is unsafe."""
    paths = write_config(tmp_path / "new", colang)
    texts = {path.name: path.read_text() for path in paths}
    app = host(texts.pop("config.yml"), files=texts)

    replies = [app.ask("hello")["content"], app.ask("forbidden")["content"]]

    assert replies == ["fine", "I'm sorry, I can't help with that."]
    assert app.texts() == [("hello", None), ("hello", "fine"), ("forbidden", None)]


def test_shipped_configurations_run_with_colangpath() -> None:
    """The files as they ship import the rails by name, which COLANGPATH resolves where NeMo cannot."""
    env = os.environ | {"COLANGPATH": str(_directory().parent.parent), "RAILSCRIBE_MAX_RETRIES": "0"}
    configs = [str(files("railscribe.rails_configs")) + f"/colang_{number}" for number in (1, 2)]

    run = subprocess.run(
        [sys.executable, "-c", RUN, *configs], env=env, capture_output=True, text=True, timeout=120
    )

    assert run.returncode == 0, run.stderr
    assert (
        run.stdout.splitlines() == ["I'm sorry, I can't help with that."] * 2
    )  # the engine cannot be reached


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there already stays, and no other is written."""
    (tmp_path / "main.co").write_text("mine")

    with pytest.raises(UsageError, match="exists already"):
        write_config(tmp_path, "2.x")

    assert (tmp_path / "main.co").read_text() == "mine"
    assert not (tmp_path / "config.yml").exists()


def test_an_unknown_colang_version_is_a_mistake(tmp_path: Path) -> None:
    """Only 1.0 and 2.x can be written."""
    with pytest.raises(UsageError, match=r"1\.0 or 2\.x"):
        write_config(tmp_path, "3.0")


def test_no_yaml_lies_among_the_rails() -> None:
    """An imported YAML file would override the rails, models and settings of the importing configuration."""
    found = {path.suffix for path in _directory().rglob("*") if path.is_file()}

    assert found <= {".py", ".co", ".pyc"}


def _directory() -> Path:
    return Path(railscribe.rails.__file__).parent
