"""A place with tiny data and one tiny command, and what every refusal has to look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from cgcd.cli.main import main

DIM, EACH, CLASSES = 12, 40, 6


@pytest.fixture(scope="session")
def embeddings() -> tuple[np.ndarray, np.ndarray]:
    """Vectors (240, 12) float32 around six centers, and their classes (240,)."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), EACH)
    centers = generator.standard_normal((CLASSES, DIM))
    vectors = centers[labels] + 0.2 * generator.standard_normal((len(labels), DIM))
    return vectors.astype(np.float32), labels


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, embeddings: tuple[np.ndarray, np.ndarray]
) -> Iterator[Path]:
    """The working directory of a module, with `all.npz` and a cache beside it."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGCD_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.chdir(folder)
        np.savez("all.npz", f=embeddings[0], y=embeddings[1])
        yield folder


@pytest.fixture(scope="session")
def tiny() -> Callable[..., list[str]]:
    """The arguments of a run of under a second, and more of them."""

    def arguments(*more: str) -> list[str]:
        return [
            "run",
            "scenario=features",
            "recipe=none",  # what refuses must not hang on what was tuned
            "data_root=all.npz",
            "model=adapter",
            "tracking=none",
            "analysis=false",
            "baselines=false",
            "scenario.protocol.num_stages=1",
            "strategy.base.epochs=1",
            "strategy.continual.epochs=1",
            "strategy.base.batch_size=32",
            "strategy.continual.batch_size=32",
            "model.projection_hidden=16",
            "model.projection_dim=8",
            *more,
        ]

    return arguments


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Gives a command and checks that one sentence with these words is all it says; exit code 2."""

    def check(arguments: list[str], *words: str, code: int = 2) -> str:
        capsys.readouterr()
        got = main(arguments)
        out, err = capsys.readouterr()
        assert got == code, (got, out, err)
        *before, last = err.splitlines()
        assert last.startswith("cgcd: ") and all(b.startswith("cgcd: warning:") for b in before)
        assert "Traceback" not in out + err and 'File "' not in err, err
        for word in words:
            assert word in last, (word, last)
        return last

    return check


@pytest.fixture
def works(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], str]:
    """Gives a command that must go well; what it prints."""

    def check(arguments: list[str]) -> str:
        capsys.readouterr()
        got = main(arguments)
        out, err = capsys.readouterr()
        assert got == 0, err
        return out

    return check
