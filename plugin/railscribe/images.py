"""Pictures on their way in: decoded far enough to know what they are, and refused with a reason otherwise.

Rules

1. A picture is bytes, or a ``data:`` URL of bytes. Any other address is refused and never fetched; where
   configuration allows it, an http(s) address is handed to a remote engine as it is.
2. Bytes are limited before they are decoded, and pixels before they are unpacked (decompression bombs), those of
   all frames together.
3. A picture must decode whole. Each frame of a moving one and each page of a document is an image of its own, with
   its number; frames with the same pixels are judged once. More than ``max_images`` are refused as too many.
4. The digest is that of the bytes as they came, for every frame of them.
5. What is judged is what a person sees: upright, on white paper where transparent (on black where white shows
   nothing), in eight bits a colour. :func:`as_seen` remembers the last pictures, so that each is decoded once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image as Pillow
from PIL import ImageOps

from railscribe.errors import ImageError, TooManyImagesError
from railscribe.settings import Settings
from railscribe.values import Image

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # JPEG's decoder opens MPO, too
_MOST_FRAMES = 1000
"""Of one file, however many of them are alike: walking through them takes time."""
_ORIENTATION = 0x0112  # EXIF
_SENT_AS_IT_IS = ("image/png", "image/jpeg", "image/webp")
_REMEMBERED_BYTES = 64_000_000


def images_from_url(url: str, settings: Settings) -> tuple[Image, ...]:
    """Return the frames of the picture at *url*, a ``data:`` URL (rule 1).

    Raises:
        ImageError: what is wrong with it, in one sentence.
    """
    match = _DATA_URL.match(url)
    if match:
        encoded = url[match.end() :]
        if len(encoded) * 3 / 4 > settings.max_image_bytes + 3:
            raise ImageError(_too_many_bytes(settings))
        try:
            return images_from_bytes(base64.b64decode(encoded, validate=True), settings)
        except binascii.Error:
            raise ImageError("The image's data URL is not valid base64.") from None
    if settings.allow_image_urls and url.lower().startswith(("http://", "https://")):
        return (Image(data=None, url=url, digest=None, media_type=None, width=None, height=None),)
    raise ImageError(
        "The image is given by an address, and addresses are never fetched.",
        hint="Send it as a data: URL, or set allow_image_urls to let a remote engine fetch it.",
    )


def images_from_bytes(data: bytes, settings: Settings) -> tuple[Image, ...]:
    """Return the frames of the picture in *data* that differ, in their order (rules 2 to 4).

    Raises:
        ImageError: what is wrong with it, in one sentence.
    """
    if len(data) > settings.max_image_bytes:
        raise ImageError(_too_many_bytes(settings))
    digest = hashlib.sha256(data).hexdigest()
    images: dict[bytes, Image] = {}
    try:
        with Pillow.open(io.BytesIO(data), formats=_FORMATS) as picture:
            media_type = Pillow.MIME[picture.format or ""]
            frames = 0
            for frames, (mode, orientation) in enumerate(_walk(picture, settings), start=1):
                seen = _on_paper(ImageOps.exif_transpose(picture))
                same = hashlib.sha256(repr(seen.size).encode() + seen.tobytes()).digest()
                if same in images:
                    continue
                if len(images) == settings.max_images:
                    raise TooManyImagesError(f"The image has more than {settings.max_images} frames.")
                images[same] = Image(
                    data=data,
                    digest=digest,
                    media_type=media_type,
                    width=seen.width,
                    height=seen.height,
                    frame=frames,
                    mode=mode,
                    orientation=orientation,
                    perceptual_digest=_difference_hash(seen),
                )
                _SEEN.remember((digest, frames), seen)
            if getattr(picture, "n_frames", 1) != frames:
                raise ImageError("The image promises more frames than it has.")
    except ImageError:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):  # a warning may be set to raise
        raise ImageError(f"The image unpacks to more than {settings.max_image_pixels} pixels.") from None
    except Exception as error:  # Pillow's decoders raise many types on broken input
        raise ImageError(
            "The image is corrupt or of an unknown format.", hint=f"Known: {', '.join(_FORMATS)}."
        ) from error
    return tuple(replace(image, frames=frames) for image in images.values())


def image_from_bytes(data: bytes, settings: Settings) -> Image:
    """Return the picture in *data*, which holds a single one, for whoever asks an engine directly.

    Raises:
        ImageError: what is wrong with it, in one sentence; that it has several frames.
    """
    image, *more = images_from_bytes(data, settings)
    if more:
        raise ImageError("The image has several frames, and a request takes one.")
    return image


def as_seen(image: Image) -> Pillow.Image:
    """Return the pixels of *image* as a person sees them (rule 5): RGB, the caller's own to change."""
    key = (image.digest or "", image.frame or 1)
    known = _SEEN.recall(key)
    if known is None:
        with Pillow.open(io.BytesIO(image.data or b""), formats=_FORMATS) as picture:
            if key[1] > 1:
                picture.seek(key[1] - 1)
            picture.load()
            known = _on_paper(ImageOps.exif_transpose(picture))
        _SEEN.remember(key, known)
    return known.copy()


def as_sent(image: Image) -> tuple[str, bytes]:
    """Return media type and bytes that show *image* to whoever decodes them carelessly.

    The bytes as they came, where every decoder shows the same; else a PNG of what is seen.
    """
    plain = image.mode in ("RGB", "L") and image.orientation in (None, 1) and image.frames == 1
    if image.mode is None or (plain and image.media_type in _SENT_AS_IT_IS):
        return image.media_type or "image/png", image.data or b""
    png = io.BytesIO()
    as_seen(image).save(png, "PNG", compress_level=1)
    return "image/png", png.getvalue()


def _walk(picture: Pillow.Image, settings: Settings) -> Iterator[tuple[str, int | None]]:
    """Load one frame of *picture* after the other; yield the mode and orientation that it came with."""
    pixels = 0
    for number in range(_MOST_FRAMES + 1):
        try:
            picture.seek(number)
        except EOFError:
            return
        if number == _MOST_FRAMES:
            raise TooManyImagesError(f"The image has more than {_MOST_FRAMES} frames.")
        width, height = picture.size
        pixels += width * height
        if width * height > settings.max_image_pixels:
            raise ImageError(
                f"The image has {width} x {height} pixels; the limit is {settings.max_image_pixels}."
            )
        if pixels > settings.max_image_pixels:
            raise ImageError(f"The image's frames have more than {settings.max_image_pixels} pixels.")
        # Before it is loaded: TIFF's decoder turns the picture upright by itself and forgets that it did.
        facts = (picture.mode, picture.getexif().get(_ORIENTATION))
        picture.load()
        yield facts


def _on_paper(picture: Pillow.Image) -> Pillow.Image:
    """Return *picture* in RGB, on paper where it is transparent (rule 5)."""
    if picture.mode.startswith("I;16"):
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("RGB")
    if picture.mode in ("I", "F"):
        return _stretched(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    drawn = picture.convert("RGBA")
    white, black = (_laid_on(paper, drawn) for paper in ("white", "black"))
    return black if _blank(white) and not _blank(black) else white


def _laid_on(paper: str, drawn: Pillow.Image) -> Pillow.Image:
    sheet = Pillow.new("RGBA", drawn.size, paper)
    sheet.alpha_composite(drawn)
    return sheet.convert("RGB")


def _blank(picture: Pillow.Image) -> bool:
    return all(low == high for low, high in picture.getextrema())  # type: ignore[misc]


def _stretched(picture: Pillow.Image) -> Pillow.Image:
    """Return *picture*, whose numbers mean nothing by themselves, from its darkest to its brightest."""
    low, high = (float(bound) for bound in picture.getextrema())  # type: ignore[arg-type]
    scale = 255 / (high - low) if high > low else 0.0
    if not all(abs(number) < float("inf") for number in (low, high, scale)):  # NaN is not less either
        raise ImageError("The image holds pixels that are no numbers.")
    return picture.convert("F").point(lambda value: value * scale + (-low * scale)).convert("RGB")


def _difference_hash(picture: Pillow.Image) -> str:
    """Return 64 bits, hex, that stay much the same when *picture* is scaled or compressed again.

    Each says whether a ninth of a row is brighter than the next. The library for it (imagehash) would bring SciPy
    along for these lines.
    """
    grey = picture.convert("L").resize((9, 8), Pillow.Resampling.LANCZOS).tobytes()
    bits = "".join(
        "1" if grey[9 * row + column] > grey[9 * row + column + 1] else "0"
        for row in range(8)
        for column in range(8)
    )
    return f"{int(bits, 2):016x}"


class _Seen:
    """The pixels of the pictures that were looked at last."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pictures: OrderedDict[tuple[str, int], Pillow.Image] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, key: tuple[str, int]) -> Pillow.Image | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def remember(self, key: tuple[str, int], picture: Pillow.Image) -> None:
        with self._lock:
            if key in self._pictures:
                return
            self._pictures[key] = picture
            self._bytes += _size(picture)
            while self._bytes > self._most_bytes:
                _, oldest = self._pictures.popitem(last=False)
                self._bytes -= _size(oldest)


_SEEN = _Seen(_REMEMBERED_BYTES)


def _size(picture: Pillow.Image) -> int:
    return picture.width * picture.height * 3


def _too_many_bytes(settings: Settings) -> str:
    return f"The image is larger than {settings.max_image_bytes} bytes."
