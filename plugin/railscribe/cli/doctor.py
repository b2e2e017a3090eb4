"""``railscribe doctor``: does every part of the road work on this machine, with these settings?

It probes the engine as well (``railscribe.probing``), says what to change about what is ignored or refused, and
keeps the results in the audit database, where guards heed them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, NamedTuple

import typer

from railscribe.admission import refuse_unscored
from railscribe.audit import open_store
from railscribe.audit.tables import HEAD
from railscribe.choosing import open_policy
from railscribe.cli import options
from railscribe.cli.remedies import remedy
from railscribe.engines import Engine, open_engine
from railscribe.errors import PolicyError, RailscribeError
from railscribe.nemotron import build_request, parse_reply
from railscribe.policy import Policy, render
from railscribe.probing import Found, probe
from railscribe.settings import Settings
from railscribe.sync import run_sync
from railscribe.values import (
    Cause,
    EngineInfo,
    Exchange,
    Flags,
    Label,
    Mode,
    Probe,
    ProbeName,
    ProbeResult,
)

_Say = Callable[[str], object]
_PROBE_OF_MODE = {Mode.POLICY: ProbeName.POLICY, Mode.TAXONOMY: ProbeName.TAXONOMY}
_BAD = (ProbeResult.IGNORED, ProbeResult.REFUSED)


class Finding(NamedTuple):
    """One part of the road, and how it is."""

    part: str
    ok: bool
    said: str


class _Met(NamedTuple):
    """An engine that has started."""

    info: EngineInfo
    address: str | None


class Probed(NamedTuple):
    """What the probes found, of which engine."""

    address: str | None
    engines: tuple[EngineInfo, ...]
    """How it called itself before and after them: it may have learned something about its server on the way."""
    found: tuple[Found, ...]


def doctor(
    engine: options.Engine = None,
    model: options.Model = None,
    adapter: options.Adapter = None,
    base_url: options.BaseUrl = None,
    policy: options.Policy = None,
    database_url: options.DatabaseUrl = None,
    timeout_s: options.TimeoutS = None,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Whether checks will ask for reasoning.")
    ] = None,
    probes: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Try what the engine does with each thing asked of it.")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Look at packages, policy, database and engine, and probe the engine; exit 1 where something is wrong."""
    settings = options.settings_from(
        engine=engine,
        model=model,
        adapter=adapter,
        base_url=base_url,
        policy=policy,
        database_url=database_url,
        timeout_s=timeout_s,
        think=think,
    )
    say: _Say = _nothing if as_json else typer.echo
    findings = []
    for finding in _findings(settings, probes=probes):
        findings.append(finding)
        say(f"{_mark(ok=finding.ok)}  {finding.part:<12}{finding.said}")
    can_probe = all(finding.ok for finding in findings if finding.part in ("policy", "engine"))
    probed = _probed(settings, say) if probes and can_probe else None
    stored = probed is not None and _kept(settings, probed, say)
    bad = [found for found in probed.found if _is_bad(found, settings)] if probed else []
    ok = all(finding.ok for finding in findings) and not bad
    if as_json:
        report: dict[str, Any] = {"ok": ok, "findings": [finding._asdict() for finding in findings]}
        if probed is not None:
            report["address"], report["stored"] = probed.address, stored
            report["probes"] = [_as_json(found, settings, probed) for found in probed.found]
        options.print_json(report)
    raise typer.Exit(0 if ok else 1)


def _nothing(_: str) -> None:
    """Say nothing: stdout is for the one JSON object."""


def _mark(*, ok: bool) -> str:
    return "ok  " if ok else "FAIL"


def _findings(settings: Settings, *, probes: bool) -> Iterator[Finding]:
    yield _packages()
    policy = _looked("policy", _policy, settings)
    yield policy
    yield _looked("database", _database, settings)
    met: list[_Met] = []
    yield _looked("engine", lambda settings: _engine(settings, met), settings)
    ignored = {mode for each in met for mode in _known_ignored(settings, each)} if not probes else set()
    if policy.ok and (unfit := list(_unfit(settings, ignored))):
        yield Finding("fit", False, "\n                  ".join(unfit))


def _looked(part: str, look: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, True, look(settings))
    except RailscribeError as error:
        return Finding(part, False, str(error))


def _packages() -> Finding:
    found = []
    for name in ("railscribe", "nemoguardrails", "langchain-core", "torch", "transformers", "sqlalchemy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} -")
    return Finding("packages", True, ", ".join(found))


def _policy(settings: Settings) -> str:
    rendering = render(open_policy(settings.policy, settings))
    named = f"{rendering.policy_name} {rendering.policy_version}"
    others = len(_policies(settings)) - 1
    more = f"; {others} more of tenants" if others else ""
    return f"{named}, mode {rendering.mode.value}, {len(rendering.text)} characters{more}"


def _policies(settings: Settings) -> list[Policy]:
    """Return the policies that *settings* name, for all and for tenants, each once."""
    named = dict.fromkeys((settings.policy, *settings.policy_by_tenant.values()))
    return [open_policy(reference, settings) for reference in named]


def _unfit(settings: Settings, ignored: Collection[Mode]) -> Iterator[str]:
    """Yield what keeps the engine, which ignores policies of the modes *ignored*, from deciding by one of them."""
    try:
        engine = open_engine(settings)  # nothing is loaded or contacted
    except RailscribeError:
        return  # the engine's own finding says so
    for policy in _policies(settings):
        try:
            refuse_unscored(policy, engine)
        except PolicyError as error:
            yield str(error)
        mode = render(policy).mode
        if mode in ignored:
            yield (
                f"The policy {policy.name} travels as mode {mode.value}, which this engine was found to ignore:"
                " every check under it is undecided (policy_ignored). Probe again once that is mended."
            )


def _known_ignored(settings: Settings, engine: _Met) -> set[Mode]:
    """Return the modes that *engine* ignores by the newest probes kept, where guards heed them."""
    if settings.allow_ignored_policy:
        return set()
    try:
        with open_store(settings) as store:
            kept = {probe.name: probe.result for probe in store.probes(engine.info, engine.address)}
    except RailscribeError:
        return set()  # the database's own finding says so
    return {mode for mode, name in _PROBE_OF_MODE.items() if kept.get(name) is ProbeResult.IGNORED}


def _database(settings: Settings) -> str:
    with open_store(settings):
        return f"at revision {HEAD}"


def _engine(settings: Settings, met: list[_Met]) -> str:
    """Ask the engine once; *met* is told how it calls itself once it has started."""

    async def ask() -> str:
        began = time.perf_counter()
        async with open_engine(settings) as engine:
            started = time.perf_counter()
            met.append(_Met(engine.info, engine.address))
            request = build_request(
                Exchange(user="What time does the library open?"),
                render(open_policy(settings.policy, settings)),
                Flags(),
            )
            completion = await engine.complete(request)
            ended = time.perf_counter()
            verdict = parse_reply(
                completion.text, response_sent=False, finish_reason=completion.finish_reason
            )
            if verdict.user.label is Label.UNREADABLE and verdict.user.cause is not None:
                endless = verdict.user.cause is Cause.TRUNCATED
                raise RailscribeError(
                    f"{engine.info.model} answered, but not with a verdict ({verdict.user.cause.value}).",
                    hint="Does the server know the model's end of a turn (vLLM: --generation-config)?"
                    if endless
                    else "Is it a content-safety model?",
                )
            return (
                f"{engine.info.name}, {engine.info.model}: ready in {started - began:.1f} s, "
                f"answered in {ended - started:.2f} s"
            )

    return run_sync(ask())


def _probed(settings: Settings, say: _Say) -> Probed:
    async def try_all(engine: Engine) -> Probed:
        async with engine:
            before, found = engine.info, []
            async for one in probe(engine, settings):
                found.append(one)
                say(_line(one, settings, engine.info))
            return Probed(engine.address, tuple(dict.fromkeys((before, engine.info))), tuple(found))

    return run_sync(try_all(open_engine(settings)))


def _kept(settings: Settings, probed: Probed, say: _Say) -> bool:
    """Keep the results; say so where that was not possible."""
    now = datetime.now(timezone.utc)
    try:
        with open_store(settings) as store:
            store.append_probes(
                Probe(
                    name=found.name,
                    result=found.result,
                    detail=found.detail,
                    engine=info,
                    address=probed.address,
                    probed_at=now,
                )
                for info in probed.engines
                for found in probed.found
            )
    except RailscribeError as error:
        say(f"note  the probes' results were not kept: {error}")
        return False
    return True


def _is_needed(name: ProbeName, settings: Settings) -> bool:
    """Whether checks with *settings* go wrong, and not only without something, where *name* is not honoured."""
    if name in (ProbeName.POLICY, ProbeName.TAXONOMY):
        return any(_PROBE_OF_MODE.get(render(policy).mode) is name for policy in _policies(settings))
    if name is ProbeName.THINKING:
        return settings.think
    return name is not ProbeName.LOGPROBS


def _is_bad(found: Found, settings: Settings) -> bool:
    # A picture that is refused is undecided and seen to be so; one that is ignored passes unseen.
    bad = _BAD if found.name is not ProbeName.IMAGE else (ProbeResult.IGNORED,)
    return found.result in bad and _is_needed(found.name, settings)


def _line(found: Found, settings: Settings, engine: EngineInfo) -> str:
    mark = "ok  " if found.result is ProbeResult.HONOURED else "note"
    mark = "FAIL" if _is_bad(found, settings) else mark
    line = f"{mark}  {found.name.value:<12}{found.result.value}: {found.detail}"
    change = remedy(found, engine)
    return f"{line}\n                  {change}" if change else line


def _as_json(found: Found, settings: Settings, probed: Probed) -> dict[str, Any]:
    return {
        "probe": found.name.value,
        "result": found.result.value,
        "detail": found.detail,
        "change": remedy(found, probed.engines[-1]),
        "needed": _is_needed(found.name, settings),
    }
