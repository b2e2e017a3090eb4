"""Flags that several verbs take, and how they become settings."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from railscribe.settings import Settings, load_settings

Engine = Annotated[
    str | None,
    typer.Option("--engine", help="embedded, transformers or openai_compatible.", show_default=False),
]
Model = Annotated[
    str | None, typer.Option("--model", help="The engine's model: a path or a name.", show_default=False)
]
Adapter = Annotated[
    str | None, typer.Option("--adapter", help="A PEFT adapter's folder.", show_default=False)
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url", help="An OpenAI-compatible server, up to and including /v1.", show_default=False
    ),
]
Policy = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="A ready policy's name, a YAML or JSON file, or one of the registry: NAME@TAG, a digest.",
        show_default=False,
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="The audit database, an SQLAlchemy URL.", show_default=False),
]
TimeoutS = Annotated[
    float | None, typer.Option("--timeout-s", help="Seconds for one engine call.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]


def settings_from(
    *,
    engine: str | None = None,
    model: str | None = None,
    adapter: str | None = None,
    base_url: str | None = None,
    policy: str | None = None,
    database_url: str | None = None,
    timeout_s: float | None = None,
    think: bool | None = None,
    in_flight: int = 1,
) -> Settings:
    """Return the settings in force with these flags above them.

    Engines in process answer one after the other, so of *in_flight* checks the last waits for all others: unless
    somebody has set a time-out, each has that much more.
    """
    if base_url is not None and engine is None:
        engine = "openai_compatible"  # an address says which engine is meant
    settings = load_settings(
        {
            "engine": engine,
            "model": model,
            "adapter": adapter,
            "base_url": base_url,
            "policy": policy,
            "database_url": database_url,
            "timeout_s": timeout_s,
            "think": think,
        }
    )
    if in_flight == 1 or "timeout_s" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"timeout_s": settings.timeout_s * in_flight})


def print_json(value: Any) -> None:
    """Print *value* as one JSON document."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=None))
