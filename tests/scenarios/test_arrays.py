"""An `.npz` is read by the members that are named."""

from __future__ import annotations

import numpy as np
import pytest

from cgcd.vocabulary import InputError
from scenarios.arrays import read_npz
from scenarios.features import read_features
from scenarios.omniglot import read_omniglot

OBJECTS = np.array([{"a": 1}, None], dtype=object)


def test_other_members_are_not_read(tmp_path):
    path = tmp_path / "x.npz"
    y = np.array([0, 0, 1, 1])
    vectors = np.eye(4, 3, dtype=np.float32)
    np.savez(path, x=np.zeros((4, 5, 5), np.uint8), y=y, f=vectors, z=OBJECTS)
    assert len(read_omniglot(path).train_targets) == len(read_features(path).targets) == 4
    found = read_npz(path, ("x",), "mend", ("y", "s*"))
    assert sorted(found) == ["x", "y"]
    for required, optional in ((("z",), ()), (("x",), ("z",)), ((), ("*",))):
        with pytest.raises(InputError, match="cannot be read"):
            read_npz(path, required, "mend", optional)
    with pytest.raises(InputError, match=r"lacks 'q' \(it has 'f', 'x', 'y', 'z'\)"):
        read_npz(path, ("x", "q"), "mend")
