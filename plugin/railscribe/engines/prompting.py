"""From a request to the tokens that a checkpoint reads, through the checkpoint's own chat template."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from railscribe.engines.checkpoint import Loaded
from railscribe.errors import EngineRefusedError
from railscribe.images import as_seen
from railscribe.nemotron import chat_messages, template_kwargs
from railscribe.values import ImageReading, Request

_OFF = (False, "/no_categories")
"""Values of the contract's arguments that a template need not know."""
_ANCHORS = 256
"""Policies of which the length of the shared beginning is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request as an engine can read it, and what became of its picture."""

    request: Request
    image: ImageReading | None = None
    neutralised: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """A request as tokens."""

    prepared: Prepared
    inputs: Mapping[str, Any]
    ids: tuple[int, ...]
    shared: int
    """How many of *ids* begin every prompt under the same policy and flags."""

    @property
    def request(self) -> Request:
        return self.prepared.request


def tokenised(loaded: Loaded, request: Request) -> dict[str, Any]:
    """Return the model's inputs for *request*: ``input_ids``, ``attention_mask``, pixels…

    Raises:
        EngineRefusedError: the template would ignore something that is asked.
    """
    kwargs = template_kwargs(request)
    ignored = [name for name, value in kwargs.items() if value not in _OFF and name not in loaded.template]
    if ignored:
        raise EngineRefusedError(f"The checkpoint's chat template does not take {', '.join(ignored)}.")
    prompt = (loaded.processor or loaded.tokenizer).apply_chat_template(
        chat_messages(request, images_as="part"),
        chat_template=loaded.template,
        add_generation_prompt=True,
        tokenize=False,
        **kwargs,
    )
    # The template wrote the special tokens too.
    how = {"return_tensors": "pt", "add_special_tokens": False}
    if request.image is None:
        return dict(loaded.tokenizer(prompt, **how))
    return dict(loaded.processor(text=prompt, images=[[as_seen(request.image)]], **how))


class Anchors:
    """How much of a prompt is the policy's, found by comparing prompts that differ in their text alone."""

    def __init__(self, ids_of: Callable[[Request], list[int]]) -> None:
        self._ids_of = ids_of
        self._known: OrderedDict[Hashable, int] = OrderedDict()

    def shared(self, request: Request, ids: Sequence[int]) -> int:
        """Return how many of *ids*, the prompt of *request*, begin every prompt under its policy and flags."""
        key = (request.mode, request.policy_text, request.flags)
        if key not in self._known:
            bare = dataclasses.replace(request, response=None, image=None)
            one, other = (self._ids_of(dataclasses.replace(bare, user=user)) for user in ("0", "a"))
            self._known[key] = _common(one, other)
            if len(self._known) > _ANCHORS:
                self._known.popitem(last=False)
        return min(self._known[key], len(ids) - 1)


def size_seen(processor: Any) -> tuple[int, int] | None:
    """Return width and height to which *processor* brings every picture, where it says so."""
    size = getattr(getattr(processor, "image_processor", None), "size", None)
    if size is None:
        return None
    of = size.get if hasattr(size, "get") else lambda side: getattr(size, side, None)
    width, height = of("width"), of("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens *one* and *other* begin with alike."""
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))
