"""Pictures on their way in: known for what they are, or refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image as Pillow

from railscribe.errors import ImageError
from railscribe.images import image_from_bytes, image_from_url
from railscribe.settings import Settings

SETTINGS = Settings()


def _picture(kind: str = "PNG", size: tuple[int, int] = (3, 2), **how: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", size, "teal").save(buffer, kind, **how)
    return buffer.getvalue()


def _data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
    ],
)
def test_a_picture_is_known_by_its_bytes(kind: str, media_type: str) -> None:
    """Media type and size are read from the picture, and the digest is that of the bytes as they came."""
    data = _picture(kind)

    image = image_from_bytes(data, SETTINGS)

    assert (image.media_type, image.width, image.height) == (media_type, 3, 2)
    assert image.data == data
    assert image.url is None
    assert image.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "prefix", ["data:image/png;base64,", "DATA:IMAGE/PNG;BASE64,", "data:image/jpeg;base64,"]
)
def test_a_data_url_is_its_bytes(prefix: str) -> None:
    """A data URL is decoded, and what it claims to be does not count."""
    data = _picture()

    image = image_from_url(prefix + base64.b64encode(data).decode(), SETTINGS)

    assert image == image_from_bytes(data, SETTINGS)


def test_wrong_base64_is_refused() -> None:
    """A data URL whose bytes cannot be decoded is named as such."""
    with pytest.raises(ImageError, match="not valid base64"):
        image_from_url("data:image/png;base64,!!!!", SETTINGS)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/cat.png",
        "https://example.org/cat.png",
        "HTTPS://EXAMPLE.ORG/cat.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.org/cat.png",
        "data:text/html;base64,PGI+",
        "data:image/png,raw",
        "",
    ],
)
def test_an_address_is_refused(url: str) -> None:
    """What is not a data URL of a picture is never fetched; the message has a way out and not the address."""
    with pytest.raises(ImageError, match=r"never fetched.*allow_image_urls") as caught:
        image_from_url(url, SETTINGS)

    assert "example.org" not in str(caught.value).lower()


@pytest.mark.parametrize("url", ["http://example.org/cat.png", "HTTPS://example.org/cat.png"])
def test_an_allowed_address_is_handed_on_as_it_is(url: str) -> None:
    """With allow_image_urls an http(s) address becomes a picture nobody has looked at yet."""
    image = image_from_url(url, Settings(allow_image_urls=True))

    assert image.url == url
    assert (image.data, image.digest, image.media_type, image.width, image.height) == (None,) * 5


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "ftp://example.org/cat.png"])
def test_only_http_addresses_can_be_allowed(url: str) -> None:
    """A path on this machine is never handed to a server."""
    with pytest.raises(ImageError, match="never fetched"):
        image_from_url(url, Settings(allow_image_urls=True))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        _picture()[:40],
        _picture("JPEG")[:-200],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "svg"],
)
def test_a_corrupt_picture_is_refused(data: bytes) -> None:
    """A picture must decode whole: half of one may be hiding the other half."""
    with pytest.raises(ImageError, match="corrupt or of an unknown format"):
        image_from_bytes(data, SETTINGS)


def test_a_format_that_is_not_listed_is_refused() -> None:
    """Decoders that are not needed are not reachable."""
    with pytest.raises(ImageError, match="Known: PNG, JPEG"):
        image_from_bytes(_picture("TIFF"), SETTINGS)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_refused(kind: str) -> None:
    """The model would see one frame, and the others could hold anything."""
    frames = [Pillow.new("RGB", (3, 2), colour) for colour in ("white", "black")]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])

    with pytest.raises(ImageError, match="animated"):
        image_from_bytes(buffer.getvalue(), SETTINGS)


def _bomb(width: int, height: int) -> bytes:
    """Return a PNG of some hundred bytes that promises *width* x *height* pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_a_decompression_bomb_is_refused_unopened(side: int) -> None:
    """A small file that promises more pixels than allowed is refused before it is unpacked."""
    with pytest.raises(ImageError, match="pixels"):
        image_from_bytes(_bomb(side, side), SETTINGS)


def test_the_pixel_limit_is_a_setting() -> None:
    """A picture at the limit passes, one above it does not."""
    assert image_from_bytes(_picture(size=(10, 10)), Settings(max_image_pixels=100)).width == 10

    with pytest.raises(ImageError, match="10 x 11 pixels; the limit is 100"):
        image_from_bytes(_picture(size=(10, 11)), Settings(max_image_pixels=100))


def test_the_byte_limit_holds_for_both_ways_in() -> None:
    """Too many bytes are refused before they are decoded, base64 included; exactly enough pass."""
    data = _picture(size=(40, 40))
    enough, too_few = Settings(max_image_bytes=len(data)), Settings(max_image_bytes=len(data) - 4)

    assert image_from_bytes(data, enough) == image_from_url(_data_url(data), enough)
    with pytest.raises(ImageError, match=f"larger than {len(data) - 4} bytes"):
        image_from_bytes(data, too_few)
    with pytest.raises(ImageError, match=f"larger than {len(data) - 4} bytes"):
        image_from_url(_data_url(data), too_few)
