"""Methods of continual category discovery, one a file."""

from strategies.happy import Happy
from strategies.phe import PHE
from strategies.smile import SMILE

__all__ = ["PHE", "SMILE", "Happy"]
