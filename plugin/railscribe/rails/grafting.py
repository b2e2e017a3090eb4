"""Our rails on a configuration that is parsed already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from nemoguardrails import RailsConfig

from railscribe.errors import UsageError
from railscribe.rails.configuration import flow_of
from railscribe.rails.starter import rails_path
from railscribe.values import Direction

_BOTH = (Direction.INPUT, Direction.OUTPUT)


def graft(
    config: RailsConfig, *, policy: str | None = None, rails: Sequence[Direction | str] = _BOTH
) -> RailsConfig:
    """Return *config* with our *rails* before its own; *policy* is a ready one's name, a file, or NAME@TAG.

    Settings come from the environment and railscribe.toml, or from ``custom_data`` where *config* has them.

    Raises:
        UsageError: it is a configuration of Colang 2.x, whose flows are its author's to write.
    """
    if config.colang_version != "1.0":
        raise UsageError(
            "Rails cannot be grafted on a configuration of Colang 2.x.",
            hint="Import railscribe.rails in its main.co and await the flows (docs/nemo.md).",
        )
    flows: dict[str, dict[str, list[str]]] = {}
    for rail in rails:
        direction = Direction(rail)
        flow = flow_of(direction) + (f" $policy={_absolute(policy)}" if policy else "")
        flows[direction.value] = {"flows": [flow]}
    ours = {"import_paths": [rails_path()], "models": [], "rails": flows}
    # What both of two joined configurations say, the second one says.
    grafted = RailsConfig.from_content(yaml_content=yaml.safe_dump(ours)) + config
    for name, listed in flows.items():
        rail = getattr(grafted.rails, name)
        # What ours refuses need not be looked at by anything else.
        rail.flows = [*listed["flows"], *(flow for flow in rail.flows if flow not in listed["flows"])]
    return grafted


def _absolute(policy: str) -> str:
    # A grafted configuration has no folder of ours to look in.
    return str(Path(policy).resolve()) if Path(policy).suffix and Path(policy).is_file() else policy
