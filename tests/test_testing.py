"""The public test aids are strict."""

from __future__ import annotations

import pytest

from railscribe.errors import ContextLengthError, EngineError
from railscribe.testing import ScriptedEngine, UnexpectedCallError, example_request, solid_picture
from railscribe.values import Completion, ImageUse


async def test_a_script_is_answered_in_order() -> None:
    """Texts, whole completions and errors come in the order of the script, and the requests are kept."""
    completion = Completion(text="User Safety: unsafe", finish_reason="length")
    engine = ScriptedEngine(["User Safety: safe", completion, ContextLengthError()])
    requests = [example_request(f"Hello {n}.") for n in range(3)]

    first = await engine.complete(requests[0])
    second = await engine.complete(requests[1])
    with pytest.raises(ContextLengthError):
        await engine.complete(requests[2])

    assert (first.text, first.finish_reason) == ("User Safety: safe", "stop")
    assert second is completion
    assert engine.requests == requests


async def test_a_call_past_the_script_is_no_engine_failure() -> None:
    """An unexpected call is not taken for a failed check, which a guard would turn into a decision."""
    engine = ScriptedEngine(["User Safety: safe"])
    await engine.complete(example_request())

    with pytest.raises(UnexpectedCallError):
        await engine.complete(example_request())

    assert not issubclass(UnexpectedCallError, Exception)


async def test_a_function_may_answer() -> None:
    """An answer may depend on the request; what the function raises is an engine's failure."""

    def answer(request: object) -> str:
        raise LookupError(str(request))

    engine = ScriptedEngine(answer)

    with pytest.raises(EngineError, match="LookupError") as caught:
        await engine.complete(example_request("the user's own words"))

    assert "own words" not in str(caught.value)


async def test_a_scripted_engine_sees_pictures() -> None:
    """A text answer to a request with a picture counts the picture as seen."""
    completion = await ScriptedEngine(["User Safety: safe"]).complete(
        example_request(picture=solid_picture())
    )

    assert completion.image is not None
    assert completion.image.use is ImageUse.SEEN
