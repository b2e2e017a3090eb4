"""Reads the words in pictures: RapidOCR, whose models lie in its package.

Rules

1. Reading has a thread of its own: neither an event loop nor an engine waits for it.
2. A picture is read again only where the first time left something unsure: turned by 180 degrees (lines that
   stand upright in it are read either way), then both again with its contrast stretched. Four times at most.
3. In each place the surest reading counts, so one picture may hold lines in several directions.
4. Lines come in the order in which a person reads them: by direction, then by row, then along the row. Rows that
   follow one another closely are a sentence going on, not lines of its own: a guard judges broken sentences worse.
5. Nothing is fetched: the models are named by their paths.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import ImageOps

from railscribe.errors import EngineError, EngineUnavailableError, MissingExtraError
from railscribe.images import as_seen
from railscribe.settings import Settings
from railscribe.values import Image

_LEAST_CONFIDENCE = 0.5
"""Below it a line is noise: letters seen in bricks and leaves."""
_SURE = 0.88
"""A line read with less is read again another way."""
_LONGEST_SIDE = 1600  # pixels; larger pictures cost seconds and read no better
_REMEMBERED = 64  # pictures
_SAME_WAY = math.radians(25)
"""Lines whose directions differ by less are read together."""
_PARAGRAPH = 2.2
"""Rows of one paragraph are no farther apart, in heights of a row."""
_ALIKE = 1.6
"""Nor do their heights differ by more."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Words that were found in one place of a picture."""

    text: str
    confidence: float
    centre: Point
    along: Point
    """The way it is read, a unit vector."""
    length: float
    height: float

    @property
    def weight(self) -> float:
        """How much is to be said for it."""
        return len(self.text) * max(self.confidence - _LEAST_CONFIDENCE, 0.0)

    def covers(self, point: Point) -> bool:
        """Return whether *point* lies on it."""
        across, down = point[0] - self.centre[0], point[1] - self.centre[1]
        u = across * self.along[0] + down * self.along[1]
        v = -across * self.along[1] + down * self.along[0]
        return abs(u) < self.length / 2 and abs(v) < self.height / 2


def surest(lines: Sequence[Line]) -> list[Line]:
    """Return of all readings of the same place the best one (rule 3)."""
    kept: list[Line] = []
    for line in sorted(lines, key=lambda line: -line.weight):
        if not any(line.covers(other.centre) or other.covers(line.centre) for other in kept):
            kept.append(line)
    return kept


def in_order(lines: Sequence[Line]) -> str:
    """Return the words of *lines* as a person would read them (rule 4)."""
    left = sorted(lines, key=lambda line: -len(line.text))
    texts: list[str] = []
    while left:
        along = left[0].along
        texts += _paragraphs([line for line in left if _between(line.along, along) < _SAME_WAY], along)
        left = [line for line in left if _between(line.along, along) >= _SAME_WAY]
    return "\n".join(texts)


def _paragraphs(lines: Sequence[Line], along: Point) -> list[str]:
    """Return the paragraphs of *lines*, which run the same way."""

    def down(line: Line) -> float:
        return -line.centre[0] * along[1] + line.centre[1] * along[0]

    def across(line: Line) -> float:
        return line.centre[0] * along[0] + line.centre[1] * along[1]

    rows: list[list[Line]] = []
    for line in sorted(lines, key=down):
        if rows and down(line) - down(rows[-1][-1]) < 0.5 * min(line.height, rows[-1][-1].height):
            rows[-1].append(line)
        else:
            rows.append([line])
    texts: list[str] = []
    for above, row in zip([None, *rows], rows, strict=False):
        words = " ".join(line.text for line in sorted(row, key=across))
        if above is not None and _goes_on(above[0], row[0], down(row[0]) - down(above[0])):
            texts[-1] += ("" if _without_spaces(texts[-1][-1]) and _without_spaces(words[0]) else " ") + words
        else:
            texts.append(words)
    return texts


def _goes_on(above: Line, line: Line, step: float) -> bool:
    """Return whether *line*, *step* below *above*, may belong to the same sentence."""
    small, large = sorted((above.height, line.height))
    return step < _PARAGRAPH * small and large < _ALIKE * small


def _without_spaces(letter: str) -> bool:
    """Return whether *letter* is of a script that puts no spaces between words: Chinese, Japanese."""
    return "\u3000" <= letter <= "\u9fff" or "\uff00" <= letter <= "\uffef"


def _between(one: Point, other: Point) -> float:
    return math.acos(max(-1.0, min(1.0, one[0] * other[0] + one[1] * other[1])))


class PictureReader:
    """Reads pictures for one guard; models, thread and what was read last are the process's."""

    def __init__(self, *, always: bool = False) -> None:
        self.always = always
        """Whether to read for engines that see pictures, too."""

    @property
    def name(self) -> str:
        """Which reader, for the record."""
        return f"rapidocr {version('rapidocr')}"

    async def read(self, image: Image) -> str:
        """Return the words in *image*, row by row; empty where there are none.

        Raises:
            EngineError: it could not be read.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(_thread(), _remembered, image)
        except MissingExtraError as error:
            raise EngineUnavailableError(str(error)) from error
        except Exception as error:  # the type only: a message may quote the picture
            raise EngineError(
                f"The words in the picture could not be read ({type(error).__name__})."
            ) from error


def open_reader(settings: Settings) -> PictureReader | None:
    """Return the reader that *settings* ask for, if they ask for one; nothing is loaded yet.

    Raises:
        MissingExtraError: pictures are to be read always, and the packages are not installed.
    """
    if settings.read_images == "never":
        return None
    if settings.read_images == "always":
        _require()
    return PictureReader(always=settings.read_images == "always")


def _require() -> None:
    missing = [package for package in ("rapidocr", "onnxruntime") if find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"Reading the words in pictures needs {', '.join(missing)}.",
            hint="pip install 'railscribe[read-images]'",
        )


@lru_cache(maxsize=1)
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="railscribe-reader")


# From here on everything runs on the reader's thread.
_texts: OrderedDict[tuple[str | None, int | None], str] = OrderedDict()


def _remembered(image: Image) -> str:
    """Return the words in *image*; a check that is thought about twice reads once."""
    key = (image.digest, image.frame)
    if key not in _texts:
        picture = as_seen(image)
        picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        _texts[key] = in_order(_lines(picture))
        if len(_texts) > _REMEMBERED:
            _texts.popitem(last=False)
    return _texts[key]


@lru_cache(maxsize=1)
def _ocr() -> Any:
    _require()
    rapidocr: Any = import_module("rapidocr")

    models = Path(rapidocr.__file__).parent / "models"
    return rapidocr.RapidOCR(
        params={
            "Global.text_score": 0.0,  # what is unsure is read again, so we must hear of it
            "Global.log_level": "critical",
            "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
        }
    )


def _lines(picture: Pillow.Image) -> list[Line]:
    """Return the lines in *picture* (rules 2 and 3)."""
    found: list[Line] = []
    for clear in (False, True):
        look = clearer(picture) if clear else picture
        for turned in (False, True):
            found = surest(found + _once(look, turned=turned, scale=picture.width / look.width))
            if found and all(line.confidence >= _SURE for line in found):
                return found
            if not found:  # turning shows nothing new of a picture without lines
                break
    return [line for line in found if line.confidence >= _LEAST_CONFIDENCE]


def _once(picture: Pillow.Image, *, turned: bool, scale: float) -> list[Line]:
    import numpy

    pixels = numpy.asarray(picture)[:, :, ::-1]  # it expects blue first
    result = _ocr()(pixels[::-1, ::-1] if turned else pixels, use_cls=False)
    if not len(result):
        return []
    corner = (picture.width, picture.height) if turned else None
    return [
        _line(text, float(confidence), box.tolist(), corner, scale)
        for text, confidence, box in zip(result.txts, result.scores, result.boxes, strict=True)
        if text.strip()
    ]


def clearer(picture: Pillow.Image) -> Pillow.Image:
    """Return *picture* in grey, its contrast stretched, and larger where it is small."""
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=1).convert("RGB")
    if max(grey.size) <= _LONGEST_SIDE // 2:
        grey = grey.resize((grey.width * 2, grey.height * 2), Pillow.Resampling.LANCZOS)
    return grey


def _line(
    text: str, confidence: float, box: Sequence[Point], corner: tuple[int, int] | None, scale: float
) -> Line:
    """Return *text*, found in *box*, in the coordinates of the picture as it came.

    The box begins at its upper left. RapidOCR reads what is half as high again as it is wide from top to bottom.
    """
    if corner:
        box = [(corner[0] - x, corner[1] - y) for x, y in box]
    box = [(x * scale, y * scale) for x, y in box]
    width, height = math.dist(box[0], box[1]), math.dist(box[1], box[2])
    first, last = (box[1], box[2]) if height >= 1.5 * width else (box[0], box[1])
    span = math.dist(first, last) or 1.0
    return Line(
        text=text.strip(),
        confidence=confidence,
        centre=(sum(x for x, _ in box) / 4, sum(y for _, y in box) / 4),
        along=((last[0] - first[0]) / span, (last[1] - first[1]) / span),
        length=max(width, height),
        height=min(width, height),
    )
