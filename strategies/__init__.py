"""Methods of continual category discovery, one a file."""

from strategies.happy import Happy

__all__ = ["Happy"]
