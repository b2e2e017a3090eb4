"""Training a guard adapter: rows with labels in, a LoRA adapter that answers in the contract's grammar out."""
