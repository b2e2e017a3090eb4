"""A stream of text that shows nothing before it was judged: for hosts that protect no streams of their own.

    stream = GuardedStream(guard, user="How do I sharpen a knife?")
    async for text in stream.over(model_stream):
        print(text, end="")
    if stream.cut:
        print("cut:", stream.cut.id)

Rules

1. Text is held back until the window that it stands in was judged as part of the response so far. A window ends with
   a sentence, or where it grows too long; while one is judged, the next one gathers, and takes all that has come.
2. What is refused ends the stream: nothing of its window is shown, the source is closed, and the refusal is the last
   text, unless it is not wanted. ``cut`` is the record of the refusal.
3. Every check has a record, tied to the others by the stream's id; the last one judged the response to its end. What
   was judged already is not judged again: its record names the check that it repeats.
4. Of a response longer than ``context_chars`` a window is judged with the text before it, that long; at its end the
   whole is judged once more, before the last window is shown.
5. Where the source fails, its exception goes on to whoever reads, and what was held back is not shown.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from railscribe.guard import Guard
from railscribe.identity import current_identity
from railscribe.language import told
from railscribe.parts import Turn
from railscribe.policy import Policy
from railscribe.recording import Caller, new_id
from railscribe.rollout import OnUndecided, Rollout
from railscribe.values import Cause, Direction, Enforcement, Exchange, Identity, Record, StreamPart
from railscribe.verdict_cache import VerdictCache

_SENTENCE = re.compile(r"[.!?…][\"'\u201d\u2019)\]]*\s|[。!?।؟]|\n")
"""Ends of sentences: a point wants white space behind it, or 3.5 would be two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a stream is parted. All in characters."""

    least: int = 40
    """A shorter sentence waits for the next one."""
    most: int = 600
    """So much is judged without the end of a sentence."""
    context_chars: int = 4000
    """Of the response before a window so much is judged with it."""

    def end(self, text: str) -> int:
        """Return how much of *text*, which still grows, is to be judged now; 0 to wait for more."""
        ends = [match.end() for match in _SENTENCE.finditer(text) if match.end() >= self.least]
        if ends:
            return ends[-1]
        return len(text) if len(text) >= self.most else 0


class GuardedStream:
    """One guarded stream; read it once.

    *user* is the turn that is answered. *policy*, *identity*, *on_undecided* and *rollout* default to the guard's.
    *on_failure* is told what kept a check from being recorded, in the place of whoever reads; where it returns, the
    window is shown. With it a policy that cannot be found is on record, ``not_run``.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        user: str | Turn = "",
        policy: Policy | str | None = None,
        identity: Identity | None = None,
        on_undecided: OnUndecided | None = None,
        rollout: Rollout | None = None,
        window: Window | None = None,
        say_refusal: bool = True,
        caller: Caller | None = None,
        on_failure: Callable[[Exception], None] | None = None,
    ) -> None:
        self.guard = guard
        self.id, _ = new_id()
        self.records: list[Record] = []
        """Of every check, in order."""
        self.cut: Record | None = None
        """The check that ended the stream, if one did."""
        self.refusal: str | None = None
        """What the user is told then."""
        self._user = Turn(text=user) if isinstance(user, str) else user
        self._policy = policy
        self._identity = identity or current_identity()
        self._on_undecided = on_undecided
        self._rollout = rollout
        self._window = window or Window()
        self._say_refusal = say_refusal
        self._caller = caller or Caller(rail="stream")
        self._on_failure = on_failure
        self._verdicts = VerdictCache(most=64, seconds=600.0)

    async def over(
        self, source: AsyncIterable[Any], *, text_of: Callable[[Any], str] | None = None
    ) -> AsyncGenerator[str, None]:
        """Yield the text of *source* as it is judged; *text_of* finds it in an item, :func:`text_in` by default.

        Raises:
            AuditError: a check could not be recorded; nothing of its window is shown.
            PolicyError: the policy that was named does not exist.
        """
        gathered = _Gathered(source, text_of or text_in)
        shown = ""
        async with gathered:
            while True:
                window, ended = await gathered.next(self._window)
                if window and not await self._passes(shown, window, final=False):
                    break
                if ended and not await self._passes(shown, window, final=True):
                    break
                if window:
                    shown += window
                    yield window
                if ended:
                    return
        if self._say_refusal and self.refusal:
            yield self.refusal

    async def _passes(self, shown: str, window: str, *, final: bool) -> bool:
        """Judge *window* behind what was *shown*, or at the end the whole (rules 3 and 4)."""
        response = shown + window
        if not final:
            if len(shown) > self._window.context_chars:
                response = shown[-self._window.context_chars :] + window
        elif not response and not self.records:
            return True  # the source said nothing
        problem = self._user.problem
        try:
            policy = await self.guard.policy_for(self._policy, self._identity)
        except Exception:
            if self._on_failure is None:
                raise
            policy, problem = self.guard.policy, Cause.NOT_RUN
        try:
            record = await self.guard.check(
                Exchange(user=self._user.text, response=response, images=self._user.images),
                direction=Direction.OUTPUT,
                policy=policy,
                identity=self._identity,
                on_undecided=self._on_undecided,
                rollout=self._rollout,
                caller=self._caller,
                problem=problem,
                part=StreamPart(stream=self.id, number=len(self.records), final=final),
                verdicts=self._verdicts,
            )
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)
            return True
        self.records.append(record)
        if record.enforcement is not Enforcement.REFUSED:
            return True
        self.cut, self.refusal = record, await asyncio.to_thread(told, policy, record)
        return False


class _Gathered:
    """Reads a source ahead, in a task of its own, and hands out what has come in windows."""

    def __init__(self, source: AsyncIterable[Any], text_of: Callable[[Any], str]) -> None:
        self._source = source
        self._text_of = text_of
        self._text = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._read())
        self._task.add_done_callback(lambda _: self._news.set())

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    async def _read(self) -> None:
        items = self._source.__aiter__()
        try:
            async for item in items:
                self._text += self._text_of(item)
                self._news.set()
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:  # a server's stream lets go of its connection
                await close()

    async def next(self, window: Window) -> tuple[str, bool]:
        """Return the next window, and whether the source has ended with it."""
        task = self._task
        if task is None:
            raise RuntimeError("read outside its context")
        while True:
            self._news.clear()
            ended = task.done()
            if ended and task.exception() is not None:
                task.result()  # rule 5
            end = len(self._text) if ended else window.end(self._text)
            if end or ended:
                taken, self._text = self._text[:end], self._text[end:]
                return taken, ended
            await self._news.wait()


def text_in(item: Any) -> str:
    """Return the text of one item of a stream: a string, a chunk of LangChain's, or one of OpenAI's (either way)."""
    if isinstance(item, str):
        return item
    choices = item.get("choices") if isinstance(item, Mapping) else getattr(item, "choices", None)
    if choices:
        delta = _field(choices[0], "delta")
        return str(_field(delta, "content") or "")
    content = _field(item, "content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, (list, tuple)) else ()
    texts = [part if isinstance(part, str) else _field(part, "text") for part in parts]
    return "".join(str(text) for text in texts if text)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
