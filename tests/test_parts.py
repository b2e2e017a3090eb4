"""A host's turn as it is read for judging: its pictures, frame by frame."""

from __future__ import annotations

import base64
import io

from PIL import Image as Pillow

from railscribe.parts import read_turn
from railscribe.settings import Settings
from railscribe.values import Cause


def moving(*colours: str) -> dict[str, object]:
    """Return an image part with a frame of each colour."""
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in colours]
    gif = io.BytesIO()
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:])
    url = f"data:image/gif;base64,{base64.b64encode(gif.getvalue()).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def test_every_frame_of_every_part_is_kept_in_order() -> None:
    """A moving picture beside a still one makes as many images as both have frames."""
    turn = read_turn([{"type": "text", "text": "look"}, moving("red", "blue"), moving("black")], Settings())

    assert turn.problem is None
    assert [(image.frame, image.frames) for image in turn.images] == [(1, 2), (2, 2), (1, 1)]


def test_too_many_frames_are_told_from_a_broken_picture() -> None:
    """The turn cannot be judged, and says which of the two it was."""
    settings = Settings(max_images=2)
    broken = {"type": "image_url", "image_url": "data:image/gif;base64,R0lGODlh"}

    assert read_turn([moving("red", "blue", "black")], settings).problem is Cause.TOO_MANY_IMAGES
    assert read_turn([broken], settings).problem is Cause.BAD_IMAGE
