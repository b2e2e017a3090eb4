"""``railscribe doctor``: does every part of the road work on this machine, with these settings?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

import typer

from railscribe.audit import AuditStore
from railscribe.audit.tables import HEAD
from railscribe.cli import options
from railscribe.engines import open_engine
from railscribe.errors import RailscribeError
from railscribe.nemotron import build_request, parse_reply
from railscribe.policy import load_policy, render
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import Exchange, Flags, Label


class Finding(NamedTuple):
    """One part of the road, and how it is."""

    part: str
    ok: bool
    said: str


def doctor(
    engine: options.Engine = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    base_url: options.BaseUrl = None,
    policy: options.Policy = None,
    database_url: options.DatabaseUrl = None,
    as_json: options.Json = False,
) -> None:
    """Look at packages, policy, engine and database; exit 1 where something is wrong."""
    settings = options.settings_from(
        engine=engine,
        model=model,
        adapter=adapter,
        base_url=base_url,
        policy=policy,
        database_url=database_url,
    )
    findings = []
    for finding in _findings(settings):
        findings.append(finding)
        if not as_json:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.part:<10}{finding.said}")
    if as_json:
        options.print_json({"ok": all(f.ok for f in findings), "findings": [f._asdict() for f in findings]})
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


def _findings(settings: Settings) -> Iterator[Finding]:
    yield _packages()
    for part, look in (("policy", _policy), ("database", _database), ("engine", _engine)):
        try:
            yield Finding(part, True, look(settings))
        except RailscribeError as error:
            yield Finding(part, False, str(error))


def _packages() -> Finding:
    found = []
    for name in ("railscribe", "nemoguardrails", "langchain-core", "torch", "transformers", "sqlalchemy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} -")
    return Finding("packages", True, ", ".join(found))


def _policy(settings: Settings) -> str:
    rendering = render(load_policy(settings.policy))
    named = f"{rendering.policy_name} {rendering.policy_version}"
    return f"{named}, mode {rendering.mode.value}, {len(rendering.text)} characters"


def _database(settings: Settings) -> str:
    with AuditStore.open(settings.database_url):
        return f"at revision {HEAD}"


def _engine(settings: Settings) -> str:
    async def ask() -> str:
        began = time.perf_counter()
        async with open_engine(settings) as engine:
            started = time.perf_counter()
            request = build_request(
                Exchange(user="What time does the library open?"),
                render(load_policy(settings.policy)),
                Flags(),
            )
            completion = await engine.complete(request)
            ended = time.perf_counter()
            verdict = parse_reply(
                completion.text, response_sent=False, finish_reason=completion.finish_reason
            )
            if verdict.user.label is Label.UNREADABLE and verdict.user.cause is not None:
                raise RailscribeError(
                    f"{engine.info.model} answered, but not with a verdict ({verdict.user.cause.value}).",
                    hint="Is it a content-safety model?",
                )
            return (
                f"{engine.info.name}, {engine.info.model}: ready in {started - began:.1f} s, "
                f"answered in {ended - started:.2f} s"
            )

    return run_sync(ask())
