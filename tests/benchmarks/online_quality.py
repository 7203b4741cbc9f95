"""Discovery on streams of embeddings: PHE, SMILE, prototypes, the leaders and closed-set bounds.

    python tests/benchmarks/online_quality.py <embeddings.npz> <classes> choose|table [out.json]
    python tests/benchmarks/online_quality.py <embeddings.npz> <classes> prototypes|ceiling

`classes` are known and as many novel, drawn from the file's classes. `choose` picks, for each code
length, the setting of PHE by hiding half of the known classes: it sees the labeled embeddings of
the base stage alone, of the seeds 0 and 1, and takes the setting farthest inside the bar, which is
measured against the closed-set bound of the same run. `table` then prints means over the seeds 0-4
at the settings that `choose` stored; nothing there was chosen on. `prototypes` prints the rows of
the prototype memory, which has nothing to choose: of the embeddings as they come, and tuned by the
base stage of Happy. `ceiling` answers the same
streams with what a frozen novelty score and an off-line k-means that is told the number of novel
classes reach at the known classes' identity that PHE has to keep.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans

from cgcd.engine import Baselines, OnlineStrategy, discovery_evaluator, run_stages
from cgcd.engine.seeding import isolated_randomness
from cgcd.losses import separation_target
from cgcd.memory import pack
from cgcd.metrics import false_known_rate, identity_accuracy, stream_accuracies
from cgcd.models import Adapter, FixedFeatures, GCDModel
from cgcd.stages import OnlineScenario
from scenarios import OnlineProtocol, compose_online, features_online_scenario
from scenarios.features import read_features
from strategies import PHE, SMILE, PrototypeMemory, phe, prototype_memory, smile

LENGTHS = tuple(int(bits) for bits in os.environ.get("LENGTHS", "12 16 32").split())
SEEDS = tuple(int(seed) for seed in os.environ.get("SEEDS", "0 1 2 3 4").split())
STEPS = 1200
"""Of the labeled stage; half as many where half of the classes are hidden."""
PHE_SETTINGS = [
    {"prototypes_per_class": prototypes, "noise": noise, "wider": wider}
    for (prototypes, noise), wider in product(
        ((10, 0.0), (1, 0.02), (1, 0.03), (1, 0.04)), (0, 2, 4)
    )
]
"""`wider` adds bits to the separation of the rule. What is stored and goes to the real stream is
the separation in bits that was tried, for the rule gives another one for twice the classes."""
SMILE_SETTINGS = [{"noise": 0.0}]
COLUMNS = (
    "strict/all strict/known strict/novel pruned/all greedy/all identity/known identity/false_known"
).split()


def chosen_classes(path: Path, number: int, folder: Path) -> Path:
    """A file of 2 * `number` classes of another: the first ones, or drawn where there are more."""
    data = read_features(path)
    classes = np.unique(data.targets)
    if len(classes) > 2 * number:
        classes = np.random.default_rng(0).permutation(classes)[: 2 * number]
    kept = np.isin(data.targets, classes)
    place = np.empty(classes.max() + 1, np.int64)
    place[classes] = np.arange(len(classes))
    out = folder / "classes.npz"
    np.savez(out, f=data.vectors[kept], y=place[data.targets[kept]])
    return out


def hidden_problem(path: Path, number: int, seed: int, folder: Path) -> Path:
    """The labeled embeddings of a base stage alone, their classes in a random order."""
    data = read_features(path)
    labeled = compose_online(data.targets, protocol(number), seed).labeled
    order = np.random.default_rng(seed).permutation(number)
    out = folder / f"hidden_{seed}.npz"
    np.savez(out, f=data.vectors[labeled], y=order[data.targets[labeled]])
    return out


def protocol(number: int) -> OnlineProtocol:
    return OnlineProtocol(num_known=number, num_novel=number, order="shuffled")


def run(
    path: Path,
    number: int,
    method: str,
    length: int,
    seed: int,
    setting: dict[str, Any],
    num_steps: int = STEPS,
) -> tuple[OnlineStrategy, OnlineScenario, dict[str, float]]:
    """Train, answer the stream, and give the row of the whole of it."""
    model = drawn_model(path, seed, projection_hidden=16, projection_dim=8)
    scenario = stream_of(path, number, seed, model, setting["noise"])
    base = phe.BASE if method == "phe" else smile.BASE
    steps = -(-len(scenario.train_stream[0].dataset) // base.batch_size)
    common: dict[str, Any] = {
        "model": model,
        "code_length": length,
        "base": replace(base, epochs=max(1, num_steps // steps)),
        "seed": seed,
        "hash_hidden": 512,
        "observe_batch_size": 512,
        "evaluator": discovery_evaluator(Baselines(), loss_terms=False),
    }
    if method == "phe":
        strategy = PHE(
            separation=setting["separation"],
            prototypes_per_class=setting["prototypes_per_class"],
            **common,
        )
    else:
        strategy = SMILE(**common)
    return strategy, scenario, dict(run_stages(strategy, scenario).rows[-1])


def drawn_model(path: Path, seed: int, learns: bool = True, **projection: int) -> GCDModel:
    """An adapter of the embeddings, or nothing but them."""
    dim = read_features(path).vectors.shape[1]
    with isolated_randomness(seed, "model"):
        backbone = Adapter(dim, 512) if learns else FixedFeatures(dim, norm=False)
        return GCDModel(backbone, tail_units="all", **projection)


def stream_of(path: Path, number: int, seed: int, model: GCDModel, noise: float) -> OnlineScenario:
    return features_online_scenario(
        inputs=model.inputs,
        data_root=path,
        protocol=protocol(number),
        seed=seed,
        noise=noise,
        window=10**6,
    )


def prototypes(path: Path, number: int) -> None:
    """Rows of the prototype memory, its bound and its leader."""
    print_header()
    for tuned in (False, True):
        lines: dict[str, list[dict[str, float]]] = {}
        started = time.perf_counter()
        for seed in SEEDS:
            model = drawn_model(path, seed, tuned, projection_hidden=256, projection_dim=64)
            scenario = stream_of(path, number, seed, model, 0.02 if tuned else 0.0)
            base = prototype_memory.BASE
            steps = -(-len(scenario.train_stream[0].dataset) // base.batch_size)
            strategy = PrototypeMemory(
                model=model,
                base=replace(base, epochs=max(1, STEPS // steps)),
                tune_base=tuned,
                seed=seed,
                observe_batch_size=512,
                evaluator=discovery_evaluator(Baselines(), loss_terms=False),
            )
            row = dict(run_stages(strategy, scenario).rows[-1])
            print(f"seed {seed}: {strategy.report['thresholds']}")
            name = f"prototypes, {'tuned' if tuned else 'as they come'}"
            lines.setdefault(name, []).append(row)
            for part_name, part in parts_of(row):
                lines.setdefault(f"  its {part_name}", []).append(part)
        print_rows(lines)
        print(f"  {(time.perf_counter() - started) / len(SEEDS):.0f} s a seed")


def distances_to_the_bar(row: dict[str, float]) -> tuple[float, float, float]:
    """Novel above the bound's and known identity above the bound's, in points, and the count."""
    return (
        100 * (row["strict/novel"] - row["bound/closed_set_strict_novel"]),
        100 * (row["identity/known"] - row["bound/closed_set_identity_known"]),
        row["stream/created"] / row["stream/true_novel"],
    )


def margin(novel: float, named: float, ratio: float) -> float:
    """How far inside the bar a setting is where it is nearest to it; below 0 it fails.

    The bar: novel at least 5 points above the bound's, named at most 3 below it, categories created
    0.5 to 3 times the true ones; a factor of e counts as much as 10 points.
    """
    return min(novel - 5, named + 3, 10 * math.log(3 / ratio), 10 * math.log(ratio / 0.5))


def choose(path: Path, number: int, folder: Path, out: Path) -> None:
    problems = {seed: hidden_problem(path, number, seed, folder) for seed in range(2)}
    known = number // 2
    picked: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    for method, settings in (("phe", PHE_SETTINGS), ("smile", SMILE_SETTINGS)):
        for length in LENGTHS:
            tried = []
            for tried_setting in settings:
                setting = dict(tried_setting)
                if method == "phe":
                    wider = int(setting.pop("wider"))
                    setting["separation"] = separation_target(length, known) + wider
                started = time.perf_counter()
                rows = [
                    run(problem, known, method, length, seed, setting, STEPS // 2)[2]
                    for seed, problem in problems.items()
                ]
                strict = 100 * float(np.mean([row["strict/all"] for row in rows]))
                if method == "phe":
                    gaps = np.mean([distances_to_the_bar(row) for row in rows], axis=0)
                    novel, named, ratio = (float(value) for value in gaps)
                    inside = margin(novel, named, ratio)
                    note = (
                        f"novel {novel:+5.1f}  named {named:+5.1f}  categories x {ratio:4.2f}"
                        f"  margin {inside:+5.1f}"
                    )
                else:
                    inside, note = strict, ""
                tried.append((inside, setting))
                seconds = time.perf_counter() - started
                print(f"{method} L {length} {setting}  All {strict:4.1f}  {note}  {seconds:.0f} s")
                sys.stdout.flush()
            picked[f"{method}-{length}"] = max(tried, key=lambda one: one[0])[1]
            print(f"chosen for {method}-{length}: {picked[f'{method}-{length}']}")
    out.write_text(json.dumps(picked, indent=1))


def ignored(strategy: OnlineStrategy, scenario: OnlineScenario) -> dict[str, float]:
    """The same codes answered by a book that does not know the known classes' centers."""
    strategy.known_centers = "ignored"  # type: ignore[attr-defined]
    with torch.no_grad():
        trunks = strategy.trunk_outputs(scenario.stream.dataset)
        codes = torch.cat([strategy.encode(trunk) for trunk, _ in trunks])
    book = strategy.new_book()
    ids = book.observe(pack(codes > 0)).ids
    scores = stream_accuracies(ids, scenario.truth, scenario.num_base)
    return {**scores, "stream/created": book.num_created}


def parts_of(row: dict[str, float]) -> Iterator[tuple[str, dict[str, float]]]:
    """The bound's and the leader's numbers under the names of the method's."""
    for name, front in (("bound", "bound/closed_set_"), ("leader", "floor/leader_")):
        found = {
            c: row[front + c.replace("/", "_")]
            for c in COLUMNS
            if front + c.replace("/", "_") in row
        }
        if name == "leader":
            found["stream/created"] = row["floor/leader_created"]
        yield name, found


def print_header() -> None:
    print(
        f"{'':28}"
        + "".join(f"{column.split('/')[-1][:11]:>13}" for column in COLUMNS)
        + "  created"
    )


def print_rows(lines: dict[str, list[dict[str, float]]]) -> None:
    """Mean and deviation over the seeds of each line."""
    for name, rows in lines.items():
        cells = []
        for column in (*COLUMNS, "stream/created"):
            values = [row[column] for row in rows if column in row]
            scale = 1 if column == "stream/created" else 100
            cells.append(
                f"{scale * np.mean(values):6.1f} ± {scale * np.std(values):4.1f}"
                if values
                else f"{'':13}"
            )
        print(f"{name:28}" + "".join(cells))
    sys.stdout.flush()


def table(path: Path, number: int, settings: dict[str, Any]) -> None:
    print_header()
    for method, length in product(("phe", "smile"), LENGTHS):
        setting = settings[f"{method}-{length}"]
        lines: dict[str, list[dict[str, float]]] = {}
        gaps = []
        for seed in SEEDS:
            strategy, scenario, row = run(path, number, method, length, seed, setting)
            lines.setdefault(f"{method} L {length}", []).append(row)
            if method == "phe":
                gaps.append(distances_to_the_bar(row))
                lines.setdefault("  centers ignored", []).append(ignored(strategy, scenario))
            for name, part in parts_of(row):
                lines.setdefault(f"  its {name}", []).append(part)
        print(f"{setting}")
        print_rows(lines)
        if gaps:
            novel, named, ratio = np.mean(gaps, axis=0)
            print(
                f"  to the bar: novel {novel:+.1f} (5), named {named:+.1f} (-3),"
                f" categories x {ratio:.2f} (0.5-3)",
                flush=True,
            )


def ceiling(path: Path, number: int) -> None:
    """What a novelty score of a linear classifier and an off-line k-means with k given reach."""
    print("kept   strict all/known/novel   named  false known")
    for kept in (0.99, 0.97, 0.95, 0.9, 0.8):
        rows = []
        for seed in SEEDS:
            data = read_features(path)
            cut = compose_online(data.targets, protocol(number), seed)
            vectors = data.vectors.astype(np.float32)
            vectors -= vectors[cut.labeled].mean(0)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            logits = linear(vectors[cut.labeled], cut.labels, vectors[cut.stream], seed)
            ids, score = logits.argmax(1), logits.max(1)
            right = ids == cut.truth
            rejected = score < np.quantile(score[right], 1 - kept)
            clusters = KMeans(number, n_init=3, random_state=seed)
            ids[rejected] = number + clusters.fit_predict(vectors[cut.stream][rejected])
            scores = stream_accuracies(ids, cut.truth, number)
            rows.append(
                [
                    *(scores[f"strict/{part}"] for part in ("all", "known", "novel")),
                    identity_accuracy(ids, cut.truth, number),
                    false_known_rate(ids, cut.truth, number),
                ]
            )
        print(
            f"{kept:4.2f}  " + " / ".join(f"{100 * value:5.1f}" for value in np.mean(rows, axis=0))
        )


def linear(vectors: np.ndarray, labels: np.ndarray, stream: np.ndarray, seed: int) -> np.ndarray:
    """Logits of a linear classifier of the known classes, (N, K)."""
    rows, truth = torch.from_numpy(vectors), torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.zeros(int(truth.max()) + 1, rows.shape[1], requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=1e-2, weight_decay=1e-2)
    for _ in range(60):
        for part in torch.randperm(len(rows), generator=generator).split(128):
            loss = torch.nn.functional.cross_entropy(16 * rows[part] @ weight.T, truth[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return (torch.from_numpy(stream) @ weight.detach().T).numpy()


def main(source: str, classes: str, what: str, store: str = "chosen.json") -> None:
    torch.set_num_threads(1)
    number = int(classes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = chosen_classes(Path(source), number, folder)
        if what == "choose":
            choose(path, number, folder, Path(store))
        elif what == "table":
            table(path, number, json.loads(Path(store).read_text()))
            prototypes(path, number)
        elif what == "prototypes":
            prototypes(path, number)
        else:
            ceiling(path, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
