"""The safety model in this process, through Hugging Face transformers; adapters on it through peft.

Rules

1. The prompt is the checkpoint's own chat template, given the contract's arguments; it is never typed again
   here. A template that does not know an argument would ignore it without a word, so it is refused.
2. Loading and judging run on one thread of the engine's own, batch after batch (``batching.py``).
3. Verdicts are read off, not written (``forced.py``), behind prefixes that are computed once (``prefixes.py``).
   A checkpoint earns that behind every prefix: the first reply there is written whole, greedily, and must come
   out the same. What is to be thought about, what has not earned it, and other families than Gemma 3 are
   written whole (``greedy.py``).
4. A request nobody waits for any more stops at its next token.
5. A checkpoint without eyes refuses pictures (cause: modality); it never skips one.
6. Where memory runs out, prefixes are given up and a batch is judged one by one before anything fails.

A subclass may override ``_load``, ``_prepare`` and ``_tokenise``; all three run on the engine's thread.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

from typing_extensions import Self

from railscribe.engines.base import Engine
from railscribe.engines.batching import Batcher, Job
from railscribe.engines.checkpoint import DEFAULT_ADAPTER, Loaded, load_checkpoint, make_greedy
from railscribe.engines.forced import Question, Reader, Reading, Words
from railscribe.engines.forward import Network, Packed
from railscribe.engines.greedy import Reply, write_reply
from railscribe.engines.names import Names
from railscribe.engines.prefixes import Known, PrefixCache
from railscribe.engines.prompting import Anchors, Prepared, Prompted, size_seen, tokenised
from railscribe.engines.sampling import token_budget
from railscribe.errors import (
    ContextLengthError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    MissingExtraError,
    ModalityError,
    OutOfMemoryError,
    SettingsError,
)
from railscribe.settings import Settings
from railscribe.values import CategoryScores, Completion, EngineInfo, ImageReading, ImageUse, Request, Side

__all__ = ["Loaded", "Prepared", "TransformersEngine", "load_checkpoint"]


class TransformersEngine(Engine):
    """Runs a checkpoint whose chat template takes the contract's arguments."""

    name: ClassVar[str] = "transformers"
    packages: ClassVar[tuple[str, ...]] = ("torch", "transformers")

    def __init__(
        self,
        *,
        model: str,
        timeout_s: float,
        revision: str | None = None,
        adapter: str | None = None,
        adapters: Mapping[str, str] | None = None,
        dtype: str = "auto",
        device: str = "auto",
        quantize: str | None = None,
        max_batch: int = 16,
        batch_tokens: int = 768,
        batch_wait_s: float = 0.002,
        prefix_cache_bytes: int = 256_000_000,
        context_tokens: int | None = None,
    ) -> None:
        super().__init__(timeout_s=timeout_s)
        self._model = model
        self._revision = revision
        self._adapter = adapter
        self._adapters = dict(adapters or {})
        self._dtype = dtype
        self._device = device
        self._quantize = quantize
        self._batch_tokens = batch_tokens
        self._context_tokens = context_tokens
        self._loaded: Loaded | None = None
        self._batcher: Batcher[Request, Completion] = Batcher(
            self._judge, name=f"railscribe-{self.name}", most=max_batch, wait_s=batch_wait_s
        )
        self.prefixes = PrefixCache(max_bytes=prefix_cache_bytes)
        self._anchors = Anchors(lambda request: self._tokenise(request)["input_ids"][0].tolist())

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Build the engine that *settings* describe; nothing is loaded yet.

        Raises:
            SettingsError: no model is named.
            MissingExtraError: a package is not installed.
        """
        if not settings.model:
            raise SettingsError(
                "The transformers engine needs a model.",
                hint="Set --model or RAILSCRIBE_MODEL to a local folder or a hub name, such as "
                "nvidia/Nemotron-3.5-Content-Safety.",
            )
        cls._require(
            *cls.packages,
            *(("peft",) if settings.adapter or settings.adapters else ()),
            *(("bitsandbytes",) if settings.quantize else ()),
        )
        return cls(
            model=settings.model,
            revision=settings.revision,
            device=settings.device,
            quantize=settings.quantize,
            **cls._how(settings),
        )

    @staticmethod
    def _how(settings: Settings) -> dict[str, Any]:
        """Return what every engine in this process takes from *settings*."""
        return {
            "adapter": settings.adapter,
            "adapters": settings.adapters,
            "dtype": settings.dtype,
            "timeout_s": settings.timeout_s,
            "max_batch": settings.max_batch,
            "batch_tokens": settings.batch_tokens,
            "batch_wait_s": settings.batch_wait_ms / 1000,
            "prefix_cache_bytes": settings.prefix_cache_mb * 1_000_000,
            "context_tokens": settings.context_tokens,
        }

    @classmethod
    def _require(cls, *packages: str) -> None:
        missing = [package for package in packages if find_spec(package) is None]
        if missing:
            raise MissingExtraError(
                f"The {cls.name} engine needs {', '.join(missing)}.",
                hint=f"pip install 'railscribe[{cls.name}]'",
            )

    @property
    def info(self) -> EngineInfo:
        return self.info_for(None)

    def info_for(self, adapter: str | None) -> EngineInfo:
        loaded = self._loaded
        digests = loaded.adapter_digests if loaded else {}
        return EngineInfo(
            name=self.name,
            model=self._model,
            revision=loaded.revision if loaded else self._revision,
            adapter=adapter or (DEFAULT_ADAPTER if self._adapter else None),
            adapter_digest=digests.get(adapter or DEFAULT_ADAPTER),
            template_digest=hashlib.sha256(loaded.template.encode()).hexdigest() if loaded else None,
            backend="transformers",
            backend_version=version("transformers"),
            dtype=self._precision(loaded) if loaded else None,
        )

    def _precision(self, loaded: Loaded) -> str:
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        return f"{dtype}, weights {self._quantize}" if self._quantize else dtype

    @property
    def sees(self) -> bool:
        return self._loaded is None or self._loaded.processor is not None

    @property
    def scores_categories(self) -> bool:
        return self._loaded is None or Network.fits(self._loaded)

    async def aclose(self) -> None:
        self._batcher.close()
        self._loaded = None

    async def _start(self) -> None:
        self._refuse_if_closed()
        await self._batcher.run(self._weights)

    async def _complete(self, request: Request) -> Completion:
        self._refuse_if_closed()
        return await self._batcher.submit(request)

    def _refuse_if_closed(self) -> None:
        if self._batcher.closed.is_set():
            raise EngineUnavailableError(f"The {self.name} engine is closed.")

    # From here on everything runs on the engine's thread.
    def _weights(self) -> Loaded:
        if self._loaded is None:
            loaded = self._load()
            make_greedy(loaded.model, loaded.tokenizer)
            self._loaded = loaded
        return self._loaded

    def _judge(self, jobs: Sequence[Job[Request, Completion]]) -> None:
        """Settle *jobs*: those that share a prefix together, the others one after the other."""
        groups: dict[Hashable, list[tuple[Job[Request, Completion], Prompted]]] = defaultdict(list)
        for job in jobs:
            try:
                prompted = self._prompted(job.asked)
            except Exception as error:  # noqa: BLE001 - this job's own
                job.fail(error)
            else:
                groups[self._prefix_key(prompted)].append((job, prompted))
        for key, group in groups.items():
            for batch in self._batches(group):
                self._judge_batch(key, batch)

    def _batches(
        self, group: Sequence[tuple[Job[Request, Completion], Prompted]]
    ) -> list[list[tuple[Job[Request, Completion], Prompted]]]:
        """Return *group* in batches of at most as many tokens as are worth packing."""
        batches: list[list[tuple[Job[Request, Completion], Prompted]]] = []
        room = 0
        for job, prompted in group:
            tokens = len(prompted.ids) - prompted.shared
            if tokens > room:
                batches.append([])
                room = self._batch_tokens
            batches[-1].append((job, prompted))
            room -= tokens
        return batches

    def _judge_batch(self, key: Hashable, batch: list[tuple[Job[Request, Completion], Prompted]]) -> None:
        batch = [(job, prompted) for job, prompted in batch if not job.abandoned.is_set()]
        if not batch:
            return
        try:
            readings = self._read(key, [prompted for _, prompted in batch])
        except Exception as error:  # noqa: BLE001 - whatever a backend raises
            self._make_room(error)
            if len(batch) == 1:
                batch[0][0].fail(_named(error))
                return
            for one in batch:  # rule 6, and whatever else may be wrong with one of them
                self._judge_batch(key, [one])
            return
        for (job, prompted), reading in zip(batch, readings, strict=True):
            job.settle(partial(self._told, job, prompted, reading, key))

    def _read(self, key: Hashable, batch: Sequence[Prompted]) -> list[Reading | None]:
        """Return the readings of *batch*; ``None`` where a reply must be written whole."""
        loaded = self._weights()
        self._use_adapter(batch[0].request)
        words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
        if words is None or not Network.fits(loaded) or batch[0].request.flags.thinking:
            return [None] * len(batch)
        network = Network(loaded)
        known = self._known(key, batch[0], network)
        questions = [self._question(prompted) for prompted in batch]
        return list(Reader(Packed(network, known.prefix), words).read(questions))

    def _told(
        self,
        job: Job[Request, Completion],
        prompted: Prompted,
        reading: Reading | None,
        key: Hashable,
    ) -> Completion:
        """Return what was read, or the reply written whole where that is not to be trusted yet (rule 3)."""
        loaded = self._weights()
        shape = (prompted.request.response is not None, prompted.request.image is not None)
        known = self._known(key, prompted, Network(loaded)) if Network.fits(loaded) else None
        if reading is not None and known is not None and shape in known.proven:
            text = loaded.tokenizer.decode(reading.tokens, clean_up_tokenization_spaces=False)
            return _completion(
                prompted,
                text,
                ended=reading.ended,
                tokens=len(reading.tokens),
                scores=reading.scores,
                category_scores=reading.category_scores,
                decoding="forced",
            )
        reply = self._write(job, prompted, known)
        if reading is None and known is not None and prompted.request.scored_names:
            reading = self._read_again(prompted, known, reply)
        alike = reading is not None and reply.labels == reading.labels
        if alike and known is not None and not prompted.request.flags.thinking:
            known.proven.add(shape)
        return _completion(
            prompted,
            reply.text,
            ended=reply.ended,
            tokens=reply.tokens,
            scores=reply.scores,
            category_scores=reading.category_scores if reading is not None and alike else {},
            decoding="greedy",
        )

    def _write(self, job: Job[Request, Completion], prompted: Prompted, known: Known | None) -> Reply:
        prefix = known.prefix if known is not None and prompted.request.image is None else None
        self._use_adapter(prompted.request)
        try:
            return write_reply(
                self._weights(),
                prompted.inputs,
                prefix=prefix,
                budget=token_budget(prompted.request),
                abandoned=lambda: job.abandoned.is_set() or self._batcher.closed.is_set(),
            )
        except Exception as error:
            self._make_room(error)
            raise _named(error) from error

    def _read_again(self, prompted: Prompted, known: Known, reply: Reply) -> Reading | None:
        """Return what is read off behind the trace of *reply*, for the scores that writing it does not give."""
        loaded = self._weights()
        words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
        trace, closed, verdict = reply.text.rpartition("</think>")
        before, answers, _ = verdict.partition("User Safety:")
        if words is None or not answers:
            return None
        question = self._question(prompted)
        thought = loaded.tokenizer.encode(f"{trace}{closed}{before}", add_special_tokens=False)
        question.tokens = (*question.tokens, *thought)
        try:
            return Reader(Packed(Network(loaded), known.prefix), words).read([question])[0]
        except Exception as error:
            self._make_room(error)
            raise _named(error) from error

    def _known(self, key: Hashable, prompted: Prompted, network: Network) -> Known:
        return self.prefixes.get(key, lambda: network.prefix(prompted.ids[: prompted.shared]))

    def _make_room(self, error: Exception) -> None:
        if _out_of_memory(error):
            self.prefixes.clear()

    def _question(self, prompted: Prompted) -> Question:
        request, tokenizer = prompted.request, self._weights().tokenizer
        names = Names(request.names, tokenizer) if request.names else None
        scored = Names(request.scored_names, tokenizer) if request.scored_names else None
        return Question(
            tokens=prompted.ids[prompted.shared :],
            pixels=prompted.inputs.get("pixel_values"),
            response=request.response is not None,
            categories=request.flags.categories,
            names=names,
            scored=scored,
        )

    def _use_adapter(self, request: Request) -> None:
        wanted = request.adapter or (DEFAULT_ADAPTER if self._adapter else None)
        model = self._weights().model
        if wanted is not None and model.active_adapter != wanted:
            model.set_adapter(wanted)

    def _prefix_key(self, prompted: Prompted) -> Hashable:
        request = prompted.request
        return (request.scope, request.adapter, prompted.ids[: prompted.shared], request.flags.thinking)

    def _prompted(self, request: Request) -> Prompted:
        """Return *request* as tokens.

        Raises:
            EngineError: it cannot be: it is too long, holds what the model cannot read, names no adapter of ours.
        """
        loaded = self._weights()
        if request.adapter is not None and request.adapter not in loaded.adapter_digests:
            raise EngineRefusedError(
                f"There is no adapter called {request.adapter!r}.",
                hint=f"The settings name {', '.join(loaded.adapter_digests) or 'none'}.",
            )
        prepared = self._prepare(request)
        inputs = self._tokenise(prepared.request)
        ids = tuple(inputs["input_ids"][0].tolist())
        budget = token_budget(request)
        shared = self._anchors.shared(prepared.request, ids)
        limit = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and len(ids) + budget > limit:
            raise ContextLengthError(
                f"The prompt has {len(ids)} tokens, the reply up to {budget}; the model reads {limit}."
            )
        if self._context_tokens is not None and len(ids) - shared > self._context_tokens:
            raise ContextLengthError(
                f"The exchange has {len(ids) - shared} tokens; it is judged in windows of {self._context_tokens}."
            )
        return Prompted(prepared=prepared, inputs=inputs, ids=ids, shared=shared)

    def _load(self) -> Loaded:
        """Return the checkpoint that the settings name, its adapters on it."""
        return load_checkpoint(
            self._model,
            revision=self._revision,
            adapters=self._all_adapters(),
            dtype=self._dtype,
            device=self._device,
            quantize=self._quantize,
        )

    def _all_adapters(self) -> dict[str, str]:
        return {**({DEFAULT_ADAPTER: self._adapter} if self._adapter else {}), **self._adapters}

    def _prepare(self, request: Request) -> Prepared:
        """Return *request* as the model can read it (rule 5)."""
        if request.image is None:
            return Prepared(request=request)
        if request.image.data is None:
            raise ModalityError("The picture is given by an address, and this engine fetches none.")
        processor = self._weights().processor
        if processor is None:
            raise ModalityError("The checkpoint judges text only.")
        seen = ImageReading(use=ImageUse.SEEN, seen_size=size_seen(processor))
        return Prepared(request=request, image=seen)

    def _tokenise(self, request: Request) -> Mapping[str, Any]:
        """Return the model's inputs for *request*: ``input_ids``, ``attention_mask``, pixels…"""
        return tokenised(self._weights(), request)


def _completion(
    prompted: Prompted,
    text: str,
    *,
    ended: bool,
    tokens: int,
    scores: Mapping[Side, float],
    category_scores: CategoryScores,
    decoding: str,
) -> Completion:
    return Completion(
        text=text,
        finish_reason="stop" if ended else "length",
        scores=scores,
        category_scores=category_scores,
        image=prompted.prepared.image,
        neutralised=prompted.prepared.neutralised,
        prompt_tokens=len(prompted.ids),
        completion_tokens=tokens,
        decoding=decoding,
    )


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(
            sign in str(error).lower()
            for sign in ("out of memory", "can't allocate memory", "not enough memory")
        )
    )


def _named(error: Exception) -> Exception:
    """Return *error* under the name that its record will carry."""
    if isinstance(error, EngineError) or not _out_of_memory(error):
        return error
    named = OutOfMemoryError()
    named.__cause__ = error
    return named
