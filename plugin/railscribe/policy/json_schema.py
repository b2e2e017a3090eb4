"""The JSON Schema of policy documents, for editors; ``rails_configs/policies/policy.schema.json`` ships it.

It knows the fields, their kinds and their descriptions. What fields may not say together, and what a text may not
hold, only reading the document tells (``railscribe.policy.checks``).
"""

from __future__ import annotations

import json
from typing import Any

from railscribe.policy.schema import Document


def document_schema() -> dict[str, Any]:
    """Return the JSON Schema of a policy document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema()}


def schema_text() -> str:
    """Return the schema as the shipped file holds it."""
    return json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n"
