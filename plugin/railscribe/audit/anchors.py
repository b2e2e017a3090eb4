"""Carries checkpoints outside, where whoever owns the database cannot reach: a file, a command, an HTTPS address.

Rules

1. What is carried is one line: the checkpoint's number, its hash and its signature, separated by blanks. It gives
   nothing away.
2. Nothing waits for it but closing, and that for no more than ``CLOSE_S``: appending goes on whatever becomes of it.
3. What failed is logged, and said in the next checkpoint (``anchor_failures``), so that it is on record, signed.
4. An address that answers anything but success has not taken the line; one that sends elsewhere is not followed, for
   the line would not go along, and elsewhere need not be HTTPS.
5. After a fork nothing is carried any more by the child: the checkpoints are its parent's.
"""

from __future__ import annotations

import logging
import os
import queue
import shlex
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from railscribe.audit.chain.checkpoint import Checkpoint
from railscribe.errors import SettingsError

logger = logging.getLogger(__name__)

CLOSE_S = 10.0
_EACH_S = 10.0
"""Seconds for one command or request."""
_LISTED = 20
_Carry = Callable[[str], None]


class Anchors:
    """Where checkpoints are carried, on a thread of its own."""

    def __init__(
        self, *, file: Path | None = None, command: str | None = None, url: str | None = None
    ) -> None:
        self._carriers: dict[str, _Carry] = {}
        if file is not None:
            self._carriers["file"] = partial(_append, file)
        if command is not None:
            self._carriers["command"] = partial(_run, _words_of(command))
        if url is not None:
            self._carriers["url"] = partial(_post, _secure(url))
        self._queue: queue.Queue[Checkpoint | None] = queue.Queue()
        self._failed: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def carry(self, made: Sequence[Checkpoint]) -> None:
        """Have *made* carried outside, in their order."""
        if not self._carriers or not made or os.getpid() != self._process:
            return
        for checkpoint in made:
            self._queue.put(checkpoint)
        if self._thread is None:
            self._thread = threading.Thread(target=self._go, name="railscribe-anchors", daemon=True)
            self._thread.start()

    def take_failures(self) -> list[dict[str, Any]] | None:
        """Return what failed since the last call, for the next checkpoint (rule 3)."""
        with self._lock:
            failed, self._failed = self._failed, []
        return failed or None

    def close(self) -> None:
        """Wait for what is under way (rule 2)."""
        if self._thread is not None and os.getpid() == self._process:
            self._queue.put(None)
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                logger.warning("checkpoints were left to be anchored when the store was closed")
            self._thread = None

    def _go(self) -> None:
        while (checkpoint := self._queue.get()) is not None:
            number = checkpoint.said["number"]
            line = f"{number} {checkpoint.hash} {checkpoint.signature}\n"
            for name, carry in self._carriers.items():
                try:
                    carry(line)
                except Exception as error:  # noqa: BLE001 - a hook of the operator's own may raise anything
                    self._fail(number, name, error)

    def _fail(self, number: int, name: str, error: Exception) -> None:
        cause = _cause(error)
        logger.warning("checkpoint %s could not be anchored by %s (%s)", number, name, cause)
        with self._lock:
            self._failed.append({"number": number, "by": name, "cause": cause})
            del self._failed[:-_LISTED]


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="ascii") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _run(command: Sequence[str], line: str) -> None:
    subprocess.run(  # noqa: S603 - the operator's own command
        command,
        input=line.encode(),
        check=True,
        timeout=_EACH_S,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _post(url: str, line: str) -> None:
    request = urllib.request.Request(  # noqa: S310 - https, by _secure
        url, data=line.encode(), headers={"Content-Type": "text/plain"}, method="POST"
    )
    # Made anew each time: it reads which certificates are trusted, which may change while the service runs.
    with urllib.request.build_opener(_Stay).open(request, timeout=_EACH_S):
        pass


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nothing (rule 4)."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _cause(error: Exception) -> str:
    """Return the kind of *error*: its words may hold an address or a path."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        return type(error.reason).__name__
    return type(error).__name__


def _words_of(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"The anchor command cannot be read: {error}.") from None
    if not words:
        raise SettingsError("The anchor command is empty.")
    return words


def _secure(url: str) -> str:
    if not url.startswith("https://"):
        raise SettingsError("An anchor's address begins with https://.")
    return url
