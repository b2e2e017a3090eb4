"""Flags as settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from railscribe.cli.options import settings_from
from railscribe.errors import SettingsError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_many_checks_in_flight_have_more_time() -> None:
    """An engine that answers one after the other is given the time for all of them, where nobody said otherwise."""
    assert settings_from(in_flight=8).timeout_s == 8 * settings_from().timeout_s


def test_a_time_out_that_somebody_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag goes before the environment, that before the file, and each before what many checks would be given."""
    Path("railscribe.toml").write_text("timeout_s = 7\n", encoding="utf-8")
    in_file = settings_from(in_flight=8).timeout_s
    monkeypatch.setenv("RAILSCRIBE_TIMEOUT_S", "6")

    assert (in_file, settings_from(in_flight=8).timeout_s) == (7, 6)
    assert settings_from(in_flight=8, timeout_s=5).timeout_s == 5
    with pytest.raises(SettingsError, match="timeout_s"):
        settings_from(in_flight=8, timeout_s=0)
