"""The command line: one module per verb, glued together in ``main``."""
