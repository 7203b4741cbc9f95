"""What a learner keeps of earlier stages in place of images."""

from cgcd.memory.book import Assignment, CategoryBook
from cgcd.memory.codes import HashCodebook, pack, unpack
from cgcd.memory.prototype_book import CategoryMerge, PrototypeBook
from cgcd.memory.prototypes import PrototypeMemory, PrototypeSample
from cgcd.memory.reference import ReferenceMemory, ReferenceSample
from cgcd.memory.statistics import ClassStatistics

__all__ = [
    "Assignment",
    "CategoryBook",
    "CategoryMerge",
    "ClassStatistics",
    "HashCodebook",
    "PrototypeBook",
    "PrototypeMemory",
    "PrototypeSample",
    "ReferenceMemory",
    "ReferenceSample",
    "pack",
    "unpack",
]
