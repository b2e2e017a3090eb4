"""The audit database's migrations. README.md says how one is added."""
