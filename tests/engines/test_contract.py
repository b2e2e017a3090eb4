"""Every engine owes its callers the same: the contract, run over each."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from railscribe.engines import Engine
from railscribe.engines.openai_compatible import OpenAICompatibleEngine
from railscribe.engines.transformers import TransformersEngine
from railscribe.testing import EngineContract, ScriptedEngine
from railscribe.values import Request

if TYPE_CHECKING:
    from tests.conftest import Loopback


class TestScriptedEngine(EngineContract):
    """The contract over the engine that answers from a script."""

    def open_engine(self) -> Engine:
        return ScriptedEngine(lambda _: "User Safety: safe")

    def open_slow_engine(self) -> Engine:
        async def answer(request: Request) -> str:
            await asyncio.sleep(5 if request.flags.thinking else 0)
            return "User Safety: safe"

        return ScriptedEngine(answer)


class TestOpenAICompatibleEngine(EngineContract):
    """The contract over a loopback server."""

    @pytest.fixture(autouse=True)
    def _server(self, loopback: Loopback) -> None:
        self.loopback = loopback

    def open_engine(self) -> Engine:
        return OpenAICompatibleEngine(
            base_url=self.loopback.base_url,
            model=self.loopback.model,
            api_key=None,
            timeout_s=10,
            max_retries=0,
        )

    def open_slow_engine(self) -> Engine:
        self.loopback.think_s = 1.0
        return self.open_engine()

    # A loop that ends without aclose leaves its idle connections to the garbage collector.
    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_one_engine_serves_one_loop_after_another(self) -> None:
        """Nothing of the first loop's pool is used, or closed, in the second loop."""
        super().test_one_engine_serves_one_loop_after_another()
        gc.collect()


class TestTransformersEngine(EngineContract):
    """The contract over a tiny Gemma 3 that sees."""

    @pytest.fixture(autouse=True)
    def _checkpoints(self, seeing_checkpoint: Path, rambling_checkpoint: Path) -> None:
        self.seeing, self.rambling = seeing_checkpoint, rambling_checkpoint

    def open_engine(self) -> Engine:
        return TransformersEngine(model=str(self.seeing), timeout_s=30)

    def open_slow_engine(self) -> Engine:
        return TransformersEngine(model=str(self.rambling), timeout_s=30)
