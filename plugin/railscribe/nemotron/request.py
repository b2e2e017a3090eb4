"""What goes into the model: messages and chat-template arguments.

Rules (docs/contract.md, "Input")

1. Exactly one user turn, then at most one assistant turn: the response under test. Never a system turn; the
   template drops it without a word.
2. The policy travels as ``custom_policy`` (mode A) or ``custom_taxonomy`` (mode B), never both, and never in
   mode ``builtin``.
3. ``request_categories`` is "/categories" or "/no_categories"; ``enable_thinking`` is a boolean.
4. At most one image, before the text, in the user turn.
5. Content is stripped and neutralised before it is placed.
6. For a server that takes no conversation ending on an assistant turn (SGLang), the response is folded into the
   user's turn behind the template's own marker, which renders to the same prompt.
"""

from __future__ import annotations

import base64
from typing import Any, Literal

from railscribe.nemotron.neutralise import neutralise
from railscribe.values import Exchange, Flags, Image, Mode, Rendering, Request

_FOLD = "\nresponse: agent:  ### Answer: "  # two spaces: the template's own

_KWARG_OF_MODE = {Mode.POLICY: "custom_policy", Mode.TAXONOMY: "custom_taxonomy"}


def build_request(exchange: Exchange, rendering: Rendering, flags: Flags) -> Request:
    """Return *exchange* under *rendering* as the model takes it. *exchange* holds at most one image."""
    # Stripped first: what stripping lays bare at the beginning must not be a marker either.
    user = neutralise(exchange.user.strip())
    response = None if exchange.response is None else neutralise(exchange.response.strip())
    markers = dict.fromkeys(user.markers + (response.markers if response else ()))
    return Request(
        user=user.text,
        response=None if response is None else response.text,
        image=exchange.images[0] if exchange.images else None,
        mode=rendering.mode,
        policy_text=None if rendering.mode is Mode.BUILTIN else rendering.text,
        flags=flags,
        neutralised=tuple(markers),
        names=rendering.category_names if rendering.closed else None,
        scored_names=rendering.category_names if rendering.scores_categories else (),
    )


def template_kwargs(request: Request) -> dict[str, Any]:
    """Return the chat-template arguments of *request* (rules 2 and 3)."""
    kwargs: dict[str, Any] = {
        "request_categories": "/categories" if request.flags.categories else "/no_categories",
        "enable_thinking": request.flags.thinking,
    }
    if request.policy_text is not None:
        kwargs[_KWARG_OF_MODE[request.mode]] = request.policy_text
    return kwargs


def chat_messages(
    request: Request, *, images_as: Literal["url", "part"], fold_response: bool = False
) -> list[dict[str, Any]]:
    """Return the chat messages of *request* (rules 1 and 4; with *fold_response* rule 6).

    *images_as* is ``"url"`` for OpenAI-compatible servers, which take data URLs, and ``"part"`` for a
    processor that is handed the picture itself and needs only its place.
    """
    user = request.user
    if fold_response and request.response is not None:
        user += _FOLD + request.response
    content: str | list[dict[str, Any]] = user
    if request.image is not None:
        part = {"type": "image"} if images_as == "part" else _url_part(request.image)
        content = [part, {"type": "text", "text": user}]
    elif images_as == "part":
        content = [{"type": "text", "text": user}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if request.response is not None and not fold_response:
        response: str | list[dict[str, Any]] = request.response
        if images_as == "part":
            response = [{"type": "text", "text": request.response}]
        messages.append({"role": "assistant", "content": response})
    return messages


def _url_part(image: Image) -> dict[str, Any]:
    url = image.url
    if image.data is not None:
        from railscribe.images import as_sent  # here, so that a policy can be had without Pillow

        media_type, data = as_sent(image)
        url = f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"
    return {"type": "image_url", "image_url": {"url": url}}
