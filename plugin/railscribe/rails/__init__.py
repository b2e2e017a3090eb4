"""NeMo Guardrails' guest room: what a configuration gets by importing ``railscribe/rails``.

NeMo reads this directory itself: the flows of both Colang versions and ``config.py``, whose ``init`` it calls
for every app. No YAML lies here, because an imported YAML file overrides the importing configuration.
"""

from railscribe.rails.starter import rails_path, write_config

__all__ = ["rails_path", "write_config"]
