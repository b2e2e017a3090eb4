"""A real vLLM in processes of its own, serving the embedded guard: for these tests, the benchmark, and by hand.

    .venv/bin/python -m tests.vllm.server 8000

Rules

1. It lives in an environment of its own (``make .venv-vllm/ready``): it pins another transformers than ours.
2. Base, adapter, template and end tokens are the embedded guard's, so both must answer alike.
3. It listens on the loopback, and ends with whoever started it, unless that is killed outright.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from typing_extensions import Self

from railscribe.engines.embedded import adapter_dir
from railscribe.engines.embedded.base_weights import unpacked_base
from railscribe.settings import Settings

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
MODEL = "railscribe-embedded"
CONTEXT = 4096  # tokens
_START_S = 600
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # two servers on two cores would be bound to the same one
    "VLLM_NO_USAGE_STATS": "1",
}


class VllmServer:
    """One vLLM on a port of its own. ``start`` waits until it answers; ``kill`` leaves it no last words."""

    def __init__(self, *, port: int | None = None) -> None:
        self.port = port or _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.start_s: float | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        began = time.monotonic()
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(
                _command(self.port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it is several processes, which end together
                env={**os.environ, **_ENVIRONMENT},
            )
            while not self._answers():
                if self._process.poll() is not None or time.monotonic() - began > _START_S:
                    self.kill()
                    log.seek(0)
                    raise RuntimeError(log.read()[-4000:].decode(errors="replace"))
                time.sleep(0.5)
        self.start_s = time.monotonic() - began
        return self

    def kill(self) -> None:
        """End it at once, as a machine that fails does. Calling it twice is harmless."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def wait(self) -> None:
        """Wait until it ends by itself."""
        if self._process is not None:
            self._process.wait()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False


def _command(port: int) -> list[str]:
    guard = str(adapter_dir())
    return [
        *(str(PYTHON), "-m", "vllm.entrypoints.openai.api_server"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--model", str(unpacked_base(Settings().cache_dir)), "--served-model-name", "base"),
        *("--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"{MODEL}={guard}"),
        *("--chat-template", f"{guard}/chat_template.jinja"),
        # Without it vLLM does not know Gemma's end of a turn: the base's own settings lack it.
        *("--generation-config", guard),
        # As the embedded engine computes. In bfloat16, the file's own type, scores differ by hundredths.
        *("--dtype", "float32"),
        *("--enforce-eager", "--max-model-len", str(CONTEXT), "--max-num-seqs", "32"),
    ]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Serve until interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job has it ignored
    server = VllmServer(port=int(sys.argv[1]) if len(sys.argv) > 1 else None)
    try:
        server.start()
        print(f"{MODEL} at {server.base_url}, ready in {server.start_s:.0f} s", flush=True)  # noqa: T201
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.kill()


if __name__ == "__main__":
    main()
