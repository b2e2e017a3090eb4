"""A turn as hosts hand it over - a text, or a list of text and image parts - read for judging.

Rules

1. Texts are joined by line breaks, in order. Images are read as :mod:`railscribe.images` says.
2. A broken picture and a refused address make the turn unjudgeable: ``bad_image``. Each frame of a moving picture
   is an image of its own; too many of them make it ``too_many_images``.
3. What is neither text nor image (sound, files, whatever comes next) makes it unjudgeable: ``modality``.
   Nothing is dropped in silence.
4. Calls of tools are text as well: a sentence each, with the name and all arguments.
5. The shapes are those of OpenAI's chat messages and of LangChain's content blocks. What a model thought, and a
   refusal of its own, are text like any other, for hosts show them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from railscribe.errors import ImageError
from railscribe.images import images_from_url
from railscribe.settings import Settings
from railscribe.values import Cause, Exchange, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One side's turn, and why it cannot be judged if it cannot."""

    text: str
    images: tuple[Image, ...] = ()
    problem: Cause | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to be judged, or to be refused for."""
        return not (self.text.strip() or self.images or self.problem)


def exchange_of(user: Turn, bot: Turn | None) -> tuple[Exchange, Cause | None]:
    """Return both turns as an exchange, and why it cannot be judged if it cannot; *bot* is ``None`` for a prompt."""
    if bot is None:
        return Exchange(user=user.text, images=user.images), user.problem
    # No engine takes a picture of the assistant's.
    problem = bot.problem or user.problem or (Cause.MODALITY if bot.images else None)
    return Exchange(user=user.text, response=bot.text, images=user.images + bot.images), problem


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
    if isinstance(calls, (str, bytes, bytearray)) or not isinstance(calls, Sequence):
        return calls
    if any(_is_opaque(call) for call in calls):
        return list(calls)  # parts of no known type
    return "\n".join(call_text(call) for call in calls)


def _is_opaque(call: object) -> bool:
    """Whether *call* is an object that says nothing of itself."""
    if call is None or isinstance(call, (str, int, float, Mapping, list, tuple)):
        return False
    fields = getattr(call, "__dict__", {})
    return not ({"function", "name"} & set(fields))


_ARGUMENTS = ("arguments", "args", "input", "partial_json")


def call_text(call: object) -> str:
    """Return one call as a sentence."""
    fields = call if isinstance(call, Mapping) else getattr(call, "__dict__", {})
    function = fields.get("function", fields)
    function = function if isinstance(function, Mapping) else getattr(function, "__dict__", {})
    name = function.get("name")
    if not isinstance(name, str):
        # Nothing is dropped in silence: what has no name is judged by what it says of itself.
        return as_json(fields or call)
    given = [function[key] for key in _ARGUMENTS if function.get(key) is not None]
    told = ", ".join(filter(None, map(_arguments_text, given)))
    return f"Calling the tool {name} with {told}." if told else f"Calling the tool {name}."


def _arguments_text(arguments: object) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:  # a model wrote it; it is judged as it is
            return str(arguments)
    if not isinstance(arguments, Mapping):
        return as_json(arguments)
    return ", ".join(f"{argument} {as_json(value)}" for argument, value in arguments.items())


def as_json(value: object) -> str:
    """Return *value* as text, whatever it is."""
    return json.dumps(value, ensure_ascii=False, default=str)


_TEXT_UNDER = {
    **dict.fromkeys(("text", "input_text", "output_text", "text-plain"), ("text",)),
    "refusal": ("refusal",),
    "reasoning": ("reasoning", "summary", "content", "text"),
    "thinking": ("thinking",),
    "redacted_thinking": (),
}
"""Where parts of each type that is text keep it."""
_MAY_BE_SEALED = ("reasoning", "thinking", "redacted_thinking")
"""Types that may hold nothing but a cipher, which says nothing to anybody but its provider."""


def _text_of(part: object) -> str | None:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    keys = _TEXT_UNDER.get(kind) if isinstance(kind, str) else None
    if keys is None or not isinstance(part, Mapping):
        return None
    texts: list[object] = []
    for key in keys:
        told = part.get(key)
        if isinstance(told, list) and kind in _MAY_BE_SEALED:  # a summary in parts of its own
            texts += [each.get("text") if isinstance(each, Mapping) else each for each in told]
        elif told is not None:
            texts.append(told)
    if not all(isinstance(text, str) for text in texts) or not (texts or kind in _MAY_BE_SEALED):
        return None
    return "\n".join(map(str, texts))


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
