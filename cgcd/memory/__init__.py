"""What a learner keeps of earlier stages in place of images."""

from cgcd.memory.codes import Assignment, HashCodebook, pack, unpack
from cgcd.memory.prototypes import PrototypeMemory, PrototypeSample
from cgcd.memory.reference import ReferenceMemory, ReferenceSample
from cgcd.memory.statistics import ClassStatistics

__all__ = [
    "Assignment",
    "ClassStatistics",
    "HashCodebook",
    "PrototypeMemory",
    "PrototypeSample",
    "ReferenceMemory",
    "ReferenceSample",
    "pack",
    "unpack",
]
