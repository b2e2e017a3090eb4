"""The reader of pictures: what it finds, in which order, and what it does not wait for."""

from __future__ import annotations

import asyncio
import io
import math
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from railscribe import reader
from railscribe.errors import EngineUnavailableError, MissingExtraError
from railscribe.images import image_from_bytes
from railscribe.reader import Line, PictureReader, in_order, open_reader, surest
from railscribe.settings import Settings
from railscribe.values import Image


def line(text: str, x: float, y: float, *, confidence: float = 0.99, degrees: float = 0.0) -> Line:
    turn = math.radians(degrees)
    return Line(
        text=text,
        confidence=confidence,
        centre=(x, y),
        along=(math.cos(turn), math.sin(turn)),
        length=10.0 * len(text),
        height=20.0,
    )


def test_rows_are_read_from_the_top_and_along() -> None:
    """Parts of one row go together, left to right, whatever order they were found in."""
    found = [line("second", 60, 91), line("row", 150, 11), line("first", 50, 10), line("one", 140, 90)]

    assert in_order(found) == "first row\nsecond one"


def test_a_sentence_goes_on_in_the_next_row() -> None:
    """Rows close to one another are one paragraph; a gap, or letters of another size, begin a new one."""
    sentence = [line("I will not", 50, 10), line("come home", 50, 40)]
    large = replace(line("TITLE", 50, 70), height=40.0)

    assert in_order([*sentence, line("tonight", 50, 120)]) == "I will not come home\ntonight"
    assert in_order([*sentence, large]) == "I will not come home\nTITLE"
    assert in_order([line("今晚我", 50, 10), line("不回家", 50, 40)]) == "今晚我不回家"


@pytest.mark.parametrize("degrees", [0, 12, -30, 90, 180, 270])
def test_the_order_turns_with_the_picture(degrees: float) -> None:
    """A turned page is read like an upright one."""
    turn = math.radians(degrees)

    def turned(text: str, x: float, y: float) -> Line:
        return line(
            text,
            x * math.cos(turn) - y * math.sin(turn),
            x * math.sin(turn) + y * math.cos(turn),
            degrees=degrees,
        )

    found = [turned("three", 50, 170), turned("two", 50, 90), turned("right", 150, 10), turned("one", 50, 10)]

    assert in_order(found) == "one right\ntwo\nthree"


def test_lines_of_two_directions_do_not_mix() -> None:
    """What runs along the edge of a poster comes after the poster."""
    found = [line("THE POSTER SAYS", 100, 20), line("edge", 5, 60, degrees=90), line("MUCH MORE", 100, 60)]

    assert in_order(found) == "THE POSTER SAYS MUCH MORE\nedge"


def test_in_each_place_the_surest_reading_counts() -> None:
    """A line read upside down gives way to the same line read upright; another place keeps its own."""
    wrong = line("ssaccoid ouiyu", 100, 50, confidence=0.6)
    right = line("hanging process", 101, 49, confidence=0.97)
    elsewhere = line("Python", 100, 90, confidence=0.9)

    assert {kept.text for kept in surest([wrong, elsewhere, right])} == {"hanging process", "Python"}


def sheet(
    words: str, *, ink: Any = "black", paper: Any = "white", size: int = 34, turned: float = 0
) -> Image:
    picture = Pillow.new("RGB", (640, 260), paper)
    ImageDraw.Draw(picture).multiline_text((30, 40), words, fill=ink, font=ImageFont.load_default(size))
    png = io.BytesIO()
    picture.rotate(turned, expand=True, fillcolor=paper, resample=Pillow.Resampling.BICUBIC).save(png, "PNG")
    return image_from_bytes(png.getvalue(), Settings())


WORDS = "the quick brown fox\nwent to town, yesterday"


@pytest.fixture(scope="module")
def _models() -> None:
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")


@pytest.mark.usefixtures("_models")
class TestReading:
    """Real models on real pictures."""

    @pytest.mark.parametrize(
        "how",
        [
            {},
            {"turned": 90},
            {"turned": 180},
            {"turned": 270},
            {"turned": 8},
            {"ink": "white", "paper": "black"},
            {"ink": "#8a8a8a", "paper": "#747474"},
            {"size": 14},
        ],
        ids=lambda how: " ".join(f"{name} {value}" for name, value in how.items()) or "plain",
    )
    async def test_words_come_back(self, how: dict[str, Any]) -> None:
        """Letters, spaces and the order of lines survive turns, small print and weak contrast."""
        assert (await PictureReader().read(sheet(WORDS, **how))).split() == WORDS.split()

    async def test_a_blank_sheet_has_no_words(self) -> None:
        """Nothing is found where nothing is, and that is no error."""
        assert await PictureReader().read(sheet("")) == ""

    async def test_the_loop_goes_on_while_a_picture_is_read(self) -> None:
        """Reading runs on the reader's own thread."""
        reading = asyncio.create_task(PictureReader().read(sheet("a new sheet, not read before")))
        longest, last = 0.0, time.perf_counter()
        while not reading.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()

        assert await reading
        assert longest < 0.5

    async def test_a_picture_is_read_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same picture, asked for again, costs no second reading."""
        picture = sheet("read me once")
        first = await PictureReader().read(picture)
        monkeypatch.setattr(reader, "_lines", lambda _: pytest.fail("read again"))

        assert await PictureReader().read(picture) == first

    async def test_all_guards_share_one_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many readers there are, one picture is read at a time."""
        threads: set[str] = set()

        def lines(_: Pillow.Image) -> list[Line]:
            threads.add(threading.current_thread().name)
            return []

        monkeypatch.setattr(reader, "_lines", lines)
        await asyncio.gather(*(PictureReader().read(sheet(f"number {n}")) for n in range(4)))

        assert threads == {"railscribe-reader_0"}


def test_wanting_it_always_needs_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard that is to read every picture does not open without the means to."""
    monkeypatch.setattr(reader, "find_spec", lambda _: None)

    assert open_reader(Settings(read_images="auto")) is not None
    with pytest.raises(MissingExtraError, match=r"rapidocr, onnxruntime.*read-images"):
        open_reader(Settings(read_images="always"))


async def test_a_missing_package_is_an_unavailable_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it turns out late, the check ends undecided and says what to install."""
    monkeypatch.setattr(reader, "find_spec", lambda _: None)
    reader._ocr.cache_clear()

    with pytest.raises(EngineUnavailableError, match="read-images"):
        await PictureReader().read(sheet("never seen before by any reader"))
