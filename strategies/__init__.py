"""Methods of continual category discovery, one a file."""

from strategies.gcd import GCD
from strategies.happy import Happy
from strategies.phe import PHE
from strategies.proto_gcd import ProtoGCD
from strategies.simgcd import SimGCD
from strategies.smile import SMILE

__all__ = ["GCD", "PHE", "SMILE", "Happy", "ProtoGCD", "SimGCD"]
