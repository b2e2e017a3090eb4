"""Pictures on their way in: decoded far enough to know what they are, and refused with a reason otherwise.

Rules

1. A picture is bytes, or a ``data:`` URL of bytes. Any other address is refused and never fetched; where
   configuration allows it, an http(s) address is handed to a remote engine as it is.
2. Bytes are limited before they are decoded, and pixels before they are unpacked (decompression bombs).
3. A picture must decode whole. An animated one is refused: the model would see one frame of it.
4. The digest is that of the bytes as they came.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re

from PIL import Image as Pillow

from railscribe.errors import ImageError
from railscribe.settings import Settings
from railscribe.values import Image

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def image_from_url(url: str, settings: Settings) -> Image:
    """Return the picture at *url*, a ``data:`` URL (rule 1).

    Raises:
        ImageError: what is wrong with it, in one sentence.
    """
    match = _DATA_URL.match(url)
    if match:
        encoded = url[match.end() :]
        if len(encoded) * 3 / 4 > settings.max_image_bytes + 3:
            raise ImageError(_too_many_bytes(settings))
        try:
            return image_from_bytes(base64.b64decode(encoded, validate=True), settings)
        except binascii.Error:
            raise ImageError("The image's data URL is not valid base64.") from None
    if settings.allow_image_urls and url.lower().startswith(("http://", "https://")):
        return Image(data=None, url=url, digest=None, media_type=None, width=None, height=None)
    raise ImageError(
        "The image is given by an address, and addresses are never fetched.",
        hint="Send it as a data: URL, or set allow_image_urls to let a remote engine fetch it.",
    )


def image_from_bytes(data: bytes, settings: Settings) -> Image:
    """Return the picture in *data* (rules 2 to 4).

    Raises:
        ImageError: what is wrong with it, in one sentence.
    """
    if len(data) > settings.max_image_bytes:
        raise ImageError(_too_many_bytes(settings))
    try:
        with Pillow.open(io.BytesIO(data), formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > settings.max_image_pixels:
                raise ImageError(
                    f"The image has {width} x {height} pixels; the limit is {settings.max_image_pixels}."
                )
            if getattr(picture, "n_frames", 1) > 1:
                raise ImageError("The image is animated, and only one of its frames would be judged.")
            media_type = Pillow.MIME[picture.format or ""]
            picture.load()
    except ImageError:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning):  # a warning may be set to raise
        raise ImageError(f"The image unpacks to more than {settings.max_image_pixels} pixels.") from None
    except Exception as error:  # Pillow's decoders raise many types on broken input
        raise ImageError(
            "The image is corrupt or of an unknown format.", hint=f"Known: {', '.join(_FORMATS)}."
        ) from error
    return Image(
        data=data, digest=hashlib.sha256(data).hexdigest(), media_type=media_type, width=width, height=height
    )


def _too_many_bytes(settings: Settings) -> str:
    return f"The image is larger than {settings.max_image_bytes} bytes."
