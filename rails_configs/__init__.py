"""Ready NeMo Guardrails configurations and policies, meant to be copied (``railscribe init``) and changed."""
