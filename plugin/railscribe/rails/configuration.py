"""What a NeMo configuration says about its rails: ``custom_data: {railscribe: ...}`` and flow parameters.

    custom_data:
      railscribe:
        policy: policies/house.json      # any field of railscribe.settings
        input: {on_undecided: allow}     # a switch per rail; without it, the setting on_undecided holds
        output: {on_undecided: block}

A policy file is looked for in the configuration's directory first, then where any path is. A policy of the
registry is looked up when the rail has its guard, and again whenever its tag may have moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nemoguardrails import RailsConfig
from nemoguardrails.utils import _get_flow_params, _normalize_flow_id
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from typing_extensions import Self

from railscribe.admission import refuse_misfit
from railscribe.choosing import refuse_unloadable
from railscribe.errors import PolicyError, SettingsError
from railscribe.guard import Guard
from railscribe.misfits import misfits
from railscribe.rollout import OnUndecided, Rollout
from railscribe.settings import Settings, load_settings
from railscribe.values import Direction, Stage


def flow_of(direction: Direction) -> str:
    """Return the name of the flow that checks what travels in *direction*."""
    return f"railscribe check {direction.value.replace('_', ' ')}"


_FLOWS = {flow_of(direction): direction for direction in Direction}
_AWAITED = re.compile(
    r"^\s*(?:await )?railscribe check (input|output|retrieval|tool input|tool output)\b"
    r"(?:[^\n]*?\$policy\s*=\s*[\"']([^\"']+)[\"'])?",
    re.MULTILINE,
)


class Switches(BaseModel):
    """What a configuration says of one rail, above its settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_undecided: OnUndecided | None = None
    rollout: str | None = None
    wait_for: Stage | None = None

    @field_validator("rollout")
    @classmethod
    def _known_rollout(cls, value: str | None) -> str | None:
        if value is not None:
            Rollout.parse(value)
        return value

    def enforced(self, settings: Settings) -> Rollout:
        """Return how far the rail's decisions are enforced."""
        return Rollout.parse(self.rollout or settings.rollout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The settings of one app's rails."""

    settings: Settings
    switches: Mapping[Direction, Switches]
    folders: tuple[Path, ...]
    gap: str | None = None
    """What the host will show unchecked, in a sentence."""
    streams: bool = False
    """Whether the host shows the output rail chunks of streams."""
    rails: tuple[tuple[Direction, str | None], ...] = ()
    """The rails that the configuration runs, each with the policy that it names."""

    @classmethod
    def of(cls, config: RailsConfig) -> Self:
        """Read *config*, and every policy that its rails name.

        Raises:
            SettingsError: a field under ``custom_data: {railscribe: ...}`` is wrong, or a rail of ours does not exist.
            PolicyError: a policy file that a flow names does not exist or holds mistakes.
        """
        given = (config.custom_data or {}).get("railscribe") or {}
        if not isinstance(given, Mapping):
            raise SettingsError("custom_data: railscribe: must hold settings, such as policy: default.")
        names = [direction.value for direction in Direction]
        switches = {Direction(name): _switches(name, given.get(name)) for name in names}
        folders = tuple(_folders(config.config_path))
        fields = {name: value for name, value in given.items() if name not in names}
        settings = load_settings(fields)
        by_tenant = {tenant: _resolve(name, folders) for tenant, name in settings.policy_by_tenant.items()}
        settings = settings.model_copy(
            update={"policy": _resolve(settings.policy, folders), "policy_by_tenant": by_tenant}
        )
        configuration = cls(
            settings=settings,
            switches=switches,
            folders=folders,
            gap=_gap(config),
            streams=config.rails.output.streaming.enabled,
            rails=tuple(_rails(config)),
        )
        for _, name in configuration.rails:
            if (reference := configuration.reference(name)) is not None:
                refuse_unloadable(reference)
        return configuration

    def refuse_misfits(self, guard: Guard) -> None:
        """Refuse a rail whose policy cannot decide by *guard*, which would refuse all that comes.

        Raises:
            PolicyError: a policy does not exist, does not apply to the rail's direction, or needs scores that the
                engine never gives.
            AuditError: the registry was needed and could not be read.
        """
        for direction, name in self.rails:
            reference = self.reference(name)
            policy = guard.policy if reference is None else guard.policies.find(reference)
            refuse_misfit(policy, direction, guard.engine)

    def reference(self, name: str | None) -> str | None:
        """Return the reference to the policy that a flow calls *name*; ``None`` where it names none."""
        if name in (None, "", "$policy"):  # Colang 1.0 hands on the name of a variable that is not set
            return None
        return _resolve(str(name), self.folders)


def _switches(rail: str, given: object) -> Switches:
    try:
        return Switches.model_validate({} if given is None else given)
    except ValidationError as error:
        found = next(misfits(error, Switches))
        where = f"{rail}.{found.field}" if found.field else rail
        raise SettingsError(
            f"custom_data: railscribe: {where}: {found.message}.",
            hint="A rail takes on_undecided (block, allow), rollout (enforce, observe, 25%) and wait_for.",
        ) from None


def _gap(config: RailsConfig) -> str | None:
    streaming = config.rails.output.streaming
    if not streaming.enabled:
        return None
    if config.colang_version != "1.0":
        return "NeMo Guardrails shows streamed tokens of Colang 2.x unchecked; do not use stream_async."
    if streaming.stream_first and any(
        _normalize_flow_id(flow) in _FLOWS for flow in config.rails.output.flows
    ):
        return "NeMo Guardrails shows streamed text before it is checked, unless stream_first is false."
    return None


def _folders(config_path: str | None) -> Iterator[Path]:
    for name in (config_path or "").split(","):
        if name.strip():
            path = Path(name.strip())
            yield path if path.is_dir() else path.parent


def _resolve(name: str, folders: tuple[Path, ...]) -> str:
    if Path(name).suffix:
        for folder in folders:
            if (folder / name).is_file():
                return str(folder / name)
    return name


def _rails(config: RailsConfig) -> Iterator[tuple[Direction, str | None]]:
    """Yield the rails of ours that *config* runs, with the policies they name, as NeMo itself reads them."""
    for where, flow in _flows(config):
        name = _normalize_flow_id(flow)
        if name.startswith("railscribe") and name != flow_of(where):
            # NeMo asks only of some rails whether they exist, and runs one in the wrong place on something else.
            raise SettingsError(
                f"There is no rail {name!r} under rails: {where.value}.",
                hint=f"The one for it is {flow_of(where)!r}.",
            )
        if (direction := _FLOWS.get(name)) is not None:
            parameters = _get_flow_params(flow)
            if set(parameters) - {"policy"} or None in parameters.values():
                raise PolicyError(
                    f"The rail {flow!r} takes one parameter.",
                    hint=f"Write {name} $policy=NAME.",
                )
            yield direction, parameters.get("policy")
    if config.colang_version != "1.0":
        for flow in config.flows:
            for word, name in _AWAITED.findall(getattr(flow, "source_code", None) or ""):
                yield Direction(word.replace(" ", "_")), name or None


def _flows(config: RailsConfig) -> Iterator[tuple[Direction, str]]:
    for direction in Direction:
        for flow in getattr(config.rails, direction.value).flows:
            yield direction, flow
