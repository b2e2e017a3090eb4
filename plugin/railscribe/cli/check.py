"""``railscribe check``: one exchange, judged and recorded."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from railscribe.admission import direction_of, unjudgeable
from railscribe.cli import options
from railscribe.errors import EngineError, ImageError, UsageError
from railscribe.guard import Caller, Guard
from railscribe.images import images_from_bytes, images_from_url
from railscribe.reasoning import ReasoningPlan
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Cause, Exchange, Image, Outcome, Reasoning, Record, SideVerdict

EXIT_CODES = {Outcome.ALLOW: 0, Outcome.BLOCK: 10, Outcome.FLAG: 11, Outcome.UNDECIDED: 12}


def check(
    text: Annotated[str, typer.Argument(help="The user's text; '-' reads it from standard input.")],
    response: Annotated[
        str | None, typer.Option(help="The assistant's response; it is then what is decided on.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="A picture's file, or a data: URL.")] = None,
    policy: options.Policy = None,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Short for --reasoning verdict, or off.")
    ] = None,
    reasoning: Annotated[
        Reasoning | None,
        typer.Option(
            help="Ask the model to think: for its verdict, or after the decision; whatever the policy says."
        ),
    ] = None,
    engine: options.Engine = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    base_url: options.BaseUrl = None,
    database_url: options.DatabaseUrl = None,
    timeout_s: options.TimeoutS = None,
    as_json: options.Json = False,
) -> None:
    """Judge one exchange, record it, and exit with 0 allowed, 10 blocked, 11 flagged or 12 undecided."""
    settings = options.settings_from(
        engine=engine,
        model=model,
        adapter=adapter,
        base_url=base_url,
        policy=policy,
        database_url=database_url,
        timeout_s=timeout_s,
    )
    if think is not None and reasoning is not None:
        raise UsageError("--think is short for --reasoning verdict.", hint="Give one of them.")
    if think is not None:
        reasoning = Reasoning.VERDICT if think else Reasoning.OFF
    plan = None if reasoning is None else ReasoningPlan(mode=reasoning)
    # A command has nothing else to do than to wait for what it was asked for.
    settings = settings.model_copy(update={"reasoning_drain_s": settings.reasoning_timeout_s})
    user = sys.stdin.read() if text == "-" else text
    record, failure = run_sync(_check(settings, user, response, image, plan))
    if as_json:
        options.print_json(as_dict(record))
    else:
        _print(record)
    if failure is not None:
        raise failure
    raise typer.Exit(EXIT_CODES[record.decision.outcome])


async def _check(
    settings: Settings, user: str, response: str | None, image: str | None, plan: ReasoningPlan | None
) -> tuple[Record, EngineError | None]:
    """Return the record, and the engine's failure to start where that is why it is undecided."""
    problem: Cause | None = None
    failure: EngineError | None = None
    images: tuple[Image, ...] = ()
    if image is not None:
        try:
            images = _images(image, settings)
        except ImageError as error:
            # A decision was due, so there will be a record of why there is none.
            typer.echo(f"railscribe: {error}", err=True)
            problem = error.cause
    async with Guard.open(settings, start=False) as guard:
        exchange = Exchange(user=user, response=response, images=images)
        problem = problem or unjudgeable(exchange, direction_of(exchange), settings)
        if problem is None:
            try:
                await guard.engine.start()
            except EngineError as error:
                problem, failure = error.cause, error
        record = await guard.check(
            exchange,
            reasoning=plan,
            caller=Caller(rail="check", host="railscribe-cli"),
            problem=problem,
        )
    return record, failure


def _images(source: str, settings: Settings) -> tuple[Image, ...]:
    if "://" in source or source.startswith("data:"):
        return images_from_url(source, settings)
    try:
        data = Path(source).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read the image {source}: {error.strerror}.") from error
    return images_from_bytes(data, settings)


def as_dict(record: Record) -> dict[str, Any]:
    """Return *record* in the shape that ``--json`` promises; fields may be added, never renamed."""
    verdict, decision = record.verdict, record.decision
    return {
        "decision": decision.outcome.value,
        "cause": decision.cause.value if decision.cause else None,
        "rule": decision.rule,
        "enforcement": record.enforcement.value,
        "user": _side(verdict.user),
        "response": None if verdict.response is None else _side(verdict.response),
        "categories": [category.name for category in verdict.categories],
        "category_scores": _category_scores(record),
        "trace": verdict.trace,
        "reply": verdict.reply,
        "notes": list(verdict.notes),
        "neutralised": list(record.neutralised),
        "reasoning": record.reasoning.value,
        "reviews": [review.value for review in record.reviews],
        "image": None if record.image is None else {"use": record.image.use.value, "text": record.image.text},
        "record_id": record.id,
        "policy": {
            "name": record.rendering.policy_name,
            "version": record.rendering.policy_version,
            "digest": record.rendering.policy_digest,
            "mode": record.rendering.mode.value,
            "text_digest": record.rendering.text_digest,
        },
        "engine": dataclasses.asdict(record.engine),
        "latency_ms": {stage: round(ms, 3) for stage, ms in record.latency_ms.items()},
    }


def _category_scores(record: Record) -> dict[str, float] | None:
    """Return the score of each of the policy's categories, highest first; ``None`` where they were not scored."""
    verdict, sides = record.verdict, record.decision.sides
    scores = {name: verdict.category_score(name, sides) for name in record.rendering.category_names}
    told = {name: round(score, 6) for name, score in scores.items() if score is not None}
    return dict(sorted(told.items(), key=lambda item: -item[1])) or None


def _side(side: SideVerdict) -> dict[str, Any]:
    return {
        "label": side.label.value,
        "score": None if side.score is None else round(side.score, 6),
        "cause": side.cause.value if side.cause else None,
    }


def _print(record: Record) -> None:
    decision = record.decision
    why = f" ({decision.cause.value})" if decision.cause else ""
    typer.echo(f"{decision.outcome.value}{why}, {record.enforcement.value}")
    for name, side in (("user", record.verdict.user), ("response", record.verdict.response)):
        if side is not None:
            score = "" if side.score is None else f"  p(unsafe) {side.score:.3f}"
            typer.echo(f"  {name + ':':<12}{side.label.value}{score}")
    typer.echo(f"  {'rule:':<12}{decision.rule}")
    if record.verdict.categories:
        typer.echo(
            f"  {'categories:':<12}{', '.join(category.name for category in record.verdict.categories)}"
        )
    if record.image is not None:
        typer.echo(f"  {'picture:':<12}{record.image.use.value}")
    if record.neutralised:
        typer.echo(f"  {'defused:':<12}{', '.join(record.neutralised)}")
    if record.verdict.trace:
        typer.echo(f"  {'trace:':<12}{' '.join(record.verdict.trace.split())}")
    if record.reasoning is Reasoning.DEFERRED:
        typer.echo(f"  {'trace:':<12}deferred; see: railscribe audit show {record.id}")
    if record.reviews:
        typer.echo(f"  {'review:':<12}{', '.join(review.value for review in record.reviews)}")
    typer.echo(f"  {'policy:':<12}{record.rendering.policy_name} {record.rendering.policy_version}")
    typer.echo(
        f"  {'engine:':<12}{record.engine.name}, {record.engine.model}, {record.latency_ms['engine']:.0f} ms"
    )
    typer.echo(f"  {'record:':<12}{record.id}")
