"""What a learner keeps of earlier stages in place of images."""

from cgcd.memory.prototypes import PrototypeMemory, PrototypeSample

__all__ = ["PrototypeMemory", "PrototypeSample"]
