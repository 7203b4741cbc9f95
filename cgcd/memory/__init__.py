"""What a learner keeps of earlier stages in place of images."""

from cgcd.memory.codes import Assignment, HashCodebook, pack, unpack
from cgcd.memory.prototypes import PrototypeMemory, PrototypeSample
from cgcd.memory.reference import ReferenceMemory, ReferenceSample

__all__ = [
    "Assignment",
    "HashCodebook",
    "PrototypeMemory",
    "PrototypeSample",
    "ReferenceMemory",
    "ReferenceSample",
    "pack",
    "unpack",
]
