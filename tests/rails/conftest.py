"""A real NeMo Guardrails app, guard and store; the engine is scripted, the main model says one thing."""

from __future__ import annotations

import asyncio
import base64
import inspect
import io
import textwrap
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nemoguardrails import LLMRails, RailsConfig
from nemoguardrails.types import LLMResponse, LLMResponseChunk
from PIL import Image as Pillow
from tests.scripted import judge

from railscribe.audit import AuditStore
from railscribe.rails import rails_path
from railscribe.rails.binding import attach
from railscribe.rails.configuration import Configuration
from railscribe.standing import StandingGuard
from railscribe.testing import ScriptedEngine


class MainModel:
    """Says one thing, and keeps what it was asked."""

    model_name = "main"
    provider_name = "test"
    provider_url = None

    def __init__(self, says: str, reasoning: str | None = None) -> None:
        self.says = says
        self.reasoning = reasoning
        self.asked: list[Any] = []

    async def generate_async(self, prompt: Any, *, stop: Any = None, **_: Any) -> LLMResponse:
        self.asked.append(prompt)
        return LLMResponse(content=self.says, reasoning=self.reasoning)

    async def stream_async(
        self, prompt: Any, *, stop: Any = None, **_: Any
    ) -> AsyncIterator[LLMResponseChunk]:
        self.asked.append(prompt)
        for number, word in enumerate(self.says.split(" ")):
            await asyncio.sleep(0)
            yield LLMResponseChunk(delta_content=(" " if number else "") + word)


@dataclass
class Host:
    """One app, what its engine and its main model were asked, and what was recorded."""

    app: LLMRails
    engine: ScriptedEngine
    model: MainModel
    url: str

    def ask(self, content: Any, **options: Any) -> Any:
        return self.app.generate(messages=[{"role": "user", "content": content}], **options)

    def records(self) -> list[dict[str, Any]]:
        """Return the records, whole, oldest first."""
        with AuditStore.open(self.url) as store:
            return [store.record(row["id"]) for row in reversed(store.records(limit=100))]

    def texts(self) -> list[tuple[str, str | None]]:
        """Return what the engine was asked to judge."""
        return [(request.user, request.response) for request in self.engine.requests]


def load(folder: Path) -> RailsConfig:
    """Read a configuration. NeMo trips over a deprecated field of its own while it migrates it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Use 'nim_", category=DeprecationWarning)
        return RailsConfig.from_path(str(folder))


@pytest.fixture
def load_config() -> Callable[[Path], RailsConfig]:
    """Read a directory as NeMo does."""
    return load


@pytest.fixture(autouse=True)
def database(
    _clean_environment: None, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The environment of one test: an empty audit database and an engine that is never reached."""
    monkeypatch.setenv("RAILSCRIBE_DATABASE_URL", database_url)
    monkeypatch.setenv("RAILSCRIBE_ENGINE", "openai_compatible")
    monkeypatch.setenv("RAILSCRIBE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("RAILSCRIBE_MODEL", "none")
    monkeypatch.chdir(tmp_path)  # NeMo loads actions from the working directory
    return database_url


@pytest.fixture(autouse=True)
def event_loop_of_the_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """The loop that NeMo's synchronous calls run on; without one NeMo makes its own and never closes it."""
    if inspect.iscoroutinefunction(request.function):
        yield
        return
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def apps() -> dict[tuple[object, ...], LLMRails]:
    """The apps built so far, by their files: building one takes NeMo longer than a test does."""
    return {}


@pytest.fixture
def host(
    apps: dict[tuple[object, ...], LLMRails], tmp_path_factory: pytest.TempPathFactory, database: str
) -> Callable[..., Host]:
    """Give an app of a configuration's files a fresh guard; ``{rails}`` stands for the import path."""

    def build(
        config: str,
        *,
        colang: str | None = None,
        files: dict[str, str] | None = None,
        says: str = "fine",
        reasoning: str | None = None,
        script: Any = judge,
    ) -> Host:
        texts = {"config.yml": config, **({"main.co": colang} if colang else {}), **(files or {})}
        key = tuple(texts.items())
        model = MainModel(says, reasoning)
        if key not in apps:
            folder = tmp_path_factory.mktemp("config")
            for name, text in texts.items():
                (folder / name).write_text(textwrap.dedent(text).replace("{rails}", rails_path()))
            apps[key] = LLMRails(load(folder), llm=model)
        app = apps[key]
        app.update_llm(model)
        app.events_history_cache.clear()
        engine = ScriptedEngine(script)
        configuration = Configuration.of(app.config)
        attach(app, StandingGuard.stand(configuration.settings, engine=engine), configuration)
        return Host(app=app, engine=engine, model=model, url=database)

    return build


@pytest.fixture
def picture() -> dict[str, Any]:
    """An image part with a picture of two by two pixels."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (2, 2), "red").save(buffer, "PNG")
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}
