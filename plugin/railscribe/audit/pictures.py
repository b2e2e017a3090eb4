"""The rows of a record's pictures, written and read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from itertools import chain, repeat

from railscribe.audit.commitments import verify
from railscribe.audit.contents import Content, Contents, Row, content_of
from railscribe.values import Image, ImageReading, ImageUse, Record

_FACTS = (
    *("position", "kind", "media_type", "width", "height", "size_bytes", "frame", "frames"),
    *("mode", "orientation", "use", "seen_width", "seen_height", "reader"),
)


def image_rows(record: Record, key: Row, content: Content, *, keep_images: bool) -> Iterator[Row]:
    """Yield the row of each picture of *record*, its content beside it; bytes only where they are to be kept."""
    kept: set[str | None] = set()
    readings = chain(record.readings, repeat(ImageReading(use=ImageUse.NOT_JUDGED)))
    for position, (image, reading) in enumerate(zip(record.exchange.images, readings, strict=False)):
        if keep_images and image.data is not None and image.digest not in kept:
            content.add_bytes("image_bytes", image.data, position)
            kept.add(image.digest)  # all frames of a file have its digest
        width, height = reading.seen_size or (None, None)
        yield {
            **_facts(image, position, key, content),
            "use": reading.use.value,
            "seen_width": width,
            "seen_height": height,
            "reader": reading.reader,
            "text_chars": None if reading.text is None else len(reading.text),
            "text_commitment": content.add("image_text", reading.text, position),
        }


def read_image(image: Row, contents: Contents) -> Row:
    """Return what is known of a picture."""
    kind, position = image["kind"], image["position"]
    return {
        **{name: image[name] for name in _FACTS},
        "content": content_of(kind, None, image["commitment"], contents, position),
        "perceptual_digest": content_of(
            "image_perceptual", None, image["perceptual_commitment"], contents, position
        ),
        "text": content_of("image_text", image["text_chars"], image["text_commitment"], contents, position),
        "bytes": _bytes(image, contents),
    }


def _facts(image: Image, position: int, key: Row, content: Content) -> Row:
    kind, what = ("image", image.digest) if image.url is None else ("image_url", image.url)
    return {
        **key,
        "position": position,
        "kind": kind,
        "media_type": image.media_type,
        "width": image.width,
        "height": image.height,
        "size_bytes": None if image.data is None else len(image.data),
        "commitment": content.add(kind, what or "", position),
        "frame": image.frame,
        "frames": image.frames,
        "mode": image.mode,
        "orientation": image.orientation,
        "perceptual_commitment": content.add("image_perceptual", image.perceptual_digest, position),
    }


def _bytes(image: Row, contents: Contents) -> str | None:
    """Return how the bytes of a picture are: ``intact`` where they have the digest that is committed to, ``altered``,
    ``unproven`` where the digest was erased without them, ``encrypted`` where the key is not at hand; ``None`` where
    none are kept."""
    kept = contents.get("image_bytes", image["position"])
    digest = contents.get(image["kind"], image["position"])
    if kept is None:
        return None
    if "state" in kept:
        return str(kept["state"])
    if digest is None:
        return "unproven"
    try:
        found = hashlib.sha256(base64.b64decode(kept["body"], validate=True)).hexdigest()
    except ValueError:
        return "altered"
    return "intact" if verify(image["commitment"], image["kind"], digest["salt"], found) else "altered"
