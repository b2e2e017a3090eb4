"""What makes the store believable, without any database: canonical bytes, Merkle trees, signed checkpoints. Pure."""
