"""Engines run the safety model. :func:`open_engine` builds the one that settings name, without starting it."""

from __future__ import annotations

from railscribe.engines.base import Engine
from railscribe.settings import Settings

__all__ = ["Engine", "open_engine"]


def open_engine(settings: Settings) -> Engine:
    """Return the engine that *settings* name; nothing is loaded or contacted yet.

    Raises:
        SettingsError: the settings lack what the engine needs.
        MissingExtraError: the engine's packages are not installed.
    """
    # Imported here so that a remote engine never pays for torch, nor an embedded one for the openai SDK.
    if settings.engine == "openai_compatible":
        from railscribe.engines.openai_compatible import OpenAICompatibleEngine

        return OpenAICompatibleEngine.from_settings(settings)
    if settings.engine == "transformers":
        from railscribe.engines.transformers import TransformersEngine

        return TransformersEngine.from_settings(settings)
    from railscribe.engines.embedded import EmbeddedEngine

    return EmbeddedEngine.from_settings(settings)
