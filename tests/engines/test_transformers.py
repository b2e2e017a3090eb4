"""The in-process engine: the real loading code on a tiny Gemma 3 that these tests make."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import io
import json
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from railscribe.engines import open_engine
from railscribe.engines.transformers import Prepared, TransformersEngine
from railscribe.errors import (
    ContextLengthError,
    EngineRefusedError,
    EngineUnavailableError,
    MissingExtraError,
    ModalityError,
    SettingsError,
)
from railscribe.images import as_seen, image_from_bytes, images_from_url
from railscribe.settings import Settings
from railscribe.testing import example_request, solid_picture
from railscribe.values import Flags, ImageReading, ImageUse, Mode, Request, Side

THINK = Flags(thinking=True)


@pytest.fixture
async def seeing(seeing_checkpoint: Path) -> AsyncIterator[TransformersEngine]:
    """A started engine on the checkpoint with eyes."""
    async with TransformersEngine(model=str(seeing_checkpoint), timeout_s=60) as engine:
        yield engine


@pytest.fixture
async def blind(blind_checkpoint: Path) -> AsyncIterator[TransformersEngine]:
    """A started engine on the checkpoint without eyes."""
    async with TransformersEngine(model=str(blind_checkpoint), timeout_s=60) as engine:
        yield engine


@pytest.fixture
async def rambling(rambling_checkpoint: Path) -> AsyncIterator[TransformersEngine]:
    """A started engine on the checkpoint that does not end when it thinks."""
    async with TransformersEngine(model=str(rambling_checkpoint), timeout_s=60) as engine:
        yield engine


# What it answers.
@pytest.mark.parametrize("picture", [None, solid_picture()], ids=["text", "picture"])
async def test_a_multimodal_checkpoint_answers(seeing: TransformersEngine, picture: bytes | None) -> None:
    """The reply is what the model wrote, with the exact odds of its label; a picture counts as seen, in its size."""
    completion = await seeing.complete(example_request(picture=picture))

    assert (completion.text, completion.finish_reason) == ("User Safety: unsafe", "stop")
    assert completion.scores == {Side.USER: pytest.approx(0.75, abs=1e-5)}
    assert completion.completion_tokens == 5
    assert completion.image == (ImageReading(use=ImageUse.SEEN, seen_size=(16, 16)) if picture else None)


async def test_a_text_checkpoint_answers(blind: TransformersEngine) -> None:
    """A checkpoint without a processor is prompted through its tokenizer."""
    completion = await blind.complete(example_request(response="Paris."))

    assert (completion.text, completion.finish_reason) == ("User Safety: unsafe", "stop")


async def test_an_adapter_changes_the_answer(seeing_checkpoint: Path, safe_adapter: Path) -> None:
    """The peft adapter is on the model, pictures included, and its weights are in evidence."""
    settings = Settings(
        engine="transformers", model=str(seeing_checkpoint), adapter=str(safe_adapter), timeout_s=60
    )
    weights = (safe_adapter / "adapter_model.safetensors").read_bytes()

    async with open_engine(settings) as engine:
        completion = await engine.complete(example_request(picture=solid_picture()))
        info = engine.info

    assert completion.text == "User Safety: safe"
    assert completion.scores[Side.USER] < 0.1
    assert info.adapter_digest == hashlib.sha256(weights).hexdigest()


async def test_info_is_evidence_once_started(
    seeing: TransformersEngine, seeing_checkpoint: Path, template: str
) -> None:
    """Backend, precision and the template's digest are known after the start."""
    info = seeing.info

    assert (info.name, info.model, info.backend) == ("transformers", str(seeing_checkpoint), "transformers")
    assert info.backend_version
    assert info.dtype == "float32"
    assert info.template_digest == hashlib.sha256(template.encode()).hexdigest()
    assert info.adapter_digest is None


async def test_precision_is_a_setting(blind_checkpoint: Path) -> None:
    """A checkpoint can be run in another precision than it was saved in."""
    async with TransformersEngine(model=str(blind_checkpoint), dtype="bfloat16", timeout_s=60) as engine:
        completion = await engine.complete(example_request())
        info = engine.info

    assert info.dtype == "bfloat16"
    assert completion.text == "User Safety: unsafe"


async def test_the_checkpoint_s_sampling_defaults_are_left_out(
    blind_checkpoint: Path, tmp_path: Path
) -> None:
    """A checkpoint that would sample, or penalise repetition, is decoded greedily all the same."""
    folder = _copy(blind_checkpoint, tmp_path)
    wild = {
        "do_sample": True,
        "temperature": 9.0,
        "top_k": 64,
        "repetition_penalty": 9.0,
        "eos_token_id": [1],
    }
    (folder / "generation_config.json").write_text(json.dumps(wild))

    async with TransformersEngine(model=str(folder), timeout_s=60) as engine:
        completion = await engine.complete(example_request())

    assert (completion.text, completion.finish_reason) == ("User Safety: unsafe", "stop")


# What it is asked.
async def test_the_prompt_is_the_checkpoint_s_own_template(seeing: TransformersEngine) -> None:
    """The template's text goes to the model as it is: one begin token, the arguments, both turns."""
    request = example_request("Hi.", response="Yo.", policy_text="No gore.")

    prompt = _prompt(seeing, request)

    assert prompt == (
        "<bos><start_of_turn>user\nNo gore.\n<BEGIN CONVERSATION>\nuser: Hi.\n"
        "response: agent:  ### Answer: Yo.\n<END CONVERSATION>\n/categories /no_think\n"
        "Output:<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("flags", [Flags(categories=False), Flags(thinking=True)], ids=str)
async def test_flags_reach_the_template(blind: TransformersEngine, flags: Flags) -> None:
    """Categories and thinking are the template's arguments, a taxonomy too."""
    request = dataclasses.replace(example_request(policy_text="Gore", flags=flags), mode=Mode.TAXONOMY)

    prompt = _prompt(blind, request)

    assert "Taxonomy: Gore" in prompt
    assert ("/no_categories" in prompt) is not flags.categories
    assert ("/think" in prompt) is flags.thinking


async def test_the_pixels_reach_the_model(seeing: TransformersEngine) -> None:
    """Another picture makes other inputs, in the place that the template gave the picture."""
    red, blue = (
        seeing._tokenise(example_request(picture=solid_picture(colour))) for colour in ("red", "blue")
    )

    assert red["pixel_values"].shape == (1, 3, 16, 16)
    assert not red["pixel_values"].equal(blue["pixel_values"])
    assert "user: \n\n<start_of_image>" + "<image_soft_token>" * 4 in _prompt(
        seeing, example_request(picture=solid_picture())
    )


def test_a_picture_is_seen_as_a_person_sees_it() -> None:
    """A transparent ground is white, so black writing on it is not lost; the camera's turn is made."""
    clear = Pillow.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 0, 255))
    turned = Pillow.new("RGB", (2, 1))
    exif = Pillow.Exif()
    exif[0x0112] = 6  # a quarter turn

    on_paper = as_seen(image_from_bytes(_bytes(clear, "PNG"), Settings()))
    upright = as_seen(image_from_bytes(_bytes(turned, "JPEG", exif=exif), Settings()))

    assert [on_paper.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0), (255, 255, 255)]
    assert upright.size == (1, 2)


async def test_a_template_that_ignores_an_argument_is_noticed(blind_checkpoint: Path, tmp_path: Path) -> None:
    """A policy that the checkpoint would silently not read is refused; what it does take is answered."""
    folder = _copy(blind_checkpoint, tmp_path)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("custom_policy", "policy"))

    async with TransformersEngine(model=str(folder), timeout_s=60) as engine:
        with pytest.raises(EngineRefusedError, match="custom_policy"):
            await engine.complete(example_request(policy_text="No gore."))
        completion = await engine.complete(example_request())

    assert completion.text


# What it refuses.
async def test_a_text_checkpoint_refuses_pictures(blind: TransformersEngine) -> None:
    """A picture is never skipped."""
    with pytest.raises(ModalityError):
        await blind.complete(example_request(picture=solid_picture()))


async def test_an_address_is_not_fetched(seeing: TransformersEngine) -> None:
    """A picture that is only an address cannot be judged in this process."""
    (image,) = images_from_url("https://example.org/cat.png", Settings(allow_image_urls=True))

    with pytest.raises(ModalityError, match="fetches none"):
        await seeing.complete(dataclasses.replace(example_request(), image=image))


async def test_a_prompt_longer_than_the_model_reads_is_refused(blind: TransformersEngine) -> None:
    """The check ends before the model is run, and says how long the prompt was."""
    with pytest.raises(ContextLengthError, match="the model reads 4096"):
        await blind.complete(example_request("safe " * 5000))


# Time.
async def test_a_reply_without_an_end_is_cut_short(rambling: TransformersEngine, monkeypatch: Any) -> None:
    """A model that spends its whole budget has not finished."""
    monkeypatch.setattr("railscribe.engines.transformers.token_budget", lambda _: 8)

    completion = await rambling.complete(example_request(flags=THINK))

    assert (completion.text, completion.finish_reason) == ("?" * 8, "length")


async def test_an_abandoned_request_stops_writing(
    rambling: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nobody waits any more the engine's thread is free again long before the budget is spent."""
    monkeypatch.setattr("railscribe.engines.transformers.token_budget", lambda _: 3900)
    slow = asyncio.create_task(rambling.complete(example_request(flags=THINK)))
    queued = asyncio.create_task(rambling.complete(example_request(flags=THINK)))
    await asyncio.sleep(0.3)

    queued.cancel()
    slow.cancel()
    await asyncio.wait([slow, queued])
    began = time.monotonic()
    completion = await rambling.complete(example_request())

    assert slow.cancelled()
    assert queued.cancelled()
    assert completion.text == "User Safety: unsafe"
    assert time.monotonic() - began < 3  # the whole budget takes more than ten times that


async def test_closing_stops_a_running_request(rambling: TransformersEngine) -> None:
    """An engine closed in the middle of a reply leaves no thread writing behind."""
    running = asyncio.create_task(rambling.complete(example_request(flags=THINK)))
    await asyncio.sleep(0.3)

    await rambling.aclose()
    await running
    with pytest.raises(EngineUnavailableError, match="closed"):
        await rambling.complete(example_request())

    assert running.result().finish_reason == "length"


async def test_the_event_loop_goes_on_while_the_model_writes(rambling: TransformersEngine) -> None:
    """Loading and writing happen on a thread of the engine's own."""
    threads: set[str] = set()
    prepare = rambling._prepare

    def watched(request: Request) -> Prepared:
        threads.add(threading.current_thread().name)
        return prepare(request)

    rambling._prepare = watched  # type: ignore[method-assign]

    await asyncio.gather(*(rambling.complete(example_request()) for _ in range(3)))

    assert threads == {"railscribe-transformers_0"}


# What it cannot load.
async def test_an_absent_checkpoint_says_what_to_name(tmp_path: Path) -> None:
    """Neither a wrong path nor a hub name that is not at hand ends in a traceback of the hub's."""
    for model in (str(tmp_path / "nowhere"), "nobody/no-such-model"):
        engine = TransformersEngine(model=model, timeout_s=60)

        with pytest.raises(EngineUnavailableError, match=r"cannot be loaded.*Name a folder"):
            await engine.start()

        assert engine.info.model == model
        await engine.aclose()


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _truncated(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def _headless(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "lm_head" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-architecture"}')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("model.safetensors"), "cannot be loaded"),
        (_without("chat_template.jinja"), "no chat template"),
        (_truncated, "cannot be loaded"),
        (_headless, "cannot be loaded"),
        (_pickled, "cannot be loaded"),
        (_of_another_kind, "cannot be loaded"),
    ],
    ids=["no weights", "no template", "truncated", "weights missing", "pickle", "unknown architecture"],
)
async def test_a_damaged_checkpoint_does_not_start(
    blind_checkpoint: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    """Nothing is judged with weights that are not all there."""
    folder = _copy(blind_checkpoint, tmp_path)
    damage(folder)
    engine = TransformersEngine(model=str(folder), timeout_s=60)

    with pytest.raises(EngineUnavailableError, match=message):
        await engine.start()

    await engine.aclose()


async def test_an_adapter_of_another_model_is_refused(
    blind_checkpoint: Path, safe_adapter: Path, tmp_path: Path
) -> None:
    """An adapter that would be put on with random weights, or not at all, does not start."""
    for adapter, message in ((tmp_path, "no adapter"), (safe_adapter, "another model")):
        engine = TransformersEngine(model=str(blind_checkpoint), adapter=str(adapter), timeout_s=60)

        with pytest.raises(EngineUnavailableError, match=message):
            await engine.start()

        await engine.aclose()


# What it needs.
def test_a_missing_model_is_asked_for_by_name() -> None:
    """The flag and the variable are in the message."""
    with pytest.raises(SettingsError, match="--model or RAILSCRIBE_MODEL"):
        open_engine(Settings(engine="transformers"))


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without peft a plain model opens and an adapter says what to install."""
    monkeypatch.setitem(sys.modules, "peft", None)

    open_engine(Settings(engine="transformers", model="m"))
    with pytest.raises(MissingExtraError, match=r"needs peft\. pip install 'railscribe\[transformers\]'"):
        open_engine(Settings(engine="transformers", model="m", adapter="a"))


# The seam for an engine that reads pictures instead of seeing them.
async def test_a_subclass_may_read_pictures_for_a_blind_model(blind_checkpoint: Path) -> None:
    """What a subclass makes of the picture is judged with the text, and told in the completion."""

    class ReadingEngine(TransformersEngine):
        def _prepare(self, request: Request) -> Prepared:
            reading = ImageReading(use=ImageUse.READ, text="HELLO", reader="eye 1.0")
            user = f"{request.user}\n{reading.text}"
            return Prepared(
                request=dataclasses.replace(request, user=user, image=None), image=reading, neutralised=("x",)
            )

    async with ReadingEngine(model=str(blind_checkpoint), timeout_s=60) as engine:
        completion = await engine.complete(example_request(picture=solid_picture()))

    assert completion.image == ImageReading(use=ImageUse.READ, text="HELLO", reader="eye 1.0")
    assert completion.neutralised == ("x",)


def _prompt(engine: TransformersEngine, request: Request) -> str:
    return str(engine._weights().tokenizer.decode(engine._tokenise(request)["input_ids"][0]))


def _copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def _bytes(picture: Pillow.Image, kind: str, **how: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **how)
    return buffer.getvalue()


# Several adapters.
async def test_adapters_are_swapped_by_request_without_reloading(
    seeing_checkpoint: Path, safe_adapter: Path, tmp_path: Path
) -> None:
    """Each request is judged by the adapter it names; the base is loaded once; each is named in evidence."""
    from safetensors.torch import load_file, save_file

    contrary = Path(shutil.copytree(safe_adapter, tmp_path / "contrary"))
    weights = load_file(contrary / "adapter_model.safetensors")
    save_file(
        {name: -weight if "lora_B" in name else weight for name, weight in weights.items()},
        contrary / "adapter_model.safetensors",
        {"format": "pt"},
    )
    engine = TransformersEngine(
        model=str(seeing_checkpoint),
        adapter=str(safe_adapter),
        adapters={"contrary": str(contrary)},
        timeout_s=60,
    )
    async with engine:
        network = engine._weights().model
        asked = [dataclasses.replace(example_request(), adapter=name) for name in (None, "contrary")] * 2
        completions = [await engine.complete(request) for request in asked]
        together = await asyncio.gather(*(engine.complete(request) for request in asked))
        with pytest.raises(EngineRefusedError, match="no adapter called 'none'"):
            await engine.complete(dataclasses.replace(example_request(), adapter="none"))

        assert [c.text.removeprefix("User Safety: ") for c in completions] == ["safe", "unsafe"] * 2
        assert [c.text for c in together] == [c.text for c in completions]
        assert engine._weights().model is network
        assert (engine.info.adapter, engine.info_for("contrary").adapter) == ("default", "contrary")
        assert engine.info.adapter_digest != engine.info_for("contrary").adapter_digest
