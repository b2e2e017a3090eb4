"""Reading a verdict off a model: the same as letting it write, for every shape of request."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.engines.schooled import NAMES, requests

from railscribe.engines.checkpoint import load_checkpoint, make_greedy
from railscribe.engines.forced import Question, Reader, Reading, Words
from railscribe.engines.forward import Network, Packed, Segment
from railscribe.engines.names import Names
from railscribe.engines.prefixes import PrefixCache
from railscribe.engines.prompting import _common, tokenised
from railscribe.engines.transformers import Loaded, TransformersEngine
from railscribe.errors import BadNumbersError, OutOfMemoryError
from railscribe.nemotron import parse_reply
from railscribe.values import Flags, Request, Side

ROWS = 2000
CLOSE = {"float32": 1e-4, "bfloat16": 0.1}
"""How far from one half a score may be for the two ways to differ on a label: sums come out in another order."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Matrices this small are multiplied slower by two threads, and many times slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(checkpoint: Path, dtype: str = "float32") -> Loaded:
    loaded = load_checkpoint(str(checkpoint), revision=None, adapters={}, dtype=dtype, device="cpu")
    make_greedy(loaded.model, loaded.tokenizer)
    return loaded


def ids_of(loaded: Loaded, request: Request) -> list[int]:
    return [int(token) for token in tokenised(loaded, request)["input_ids"][0]]


def written(loaded: Loaded, prompts: Sequence[list[int]]) -> list[str]:
    """What ``generate`` writes, in batches of prompts of one length: no padding, so no other way of reading."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for place, prompt in enumerate(prompts):
        by_length[len(prompt)].append(place)
    replies = [""] * len(prompts)
    for length, places in by_length.items():
        with torch.inference_mode():
            batch = torch.tensor([prompts[place] for place in places])
            output = loaded.model.generate(batch, attention_mask=torch.ones_like(batch), max_new_tokens=48)
        for place, row in zip(places, output, strict=True):
            replies[place] = loaded.tokenizer.decode(row[length:], skip_special_tokens=True)
    return replies


def read(
    loaded: Loaded, asked: Sequence[Request], prompts: Sequence[list[int]], *, together: int
) -> list[Reading]:
    """What is read off behind the longest beginning that all prompts of one policy share."""
    words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    assert words is not None
    names, network = Names(NAMES, loaded.tokenizer), Network(loaded)
    readings: dict[int, Reading] = {}
    by_policy: dict[str | None, list[int]] = defaultdict(list)
    for place, request in enumerate(asked):
        by_policy[request.policy_text].append(place)
    for places in by_policy.values():
        first = prompts[places[0]]
        shared = min(_common(first, prompts[place]) for place in places if prompts[place] != first)
        prefix = network.prefix(prompts[places[0]][:shared])
        for start in range(0, len(places), together):
            batch = places[start : start + together]
            questions = [
                Question(
                    tokens=prompts[place][shared:],
                    response=asked[place].response is not None,
                    categories=asked[place].flags.categories,
                    names=names,
                )
                for place in batch
            ]
            readings |= dict(zip(batch, Reader(Packed(network, prefix), words).read(questions), strict=True))
    return [readings[place] for place in range(len(asked))]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_labels_are_what_greedy_decoding_would_have_said(schooled_checkpoint: Path, dtype: str) -> None:
    """Over two thousand requests, read in batches behind shared prefixes, only calls closer than CLOSE may differ."""
    loaded = load(schooled_checkpoint, dtype)
    asked = list(requests(ROWS, seed=7))
    prompts = [ids_of(loaded, request) for request in asked]

    readings = read(loaded, asked, prompts, together=12)

    seen: Counter[str] = Counter()
    for request, reading, reply in zip(asked, readings, written(loaded, prompts), strict=True):
        verdict = parse_reply(reply, response_sent=request.response is not None, category_names=NAMES)
        for side in reading.labels:
            said = verdict.side(side)
            assert said is not None
            if said.label is not reading.labels[side]:
                seen["differ"] += 1
                assert abs(reading.scores[side] - 0.5) < CLOSE[dtype], (reply, reading)
            seen[reading.labels[side].value] += 1
        text = loaded.tokenizer.decode(reading.tokens)
        seen["whole reply alike"] += text == reply
    assert seen["safe"] > 500
    assert seen["unsafe"] > 500
    assert seen["differ"] <= (0 if dtype == "float32" else ROWS // 50)
    assert seen["whole reply alike"] > ROWS * (0.99 if dtype == "float32" else 0.9)


def test_neighbours_in_a_batch_are_invisible(schooled_checkpoint: Path) -> None:
    """A request is read alike alone and among others, to the rounding of its scores."""
    loaded = load(schooled_checkpoint)
    asked = list(requests(60, seed=11))
    prompts = [ids_of(loaded, request) for request in asked]

    alone, among = (read(loaded, asked, prompts, together=together) for together in (1, 20))

    for one, other in zip(alone, among, strict=True):
        assert one.tokens == other.tokens
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_a_prefix_longer_than_the_window_is_remembered_as_the_model_would(schooled_checkpoint: Path) -> None:
    """Hidden states behind a remembered prefix are those of one whole pass, window's edge included."""
    loaded = load(schooled_checkpoint)
    network = Network(loaded)
    request = next(
        request for request in requests(50, seed=3) if request.policy_text and len(request.user) > 40
    )
    ids = ids_of(loaded, request)
    with torch.inference_mode():
        whole = network.text(input_ids=torch.tensor([ids])).last_hidden_state[0]

    for cut in (1, network.config.sliding_window + 5, len(ids) - 4):
        packed = Packed(network, network.prefix(ids[:cut]))
        middle = (cut + len(ids)) // 2
        first, second = packed.run(
            [Segment(tokens=ids[cut:middle]), Segment(tokens=ids[middle:], parent=0)]
            if middle > cut
            else [Segment(tokens=ids[cut:-1]), Segment(tokens=ids[-1:], parent=0)]
        )
        assert torch.allclose(torch.cat([first, second]), whole[cut:], atol=1e-4)


def test_names_are_chosen_from_the_policy_s(schooled_checkpoint: Path) -> None:
    """A name that begins another can end or go on, and none is written twice."""
    tokenizer = load(schooled_checkpoint).tokenizer
    names = Names(NAMES, tokenizer)

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    longer = tokens(" Sexual (minor)")
    more, whole = names.next(tokens(" Sexual"), frozenset())
    assert (more, whole) == ({longer[len(tokens(" Sexual"))]}, True)
    assert names.next(longer, frozenset()) == (set(), True)
    first, _ = names.next((), frozenset({tokens(" Violence")}))
    assert tokens(" Violence")[0] not in first


# In the engine.
@pytest.fixture
async def engine(schooled_checkpoint: Path) -> AsyncIterator[TransformersEngine]:
    async with TransformersEngine(model=str(schooled_checkpoint), timeout_s=60) as engine:
        yield engine


def some(count: int, *, policy: bool) -> list[Request]:
    return [r for r in requests(200, seed=5) if (r.policy_text is not None) is policy and r.response is None][
        :count
    ]


async def test_the_first_reply_behind_a_prefix_is_written_and_earns_the_rest(
    engine: TransformersEngine,
) -> None:
    """Reading is trusted only once a whole greedy reply came out the same."""
    completions = [await engine.complete(request) for request in some(6, policy=True)]

    assert completions[0].decoding == "greedy"
    assert completions[-1].decoding == "forced"
    assert (engine.prefixes.misses, engine.prefixes.hits > 5) == (1, True)


async def test_a_model_that_does_not_speak_the_grammar_is_never_forced(blind_checkpoint: Path) -> None:
    """It answers for the user's side alone, so a response is never given a label that it did not write."""
    request = dataclasses.replace(some(1, policy=False)[0], response="the dog")
    async with TransformersEngine(model=str(blind_checkpoint), timeout_s=60) as engine:
        completions = [await engine.complete(request) for _ in range(4)]

    assert {completion.decoding for completion in completions} == {"greedy"}
    assert {completion.text for completion in completions} == {"User Safety: unsafe"}


async def test_concurrent_checks_are_answered_as_single_ones(engine: TransformersEngine) -> None:
    """Thirty at once, of several shapes and policies, come back each with its own reply."""
    asked = list(requests(30, seed=13))
    single = [await engine.complete(request) for request in asked]

    together = await asyncio.gather(*(engine.complete(request) for request in asked))

    assert [one.text for one in single] == [one.text for one in together]


async def test_tenants_share_a_prefix_only_where_they_may(engine: TransformersEngine) -> None:
    """A scope keeps what was computed for one tenant from another."""
    (request,) = some(1, policy=True)

    for scope in ("acme", "acme", "umbrella", None):
        await engine.complete(dataclasses.replace(request, scope=scope))

    assert engine.prefixes.misses == 3


async def test_a_policy_never_uses_what_was_kept_of_another(engine: TransformersEngine) -> None:
    """Two versions of a policy, as behind a tag that moves to and fro, are two prefixes, each with its own answers."""
    (request,) = some(1, policy=True)
    texts = [request.policy_text, f"{request.policy_text}\n- the cat"]
    asked = [dataclasses.replace(request, policy_text=texts[turn]) for turn in (0, 1, 0, 1)]

    completions = [await engine.complete(each) for each in asked]

    assert engine.prefixes.misses == 2
    for each, completion in zip(asked, completions, strict=True):
        engine.prefixes.clear()
        fresh = await engine.complete(each)
        assert fresh.text == completion.text
        assert fresh.scores == pytest.approx(completion.scores, abs=1e-4)


def test_the_prefix_cache_is_bounded(schooled_checkpoint: Path) -> None:
    """The least recently used goes first, and one that is larger than the room is not kept."""
    network = Network(load(schooled_checkpoint))
    size = network.prefix(range(10)).bytes
    cache = PrefixCache(max_bytes=3 * size)

    for key in ("a", "b", "c", "a", "d"):
        cache.get(key, lambda: network.prefix(range(10)))
    cache.get("a", lambda: pytest.fail("a was used last and is gone"))
    cache.get("huge", lambda: network.prefix(range(40)))

    assert cache.bytes <= cache.max_bytes
    assert cache.misses == 5


async def test_thinking_is_written_behind_the_prefix(engine: TransformersEngine) -> None:
    """A request with thinking is never forced."""
    (request,) = some(1, policy=True)

    completion = await engine.complete(dataclasses.replace(request, flags=Flags(thinking=True)))

    assert completion.decoding == "greedy"


async def test_the_long_way_gives_the_same_behind_a_prefix(engine: TransformersEngine) -> None:
    """What ``generate`` writes on from a remembered prefix is what it writes from the start."""
    loaded = engine._weights()
    for request in some(8, policy=True):
        engine.prefixes.clear()
        completion = await engine.complete(request)

        assert completion.decoding == "greedy"
        assert completion.text == written(loaded, [ids_of(loaded, request)])[0]


# What goes wrong.
async def test_numbers_that_are_none_are_an_error_and_the_next_engine_s_are_not(
    schooled_checkpoint: Path,
) -> None:
    """NaN logits have a name of their own; healed weights answer again."""
    asked = some(3, policy=True)
    async with TransformersEngine(model=str(schooled_checkpoint), timeout_s=60) as engine:
        await engine.complete(asked[0])
        weight = engine._weights().model.model.norm.weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.fill_(float("nan"))
        for request in asked:
            with pytest.raises(BadNumbersError):
                await engine.complete(request)
        with torch.no_grad():
            weight.copy_(kept)

        completion = await engine.complete(asked[1])

    assert completion.scores[Side.USER] >= 0


async def test_out_of_memory_costs_one_request(engine: TransformersEngine, monkeypatch: Any) -> None:
    """The batch is tried one by one, the prefixes are given up, the one too many is named, the next one works."""
    asked = some(4, policy=True)
    await engine.complete(asked[0])
    run = Packed.run

    def starved(self: Packed, segments: Sequence[Segment]) -> list[Any]:
        if any(len(segment.tokens) > 5000 for segment in segments) or len(segments) > 6:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return run(self, segments)

    monkeypatch.setattr(Packed, "run", starved)
    together = await asyncio.gather(*(engine.complete(request) for request in asked))
    monkeypatch.setattr(Packed, "run", lambda *_: (_ for _ in ()).throw(RuntimeError("CUDA out of memory")))
    with pytest.raises(OutOfMemoryError):
        await engine.complete(asked[0])
    monkeypatch.setattr(Packed, "run", run)

    assert all(completion.text for completion in together)
    assert (await engine.complete(asked[0])).text == together[0].text


# Scores of categories.
def likelihood(
    loaded: Loaded, prompt: list[int], written: str, names: Names, used: Sequence[str]
) -> dict[str, float]:
    """Each name's share of the place after *written*, by writing each out: a pass for every token of every name."""
    words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    assert words is not None
    base = prompt + loaded.tokenizer.encode(written, add_special_tokens=False)
    gone = frozenset(tuple(loaded.tokenizer.encode(f" {name}", add_special_tokens=False)) for name in used)
    shares = {}
    for name in names:
        tokens = tuple(loaded.tokenizer.encode(f" {name}", add_special_tokens=False))
        share = 0.0 if tokens in gone else 1.0
        for length in range(len(tokens) + 1 if share else 0):
            more, whole = names.next(tokens[:length], gone)
            rows = sorted(more) + ([words.comma, *words.ends] if whole else [])
            if len(rows) < 2:
                continue
            with torch.inference_mode():
                logits = loaded.model(torch.tensor([base + list(tokens[:length])])).logits[0, -1]
            likely = dict(zip(rows, logits[rows].float().softmax(-1).tolist(), strict=True))
            after = [tokens[length]] if length < len(tokens) else [words.comma, *words.ends]
            share *= sum(likely[token] for token in after)
        shares[name] = share
    return shares


def test_categories_score_what_writing_each_of_them_out_would_give(schooled_checkpoint: Path) -> None:
    """By side: the side's score times the name's share after a forced unsafe, or at a further place."""
    loaded = load(schooled_checkpoint)
    words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    assert words is not None
    names, network = Names(NAMES, loaded.tokenizer), Network(loaded)
    asked = [request for request in requests(80, seed=17) if request.flags.categories][:40]
    seen: Counter[str] = Counter()
    for start in range(0, len(asked), 8):
        batch = asked[start : start + 8]
        prompts = [ids_of(loaded, request) for request in batch]
        questions = [
            Question(
                tokens=prompt[1:],
                response=request.response is not None,
                categories=True,
                names=names,
                scored=names,
            )
            for prompt, request in zip(prompts, batch, strict=True)
        ]
        readings = Reader(Packed(network, network.prefix(prompts[0][:1])), words).read(questions)
        for prompt, request, reading in zip(prompts, batch, readings, strict=True):
            text = loaded.tokenizer.decode(reading.tokens)
            sides = (Side.USER, Side.RESPONSE) if request.response is not None else (Side.USER,)
            assert set(reading.category_scores) == set(sides)
            for side in sides:
                unsafe = next(label for label in words.labels if label.value == "unsafe")
                labels = {**reading.labels, side: unsafe}
                if side is Side.USER and request.response is not None:
                    forced = "User Safety: unsafe\nResponse Safety:"
                    with torch.inference_mode():
                        ids = prompt + loaded.tokenizer.encode(forced, add_special_tokens=False)
                        logits = loaded.model(torch.tensor([ids])).logits[0, -1]
                    labels[Side.RESPONSE] = max(words.labels, key=lambda label: logits[words.labels[label]])
                forced = f"User Safety: {labels[Side.USER].value}"
                if request.response is not None:
                    forced += f"\nResponse Safety: {labels[Side.RESPONSE].value}"
                forced += "\nSafety Categories:"
                expected = likelihood(loaded, prompt, forced, names, ())
                listed = text.partition("\nSafety Categories:")[2]
                if reading.labels[side] is unsafe and "," in listed:
                    seen["several names"] += 1
                    continue
                seen[reading.labels[side].value] += 1
                for name, share in expected.items():
                    score = reading.scores[side] * share
                    assert reading.category_scores[side][name] == pytest.approx(score, abs=1e-4)
    assert seen["safe"] > 10
    assert seen["unsafe"] > 3


def test_a_name_further_down_the_list_scores_at_its_own_place(schooled_checkpoint: Path) -> None:
    """What the model named second is scored there: the chance of the comma times its share after it."""
    loaded = load(schooled_checkpoint)
    words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    assert words is not None
    names, network = Names(NAMES, loaded.tokenizer), Network(loaded)
    found = 0
    for request in requests(200, seed=19):
        if request.response is not None or not request.flags.categories:
            continue
        prompt = ids_of(loaded, request)
        question = Question(tokens=prompt[1:], response=False, categories=True, names=names, scored=names)
        (reading,) = Reader(Packed(network, network.prefix(prompt[:1])), words).read([question])
        written, _, listed = loaded.tokenizer.decode(reading.tokens).partition("\nSafety Categories:")
        if listed.count(",") != 1:
            continue
        found += 1
        first, second = (name.strip() for name in listed.split(","))
        head = f"{written}\nSafety Categories: {first}"
        with torch.inference_mode():
            ids = torch.tensor([prompt + loaded.tokenizer.encode(head, add_special_tokens=False)])
            logits = loaded.model(ids).logits[0, -1].float()
        tokens = tuple(loaded.tokenizer.encode(f" {first}", add_special_tokens=False))
        more, _ = names.next(tokens, frozenset())
        rows = sorted({*more, words.comma, *words.ends})
        comma = float(logits[rows].softmax(-1)[rows.index(words.comma)])
        at_first = likelihood(loaded, prompt, f"{written}\nSafety Categories:", names, ())
        at_second = likelihood(loaded, prompt, f"{head},", names, [first])
        for name in NAMES:
            expected = reading.scores[Side.USER] * max(at_first[name], comma * at_second[name])
            assert reading.category_scores[Side.USER][name] == pytest.approx(expected, abs=1e-4)
        assert reading.category_scores[Side.USER][second] > at_first[second] * reading.scores[Side.USER]
        if found == 4:
            return
    pytest.fail(f"only {found} replies named two categories")


def test_scoring_changes_nothing_else_and_costs_nothing_where_it_is_not_asked_for(
    schooled_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply and the sides' scores are the same; without names to score there is no further pass or segment."""
    loaded = load(schooled_checkpoint)
    words = Words.of(loaded.tokenizer, loaded.model.generation_config.eos_token_id)
    assert words is not None
    names, network = Names(NAMES, loaded.tokenizer), Network(loaded)
    passes: list[int] = []
    run = Packed.run

    def counted(self: Packed, segments: Sequence[Segment]) -> list[Any]:
        passes.append(sum(len(segment.tokens) for segment in segments))
        return run(self, segments)

    monkeypatch.setattr(Packed, "run", counted)
    for request in requests(40, seed=23):
        prompt = ids_of(loaded, request)
        both = []
        for scored in (None, names):
            question = Question(
                tokens=prompt[1:],
                response=request.response is not None,
                categories=request.flags.categories,
                names=names,
                scored=scored,
            )
            passes.clear()
            reader = Reader(Packed(network, network.prefix(prompt[:1])), words)
            (reading,) = reader.read([question])
            both.append((reading, list(passes)))
        (plain, few), (with_scores, more) = both
        assert (plain.tokens, plain.labels) == (with_scores.tokens, with_scores.labels)
        assert plain.scores == with_scores.scores
        assert plain.category_scores == {}
        assert more[: len(few)] == few
        assert len(more) - len(few) == (1 if request.flags.categories else 0)


async def test_the_engine_scores_categories_however_it_answers(engine: TransformersEngine) -> None:
    """Written out the first time, read off after, or behind a trace: every name has a score on every side."""
    asked = [
        dataclasses.replace(request, scored_names=NAMES)
        for request in requests(60, seed=29)
        if request.policy_text is not None and request.flags.categories
    ][:6]
    assert engine.scores_categories

    seen: Counter[str | None] = Counter()
    for request in asked:
        completion = await engine.complete(request)
        seen[completion.decoding] += 1
        sides = {Side.USER} if request.response is None else {Side.USER, Side.RESPONSE}
        assert set(completion.category_scores) == sides
        for side, scores in completion.category_scores.items():
            assert set(scores) == set(NAMES)
            assert 0 <= max(scores.values()) <= completion.scores[side] + 1e-6
    assert set(seen) == {"greedy", "forced"}
    thinking = dataclasses.replace(asked[0], response=None, flags=Flags(thinking=True))
    completion = await engine.complete(thinking)
    assert set(completion.category_scores[Side.USER]) == set(NAMES)


async def test_a_reply_that_is_no_verdict_has_no_category_scores(blind_checkpoint: Path) -> None:
    """A model that does not speak the grammar is not scored as if it did."""
    request = dataclasses.replace(some(1, policy=False)[0], response="the dog", scored_names=NAMES)
    async with TransformersEngine(model=str(blind_checkpoint), timeout_s=60) as engine:
        completion = await engine.complete(request)

    assert completion.category_scores == {}
