"""Functions of the operator's that the settings name as ``module:function``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from railscribe.errors import SettingsError


def called(setting: str, path: str) -> Any:
    """Return what *path* names, ``module:function``.

    Raises:
        SettingsError: it names nothing that can be called; about *setting*.
    """
    module, _, function = path.partition(":")
    hint = "Give one that can be imported, as module:function."
    if not module or not function:
        raise SettingsError(f"{setting} names no function.", hint=hint)
    try:
        found = getattr(import_module(module), function, None)
    except ImportError as error:
        raise SettingsError(f"{setting}: {module} cannot be imported.", hint=hint) from error
    if not callable(found):
        raise SettingsError(f"{setting}: {module} has no function {function}.", hint=hint)
    return found
