"""What a NeMo Guardrails configuration says besides Colang: rails, prompts, instructions, settings."""
