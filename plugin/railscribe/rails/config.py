"""NeMo Guardrails executes this file for every app that imports the rails, and calls its ``init``.

It is executed under another name and once per app, so nothing may live here.
"""

from railscribe.rails.binding import init

__all__ = ["init"]
