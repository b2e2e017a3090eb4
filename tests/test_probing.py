"""What the doctor's probes make of engines that honour, drop, paraphrase and refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from railscribe.errors import EngineRefusedError, EngineTimeoutError, ModalityError
from railscribe.probing import HARMLESS, RUDE, Found, made_up_name, probe
from railscribe.settings import Settings
from railscribe.testing import Answer, ScriptedEngine
from railscribe.values import Completion, Flags, Mode, ProbeName, ProbeResult, Request, Side

Judge = Callable[[Request], Answer]
HONOURED, IGNORED = ProbeResult.HONOURED, ProbeResult.IGNORED
REFUSED, FAILED = ProbeResult.REFUSED, ProbeResult.FAILED


def obedient(request: Request, *, category: str | None = None, welcome: bool = False) -> Completion:
    """Judge as a model does that is given all of *request*; *category* is the word it has for a policy's own."""
    harmful, said = "bomb" in request.user, "Violence"
    if request.policy_text is not None:
        harmful = "rain" in request.user
        said = (
            category or request.policy_text.rpartition("\n- Sexual")[0].rpartition("- ")[2].partition(":")[0]
        )
        said = said.partition(" (")[0]
    harmful |= request.image is not None and not welcome
    lines = [f"User Safety: {'unsafe' if harmful else 'safe'}"]
    if request.response is not None:
        lines.append(f"Response Safety: {'unsafe' if request.response == RUDE else 'safe'}")
    if request.flags.categories and (harmful or request.response == RUDE):
        lines.append(f"Safety Categories: {said}")
    prompt = (request.user, request.response, request.policy_text, request.image and "pixels" * 50)
    return Completion(
        text="<think>It is plain.</think>" * request.flags.thinking + "\n".join(lines),
        finish_reason="stop",
        scores={Side.USER: 0.9 if harmful else 0.1},
        prompt_tokens=sum(len(part or "") for part in prompt),
    )


class Sighted:
    """Obedient, and it tells the doctor's two pictures apart."""

    def __init__(self) -> None:
        self.pictures = 0

    def __call__(self, request: Request) -> Completion:
        self.pictures += request.image is not None
        return obedient(request, welcome=self.pictures == 2)


def without_kwargs(request: Request) -> Completion:
    """Judge as a model does behind a gateway that drops the template's arguments."""
    bare = Flags(categories=False, thinking=False)
    return obedient(dataclasses.replace(request, mode=Mode.BUILTIN, policy_text=None, flags=bare, image=None))


async def found_by(judge: Judge) -> dict[ProbeName, Found]:
    async with ScriptedEngine(judge) as engine:
        return {found.name: found async for found in probe(engine, Settings())}


def results(found: dict[ProbeName, Found]) -> list[ProbeResult]:
    return [found[name].result for name in ProbeName]


async def test_all_that_is_honoured_is_found_to_be() -> None:
    """Every probe is made, once, and comes out well with a model that does as it is told."""
    found = await found_by(Sighted())

    assert results(found) == [HONOURED] * len(ProbeName)


async def test_arguments_that_are_dropped_are_found_to_be() -> None:
    """Policy, taxonomy, categories, thinking and the picture are ignored; the response and scores are there."""
    found = await found_by(without_kwargs)

    assert results(found) == [IGNORED, IGNORED, IGNORED, IGNORED, HONOURED, IGNORED, HONOURED]


async def test_without_token_counts_the_replies_are_compared() -> None:
    """Where the server does not count tokens, the same words and the same score are the same reply."""

    def uncounted(request: Request) -> Completion:
        return dataclasses.replace(without_kwargs(request), prompt_tokens=None, scores={})

    found = await found_by(uncounted)

    assert results(found) == [IGNORED, IGNORED, IGNORED, IGNORED, HONOURED, IGNORED, IGNORED]


async def test_a_paraphrase_is_no_disobedience() -> None:
    """A model that calls the category by another name has read the policy: its label says so."""
    found = await found_by(lambda request: obedient(request, category="Wet Weather"))

    for name in (ProbeName.POLICY, ProbeName.TAXONOMY):
        assert found[name].result is HONOURED
        assert "another name" in found[name].detail


async def test_a_policy_that_arrives_and_is_not_followed_is_neither() -> None:
    """A longer prompt with the old verdict is not called honoured, and not ignored by the server."""

    def stubborn(request: Request) -> Completion:
        counted = obedient(request).prompt_tokens
        return dataclasses.replace(without_kwargs(request), prompt_tokens=counted)

    found = await found_by(stubborn)

    assert [found[name].result for name in (ProbeName.POLICY, ProbeName.TAXONOMY)] == [FAILED, FAILED]


async def test_a_model_that_always_names_it_is_not_believed_without_the_name() -> None:
    """Unsafe with the policy and unsafe without it shows nothing."""

    def alarmist(request: Request) -> Completion:
        return Completion(text="User Safety: unsafe\nSafety Categories: Other", finish_reason="stop")

    found = await found_by(alarmist)

    assert [found[name].result for name in (ProbeName.POLICY, ProbeName.TAXONOMY)] == [IGNORED, IGNORED]


async def test_refusals_and_failures_are_told_apart() -> None:
    """A refused picture and a refused response are refused, a time-out failed, and the others are still tried."""

    def picky(request: Request) -> Answer:
        if request.image is not None:
            return ModalityError()
        if request.response is not None:
            return EngineRefusedError()
        return EngineTimeoutError() if request.flags.thinking else obedient(request)

    found = await found_by(picky)

    assert results(found) == [HONOURED, HONOURED, HONOURED, FAILED, REFUSED, REFUSED, HONOURED]


async def test_an_engine_that_fails_at_everything_has_no_other_result() -> None:
    """Without a single reply nothing is honoured and nothing ignored."""
    found = await found_by(lambda _: EngineTimeoutError())

    assert results(found) == [FAILED] * len(ProbeName)


async def test_a_response_that_is_not_judged_is_ignored() -> None:
    """A reply about the user alone means that the response did not arrive, even under a made-up line for it."""

    def deaf(request: Request) -> Completion:
        return obedient(dataclasses.replace(request, response=None))

    def guessing(request: Request) -> Completion:
        heard = deaf(request)
        guess = "\nResponse Safety: safe" if request.response else ""
        return dataclasses.replace(heard, text=heard.text + guess)

    for judge in (deaf, guessing):
        assert (await found_by(judge))[ProbeName.RESPONSE].result is IGNORED


def test_names_are_new_each_time() -> None:
    """No two runs ask for the same category."""
    assert len({made_up_name() for _ in range(100)}) == 100


async def test_the_engine_cannot_answer_with_the_name_unread() -> None:
    """No request of the probes carries the policy's names beside its text."""
    engine = ScriptedEngine(Sighted())
    async for _ in probe(engine, Settings()):
        pass

    assert all(request.names is None for request in engine.requests)
    assert {request.mode for request in engine.requests} == set(Mode)
    assert engine.requests[0].user == HARMLESS
