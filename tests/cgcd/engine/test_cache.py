"""Files appear whole or not at all."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from cgcd.engine.cache import whole_file, write_tensors, write_text
from cgcd.places import cache_folder


def test_the_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("CGCD_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("CGCD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cgcd"


def test_a_failure_keeps_the_old_content(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]
    write_text(path, "new ünïcode")
    assert path.read_text(encoding="utf-8") == "new ünïcode"


def test_shared_and_strided_tensors_are_stored_as_they_read(tmp_path):
    table = torch.arange(12.0, requires_grad=True).reshape(3, 4)
    tensors = {"a": table, "b": table.T, "c": table[:, 1], "empty": torch.empty(0, 5)}
    write_tensors(tmp_path / "t.safetensors", tensors)
    read = load_file(tmp_path / "t.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[k], v.detach()) for k, v in tensors.items())
