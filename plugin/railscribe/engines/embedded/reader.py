"""Reads the words in a picture, for a model without eyes: RapidOCR, whose models lie in its package."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import version
from typing import Any

from railscribe.engines.transformers import as_seen
from railscribe.errors import EngineUnavailableError
from railscribe.values import Image

_LEAST_CONFIDENCE = 0.5
"""Below it RapidOCR's lines are noise: letters seen in bricks and leaves."""
_LONGEST_SIDE = 1600  # pixels; larger pictures cost seconds and read no better


class PictureReader:
    """Loads its models at the first picture. Not safe to call from two threads at once."""

    @property
    def name(self) -> str:
        """Which reader, for the record."""
        return f"rapidocr-onnxruntime {version('rapidocr-onnxruntime')}"

    @cached_property
    def _ocr(self) -> Any:
        try:
            from rapidocr_onnxruntime import RapidOCR
        except ImportError as error:
            raise EngineUnavailableError(
                "The embedded guard needs RapidOCR to read pictures.",
                hint="pip install 'railscribe[embedded]'",
            ) from error
        return RapidOCR()

    def read(self, image: Image) -> str:
        """Return the words in *image*, line by line, top to bottom; empty where there are none."""
        import numpy

        picture = as_seen(image)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        lines, _ = self._ocr(numpy.asarray(picture)[:, :, ::-1])  # it expects blue first
        return "\n".join(
            text for _, text, confidence in lines or () if float(confidence) >= _LEAST_CONFIDENCE
        )
