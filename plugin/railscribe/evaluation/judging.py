"""Judging rows: every one walks the one road, audit included."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from railscribe.errors import ImageError
from railscribe.evaluation.rows import EvalRow
from railscribe.guard import Caller, Guard
from railscribe.images import images_from_bytes
from railscribe.values import Cause, Exchange, Flags, Image, Record


async def judge(
    guard: Guard,
    rows: Sequence[EvalRow],
    *,
    concurrency: int,
    rail: str = "eval",
    flags: Flags | None = None,
    done: Callable[[], object] = lambda: None,
) -> list[Record]:
    """Return a record for each of *rows*, in order, *concurrency* at a time; *done* is called after each.

    *rail* names what asks, for the record. *flags* go before what policy and settings say of reasoning.
    """
    room = asyncio.Semaphore(concurrency)

    async def one(row: EvalRow) -> Record:
        async with room:
            record = await _judge_one(guard, row, rail, flags)
        done()
        return record

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _judge_one(guard: Guard, row: EvalRow, rail: str, flags: Flags | None) -> Record:
    problem: Cause | None = None
    images: tuple[Image, ...] = ()
    if row.item.get("image"):
        try:
            data = await asyncio.to_thread((row.file.parent / row.item["image"]).read_bytes)
            images = images_from_bytes(data, guard.settings)
        except ImageError as error:
            problem = error.cause
        except OSError:
            problem = Cause.BAD_IMAGE
    return await guard.check(
        Exchange(user=row.item["prompt"], response=row.item.get("response"), images=images),
        policy=row.policy,
        flags=flags,
        caller=Caller(rail=rail, host="railscribe-cli"),
        problem=problem,
    )
