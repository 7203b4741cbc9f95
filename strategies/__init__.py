"""Methods of continual category discovery, one a file."""

from strategies.analytic import Analytic
from strategies.gaussian import Gaussian
from strategies.gcd import GCD
from strategies.happy import Happy
from strategies.nmc import NMC
from strategies.phe import PHE
from strategies.proto_gcd import ProtoGCD
from strategies.prototype_memory import PrototypeMemory
from strategies.simgcd import SimGCD
from strategies.smile import SMILE
from strategies.vb_cgcd import VBCGCD

__all__ = [
    "GCD",
    "NMC",
    "PHE",
    "SMILE",
    "VBCGCD",
    "Analytic",
    "Gaussian",
    "Happy",
    "ProtoGCD",
    "PrototypeMemory",
    "SimGCD",
]
