"""Pictures on their way in: known for what they are, or refused with a reason."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, features

from railscribe.errors import ImageError, TooManyImagesError
from railscribe.images import _Seen, as_seen, as_sent, image_from_bytes, images_from_bytes, images_from_url
from railscribe.settings import Settings
from railscribe.values import Cause, Image

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
        ("TIFF", "image/tiff"),
        pytest.param(
            *("AVIF", "image/avif"),
            marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF"),
        ),
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

    images = images_from_url(prefix + base64.b64encode(data).decode(), SETTINGS)

    assert images == images_from_bytes(data, SETTINGS)


def test_wrong_base64_is_refused() -> None:
    """A data URL whose bytes cannot be decoded is named as such."""
    with pytest.raises(ImageError, match="not valid base64"):
        images_from_url("data:image/png;base64,!!!!", SETTINGS)


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
        images_from_url(url, SETTINGS)

    assert "example.org" not in str(caught.value).lower()


@pytest.mark.parametrize("url", ["http://example.org/cat.png", "HTTPS://example.org/cat.png"])
def test_an_allowed_address_is_handed_on_as_it_is(url: str) -> None:
    """With allow_image_urls an http(s) address becomes a picture nobody has looked at yet."""
    (image,) = images_from_url(url, Settings(allow_image_urls=True))

    assert image.url == url
    assert (image.data, image.digest, image.media_type, image.width, image.height) == (None,) * 5


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/etc/passwd", "ftp://example.org/cat.png"])
def test_only_http_addresses_can_be_allowed(url: str) -> None:
    """A path on this machine is never handed to a server."""
    with pytest.raises(ImageError, match="never fetched"):
        images_from_url(url, Settings(allow_image_urls=True))


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
        image_from_bytes(_picture("PPM"), SETTINGS)


def _frames(kind: str, *colours: str, size: tuple[int, int] = (12, 8)) -> bytes:
    """Return a file with a frame of each colour, a corner apart, so that no writer drops one as a repetition."""
    frames = [Pillow.new("RGB", size, colour) for colour in colours]
    for number, frame in enumerate(frames):
        frame.putpixel((number % size[0], 0), (1, 2, 3))
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    return buffer.getvalue()


MOVING = ["GIF", "WEBP", "PNG", "TIFF", *(["AVIF"] if features.check("avif") else [])]


@pytest.mark.parametrize("kind", [*MOVING, "MPO"])
def test_each_frame_is_an_image_of_its_own(kind: str) -> None:
    """Every frame of a moving picture and every page of a document comes out, numbered, with its own pixels."""
    data = _frames(kind, "white", "black", "red")

    images = images_from_bytes(data, SETTINGS)

    assert [(image.frame, image.frames) for image in images] == [(1, 3), (2, 3), (3, 3)]
    assert {image.digest for image in images} == {hashlib.sha256(data).hexdigest()}
    middles = [as_seen(image).getpixel((6, 6)) for image in images]
    for middle, colour in zip(middles, [(255, 255, 255), (0, 0, 0), (255, 0, 0)], strict=True):
        assert isinstance(middle, tuple)
        assert all(abs(got - meant) < 60 for got, meant in zip(middle, colour, strict=True))


def test_frames_are_found_again_once_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen of a frame does not hang on its being remembered."""
    images = images_from_bytes(_frames("GIF", "white", "black", "red"), SETTINGS)
    remembered = [as_seen(image).tobytes() for image in images]
    monkeypatch.setattr("railscribe.images._SEEN", _Seen(0))

    assert [as_seen(image).tobytes() for image in reversed(images)] == remembered[::-1]


def test_alike_frames_are_one_image() -> None:
    """A frame that looks like an earlier one is not judged again; the first stands for both, and all are counted."""
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in ("white", "black", "white", "white", "black")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])

    images = images_from_bytes(buffer.getvalue(), SETTINGS)

    assert [(image.frame, image.frames) for image in images] == [(1, 5), (2, 5)]


@pytest.mark.parametrize("kind", MOVING)
def test_too_many_frames_are_refused_as_too_many(kind: str) -> None:
    """One more frame than allowed is no broken picture, and none is left out in silence."""
    colours = [f"rgb({40 * number}, 10, 200)" for number in range(5)]
    data = _frames(kind, *colours)

    assert len(images_from_bytes(data, Settings(max_images=5))) == 5
    with pytest.raises(TooManyImagesError) as caught:
        images_from_bytes(data, Settings(max_images=4))
    assert caught.value.cause is Cause.TOO_MANY_IMAGES


def test_endless_repetition_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that look alike are counted, too: walking through a million of them takes a minute."""
    monkeypatch.setattr("railscribe.images._MOST_FRAMES", 3)
    frames = [Pillow.new("RGB", (4, 4), "white")] * 4
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])

    with pytest.raises(TooManyImagesError):
        images_from_bytes(buffer.getvalue(), SETTINGS)


def test_the_pixels_of_all_frames_are_limited_together() -> None:
    """Many small frames are a bomb as well."""
    data = _frames("GIF", "white", "black", "red", size=(10, 10))

    assert len(images_from_bytes(data, Settings(max_image_pixels=300))) == 3
    with pytest.raises(ImageError, match="frames have more than 299 pixels"):
        images_from_bytes(data, Settings(max_image_pixels=299))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_a_moving_picture_that_is_cut_is_refused(kind: str) -> None:
    """Whatever the last frame was, it cannot be judged."""
    chance = random.Random(1)
    frames = [Pillow.frombytes("L", (60, 60), chance.randbytes(3600)) for _ in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])

    with pytest.raises(ImageError):
        images_from_bytes(buffer.getvalue()[:-500], SETTINGS)


def test_a_request_takes_one_frame() -> None:
    """Who asks an engine directly is told, and does not get the first frame for the whole."""
    with pytest.raises(ImageError, match="several frames"):
        image_from_bytes(_frames("GIF", "white", "black"), SETTINGS)


# What is seen.
def _saved(picture: Pillow.Image, kind: str = "PNG", **how: Any) -> Image:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return image_from_bytes(buffer.getvalue(), SETTINGS)


def _writing(mode: str, ink: Any, paper: Any) -> Pillow.Image:
    """Return a picture whose left half is *ink* and whose right half is *paper*."""
    picture = Pillow.new(mode, (4, 2), paper)
    picture.paste(ink, (0, 0, 2, 2))
    return picture


def _ends(image: Image) -> tuple[Any, Any]:
    seen = as_seen(image)
    return seen.getpixel((0, 0)), seen.getpixel((3, 1))


BLACK, WHITE = (0, 0, 0), (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_s_turn_is_made(orientation: int) -> None:
    """For each of EXIF's eight orientations the picture is upright, and its turn is a fact."""
    upright = Pillow.new("RGB", (6, 4), "white")
    upright.paste("black", (0, 0, 3, 2))  # black at the upper left
    back = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }
    stored = upright.transpose(back[orientation]) if orientation in back else upright
    exif = Pillow.Exif()
    exif[0x0112] = orientation

    for kind in ("PNG", "TIFF"):
        image = _saved(stored, kind, exif=exif)
        assert image.orientation == orientation
        assert (image.width, image.height) == upright.size
        assert as_seen(image).tobytes() == upright.tobytes()


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (_writing("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)), "PNG"),
        (_writing("LA", (0, 255), (0, 0)), "PNG"),
        (_writing("L", 0, 255), "PNG"),
        (_writing("1", 0, 1), "PNG"),
        (_writing("CMYK", (0, 0, 0, 255), (0, 0, 0, 0)), "TIFF"),
        (_writing("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)), "WEBP"),
        (_writing("I;16", 0, 65535), "PNG"),
        (_writing("I;16", 0, 65535), "TIFF"),
        (_writing("I", -70000, 90000), "TIFF"),
        (_writing("F", -0.5, 12.25), "TIFF"),
        (_writing("L", 0, 255).convert("P"), "PNG"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.mode,
)
def test_every_way_to_keep_colours_is_seen(picture: Pillow.Image, kind: str) -> None:
    """Black writing on white or on nothing is black on white, however the file keeps it, and the mode is a fact."""
    image = _saved(picture, kind, **({"lossless": True} if kind == "WEBP" else {}))

    assert _ends(image) == (BLACK, WHITE)
    assert image.mode == picture.mode


def test_a_palette_with_a_transparent_colour_lies_on_paper() -> None:
    """The palette's colour that stands for nothing is not seen as a colour."""
    picture = Pillow.new("P", (4, 2), 1)
    picture.putpalette([0, 0, 0, 200, 30, 30])
    picture.paste(0, (0, 0, 2, 2))

    image = _saved(picture, "PNG", transparency=1)

    assert (image.mode, _ends(image)) == ("P", (BLACK, WHITE))


def test_white_writing_on_nothing_is_seen() -> None:
    """Where white paper would swallow everything, the paper is black."""
    assert _ends(_saved(_writing("RGBA", (255, 255, 255, 255), (0, 0, 0, 0)))) == (WHITE, BLACK)


def test_pixels_that_are_no_numbers_are_refused() -> None:
    """What has no brightness cannot be shown to anybody."""
    picture = Pillow.new("F", (2, 2), float("nan"))
    buffer = io.BytesIO()
    picture.save(buffer, "TIFF")

    with pytest.raises(ImageError, match="no numbers"):
        images_from_bytes(buffer.getvalue(), SETTINGS)


def test_a_plain_picture_is_sent_as_it_came() -> None:
    """Bytes that every decoder shows alike are not touched."""
    data = _picture("JPEG")

    assert as_sent(image_from_bytes(data, SETTINGS)) == ("image/jpeg", data)


@pytest.mark.parametrize(
    "data",
    [
        _frames("GIF", "white"),
        _picture("TIFF"),
        _picture("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    ],
    ids=["palette", "tiff", "turned"],
)
def test_what_decoders_show_differently_is_sent_as_it_is_seen(data: bytes) -> None:
    """A server gets the very pixels that a model in this process would."""
    image = image_from_bytes(data, SETTINGS)

    media_type, sent = as_sent(image)

    assert media_type == "image/png"
    assert Pillow.open(io.BytesIO(sent)).convert("RGB").tobytes() == as_seen(image).tobytes()


def test_a_frame_is_sent_alone() -> None:
    """A server that decodes the first frame only is given the one that is meant."""
    second = images_from_bytes(_frames("GIF", "white", "black"), SETTINGS)[1]

    sent = Pillow.open(io.BytesIO(as_sent(second)[1]))

    assert (getattr(sent, "n_frames", 1), sent.convert("RGB").getpixel((6, 6))) == (1, BLACK)


def test_pictures_that_look_alike_have_perceptual_digests_alike() -> None:
    """Scaling and compression change a few bits of 64, another picture about half of them."""
    scene = Pillow.new("L", (320, 240), 90)
    pen = ImageDraw.Draw(scene)
    for number, shade in enumerate((10, 240, 60, 200, 120)):
        pen.ellipse((20 + 55 * number, 10 + 30 * number, 120 + 40 * number, 90 + 28 * number), fill=shade)
    digests = [
        image.perceptual_digest or ""
        for image in (
            _saved(scene),
            _saved(scene.resize((160, 120)), "JPEG", quality=40),
            _saved(scene.transpose(Pillow.Transpose.ROTATE_180)),
        )
    ]
    apart = [bin(int(digests[0], 16) ^ int(other, 16)).count("1") for other in digests[1:]]

    assert len(digests[0]) == 16
    assert apart[0] <= 4
    assert apart[1] >= 16


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

    assert images_from_bytes(data, enough) == images_from_url(_data_url(data), enough)
    with pytest.raises(ImageError, match=f"larger than {len(data) - 4} bytes"):
        image_from_bytes(data, too_few)
    with pytest.raises(ImageError, match=f"larger than {len(data) - 4} bytes"):
        images_from_url(_data_url(data), too_few)
