"""A turn as hosts hand it over - a text, or a list of text and image parts - read for judging.

Rules

1. Texts are joined by line breaks, in order. Images are read as :mod:`railscribe.images` says.
2. A broken picture and a refused address make the turn unjudgeable: ``bad_image``. Each frame of a moving picture
   is an image of its own; too many of them make it ``too_many_images``.
3. What is neither text nor image (sound, files, whatever comes next) makes it unjudgeable: ``modality``.
   Nothing is dropped in silence.
4. Calls of tools are text as well: a sentence each, with the name and all arguments.
5. The shapes are those of OpenAI's chat messages and of LangChain's content blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from railscribe.errors import ImageError
from railscribe.images import images_from_url
from railscribe.settings import Settings
from railscribe.values import Cause, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One side's turn, and why it cannot be judged if it cannot."""

    text: str
    images: tuple[Image, ...] = ()
    problem: Cause | None = None


def read_turn(content: object, settings: Settings) -> Turn:
    """Return *content* (``None``, a text, a list of parts) as a turn; on a thread: it decodes pictures."""
    if content is None or isinstance(content, str):
        return Turn(text=content or "")
    if not isinstance(content, list):
        return Turn(text="", problem=Cause.MODALITY)
    texts: list[str] = []
    images: list[Image] = []
    problems: list[Cause] = []
    for part in content:
        text, url = _text_of(part), _image_url_of(part)
        if text is not None:
            texts.append(text)
        elif url is not None:
            try:
                images += images_from_url(url, settings)
            except ImageError as error:
                problems.append(error.cause)
        else:
            problems.append(Cause.MODALITY)
    return Turn(text="\n".join(texts), images=tuple(images), problem=problems[0] if problems else None)


def join_turns(turns: Iterable[Turn]) -> Turn:
    """Return *turns* of one side as a single one."""
    turns = list(turns)
    return Turn(
        text="\n".join(turn.text for turn in turns if turn.text),
        images=tuple(image for turn in turns for image in turn.images),
        problem=next((turn.problem for turn in turns if turn.problem), None),
    )


def calls_text(calls: object) -> object:
    """Return *calls* as text, a sentence a call; something else as it is.

    A sentence, because a guard model has read more of them than of code: of ``get_weather({"city": "Paris"})`` the
    embedded guard says unsafe, of ``Calling the tool get_weather with city "Paris".`` it does not.
    """
    if isinstance(calls, str) or not isinstance(calls, Sequence):
        return calls
    return "\n".join(_call_text(call) for call in calls)


def _call_text(call: object) -> str:
    fields = call if isinstance(call, Mapping) else getattr(call, "__dict__", {})
    function = fields.get("function", fields)
    function = function if isinstance(function, Mapping) else getattr(function, "__dict__", {})
    name = function.get("name")
    if not isinstance(name, str):
        # Nothing is dropped in silence: what has no name is judged by what it says of itself.
        return _json(call)
    arguments: object = next(
        (function[key] for key in ("arguments", "args") if function.get(key) is not None), {}
    )
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:  # a model wrote it; it is judged as it is
            return f"Calling the tool {name} with {arguments}."
    if not isinstance(arguments, Mapping):
        return f"Calling the tool {name} with {_json(arguments)}."
    told = ", ".join(f"{argument} {_json(value)}" for argument, value in arguments.items())
    return f"Calling the tool {name} with {told}." if told else f"Calling the tool {name}."


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _text_of(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    return None


def _image_url_of(part: object) -> str | None:
    """Return the image's address; an empty one, which nothing reads, where an image part names none."""
    if not isinstance(part, Mapping) or part.get("type") not in ("image_url", "image"):
        return None
    if part["type"] == "image_url":
        named = part.get("image_url")
        named = named.get("url") if isinstance(named, Mapping) else named
        return named if isinstance(named, str) else ""
    return _block_url(part)


def _block_url(block: Mapping[Any, Any]) -> str:
    data = block.get("base64") or block.get("data")
    if isinstance(data, str):
        return f"data:{block.get('mime_type')};base64,{data}"
    url = block.get("url")
    return url if isinstance(url, str) else ""
