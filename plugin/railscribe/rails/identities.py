"""On whose behalf an app of NeMo Guardrails runs: what the caller set, or what the server's request says."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from railscribe.identity import current_identity
from railscribe.settings import Settings
from railscribe.values import Identity

_LONGEST = 200  # characters; what is longer is no name


def identity_here(settings: Settings) -> Identity:
    """Return the identity that was set around the call; else the one in the request headers that *settings* trust."""
    identity = current_identity()
    if not settings.identity_headers or identity != Identity():
        return identity
    headers = request_headers()
    named = {
        field: value[:_LONGEST]
        for field, name in settings.identity_headers.items()
        if (value := headers.get(name, "").strip())
    }
    return Identity(**named)


def request_headers() -> Mapping[str, str]:
    """Return the headers of the server's running request; none where there is no server."""
    # Not imported: an app without the server need not have what the server needs.
    server = sys.modules.get("nemoguardrails.server.api")
    return {} if server is None else server.api_request_headers.get({})
