"""The words in the pictures of one exchange: read once, and told what became of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from railscribe.errors import EngineError
from railscribe.reader import PictureReader
from railscribe.values import Cause, Exchange, ImageReading, ImageUse, Piece

logger = logging.getLogger(__name__)


class PictureWords:
    """Has the pictures of *exchange* read, each when it is asked for."""

    def __init__(self, exchange: Exchange, reader: PictureReader | None, timeout_s: float) -> None:
        self.reader = reader
        self._images = exchange.images
        self._timeout_s = timeout_s
        self._texts: dict[int, str] = {}
        # The reader takes one picture at a time; what waits for its turn is not late yet.
        self._turn = asyncio.Lock()

    def of(self, place: int | None) -> str:
        """Return the words that were read in the picture at *place*; none where it was not read."""
        return "" if place is None else self._texts.get(place, "")

    async def read(self, place: int) -> Cause | None:
        """Have the picture at *place* read; return why it could not be."""
        image = self._images[place]
        if self.reader is None or image.data is None:  # one by its address, which nobody fetches
            return Cause.MODALITY
        try:
            async with self._turn:
                self._texts[place] = await asyncio.wait_for(self.reader.read(image), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError):  # two types before Python 3.11
            return Cause.TIMEOUT
        except EngineError as error:
            logger.warning("a picture was not read: %s (%s)", error.cause.value, type(error).__name__)
            return error.cause
        return None

    def readings(self, pieces: Sequence[Piece]) -> tuple[ImageReading, ...]:
        """Return what became of each picture, *pieces* being the calls that were made."""
        return tuple(self._reading(place, pieces) for place in range(len(self._images)))

    def _reading(self, place: int, pieces: Sequence[Piece]) -> ImageReading:
        replies = [piece for piece in pieces if piece.image == place and piece.completion is not None]
        seen = next(
            (piece.completion.image for piece in replies if piece.completion and piece.completion.image), None
        )
        text = self._texts.get(place)
        if text is None or self.reader is None:
            return seen or ImageReading(use=ImageUse.NOT_JUDGED)
        told = any(piece.image_text_span is not None for piece in replies)
        if seen is not None:
            use = ImageUse.SEEN_AND_READ if told else seen.use
        elif text:
            use = ImageUse.READ if told else ImageUse.NOT_JUDGED
        else:
            use = ImageUse.NOTHING_READ
        return ImageReading(
            use=use, text=text, reader=self.reader.name, seen_size=seen.seen_size if seen else None
        )
