"""A folder of real photos without labels, from end to end: what Happy makes of it.

    python tests/benchmarks/grocery_folder.py FOLDER [--quick] [--seed N] [KEY=VALUE ...]

Writes the Grocery photos into FOLDER/photos as somebody would have them: 20 known classes in class
folders, then three folders without labels, each with 5 new classes among photos of those met
before; ten files are damaged and three are copies. `cgcd run scenario=folder` then sees
no truth and counts the classes itself. The truth, which lies beside in FOLDER/truth.csv, is opened
afterwards: accuracies from predictions/stage_<t>.csv, and FOLDER/categories.png, a contact sheet of
the discovered categories, each photo framed red that is not of its category's main class.
`--quick` takes a few photos of fewer classes and one epoch: it shows that everything works. Other
overrides of the config follow as they are.

$CGCD_FIXTURES names the folder with data and weights.

Data: Grocery Store (Klasson et al., WACV 2019), MIT; MobileNetV2 from ImageNet labels.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cgcd.cli.main import main as cgcd
from cgcd.metrics import held_accuracy, joint_accuracy

SHARED = Path(os.environ["CGCD_FIXTURES"])
GROUPS = ("all", "known", "novel")
DAMAGED, COPIES = 10, 3
LABELED, AT_FIRST_STAGE = 0.5, 0.7  # of a known class; of a novel one, where later stages follow
SIDE, ACROSS, MARGIN, TEXT = 72, 14, 6, 230  # pixels, photos, pixels, pixels


@dataclass(frozen=True)
class Plan:
    """How large everything is."""

    num_known: int
    novel_per_stage: int
    per_class: int
    settings: tuple[str, ...]


FULL = Plan(
    num_known=20,
    novel_per_stage=5,
    per_class=1000,
    settings=(
        "model.input_size=128",
        "model.tail_units=1",  # the last inverted residual block and what follows it
        "strategy.base.epochs=15",
        "strategy.base.batch_size=64",
        "strategy.base.optimizer.lr=0.02",
        "strategy.continual.epochs=10",
        "strategy.continual.batch_size=64",
        "strategy.continual.optimizer.lr=0.01",
    ),
)
QUICK = Plan(
    num_known=5,
    novel_per_stage=2,
    per_class=16,
    settings=(
        "model.input_size=64",
        "model.tail_units=1",
        "model.projection_hidden=64",
        "scenario.max_skipped=0.1",  # ten damaged files are many among so few
        "strategy.base.epochs=1",
        "strategy.base.batch_size=16",
        "strategy.continual.epochs=1",
        "strategy.continual.batch_size=16",
    ),
)


def write_photos(folder: Path, plan: Plan, seed: int) -> None:
    """FOLDER/photos/known/<class>/*, FOLDER/photos/stage<t>/** and FOLDER/truth.csv."""
    with np.load(SHARED / "data" / "grocery81_96jpg.npz") as file:
        data = dict(file)
    generator = np.random.default_rng(seed)
    shutil.rmtree(folder / "photos", ignore_errors=True)
    count = plan.num_known + 3 * plan.novel_per_stage
    chosen = generator.permutation(len(data["classes"]))[:count]
    truth = [("path", "class")]
    for order, label in enumerate(chosen.tolist()):
        name = str(data["classes"][label])
        rows = generator.permutation(np.flatnonzero(data["y"] == label))[: plan.per_class]
        first = (
            0 if order < plan.num_known else 1 + (order - plan.num_known) // plan.novel_per_stage
        )
        share = (LABELED, AT_FIRST_STAGE, AT_FIRST_STAGE, 1.0)[first]
        cut = round(share * len(rows))
        later = np.array_split(rows[cut:], max(3 - first, 1))
        for stage, part in enumerate((rows[:cut], *later), start=first):
            for row in part.tolist():
                inner = f"known/{name}" if stage == 0 else f"stage{stage}/week{row % 4}"
                path = f"{inner}/{row:05d}.{'png' if row % 10 == 0 else 'jpg'}"
                content = data["jpg"][data["off"][row] : data["off"][row + 1]].tobytes()
                _save(folder / "photos" / path, content)
                if stage:
                    truth.append((path, name))
    _damage(folder, generator)
    with open(folder / "truth.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(truth)


def scores(run: Path, folder: Path) -> list[dict[str, float]]:
    """Accuracies of each stage over the unlabeled photos so far, from the predictions alone."""
    truth = _truth(folder)
    base = json.loads((run / "results.json").read_text())["composition"][0]["novel_classes"]
    known_names = sorted(path.name for path in (folder / "photos/known").iterdir())
    row_of = {name: row for row, name in enumerate(known_names)}
    table = []
    for stage in (1, 2, 3):
        lines = [line for line in _predictions(run, stage) if line["path"] in truth]
        before = len(row_of)
        for name in sorted({truth[line["path"]] for line in lines} - row_of.keys()):
            row_of[name] = len(row_of)
        targets = np.array([row_of[truth[line["path"]]] for line in lines])
        guesses = np.array([int(line["category"]) for line in lines])
        joint = joint_accuracy(guesses, targets, len(base), before)
        held = held_accuracy(guesses, targets, len(base), before)
        table.append(
            {
                "stage": stage,
                "photos": len(lines),
                "new_categories": len({g for g in guesses.tolist() if g >= len(base)}),
                "new_classes": len(row_of) - len(base),
                **{f"joint_{group}": value for group, value in joint.items()},
                **{f"held_{group}": value for group, value in held.items()},
            }
        )
    return table


def contact_sheet(run: Path, folder: Path, seed: int) -> Image.Image:
    """Photos of every discovered category after the last stage, a row each, drawn at random."""
    truth, members = _truth(folder), {}
    for line in _predictions(run, 3):
        if line["is_new"] == "1" and line["path"] in truth:
            members.setdefault(int(line["category"]), []).append(line["path"])
    generator, font = np.random.default_rng(seed), ImageFont.load_default(13)
    step = SIDE + MARGIN
    sheet = Image.new("RGB", (TEXT + ACROSS * step, max(len(members), 1) * step + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (category, paths) in enumerate(sorted(members.items())):
        top = MARGIN + place * step
        main, most = Counter(truth[path] for path in paths).most_common(1)[0]
        text = f"new-{category}: {len(paths)} photos\n{most / len(paths):.0%} {main}"
        draw.text((MARGIN, top + 18), text, fill="black", font=font)
        shown = generator.permutation(len(paths))[:ACROSS].tolist()
        for column, index in enumerate(shown):
            left = TEXT + column * step
            with Image.open(folder / "photos" / paths[index]) as image:
                sheet.paste(image.convert("RGB").resize((SIDE, SIDE)), (left, top))
            if truth[paths[index]] != main:
                box = (left - 2, top - 2, left + SIDE + 1, top + SIDE + 1)
                draw.rectangle(box, outline="red", width=3)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given, overrides = parser.parse_known_args()
    folder, plan = given.folder, QUICK if given.quick else FULL
    folder.mkdir(parents=True, exist_ok=True)
    write_photos(folder, plan, given.seed)
    photos, runs = folder / "photos", folder / "runs"
    before = set(runs.glob("*/results.json"))
    weights = SHARED / "weights" / "mobilenetv2_100_imagenet_fp16.safetensors"
    code = cgcd(
        [
            "run",
            "scenario=folder",
            f"scenario.labeled={photos / 'known'}",
            f"scenario.stages=[{','.join(str(photos / f'stage{t}') for t in (1, 2, 3))}]",
            "model=mobilenetv2",
            f"model.weights={weights}",
            f"seed={given.seed}",
            f"runs_root={runs}",
            *plan.settings,
            *overrides,
        ]
    )
    if code:
        raise SystemExit(code)
    made = set(runs.glob("*/results.json"))
    newest = max(made - before or made, key=lambda path: path.stat().st_mtime)
    table = scores(newest.parent, folder)
    (folder / "scores.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    contact_sheet(newest.parent, folder, given.seed).save(folder / "categories.png")
    print("\nafterwards, with the truth: percent of the unlabeled photos so far")
    print("stage photos  new: found true   All/Known/Novel   known by own name, All/Known/Novel")
    for row in table:
        cells = "      ".join(
            "/".join(f"{100 * row.get(f'{kind}_{group}', float('nan')):5.1f}" for group in GROUPS)
            for kind in ("joint", "held")
        )
        counts = f"{row['new_categories']:>10} {row['new_classes']:>4}"
        print(f"{row['stage']:>5} {row['photos']:>6} {counts}   {cells}")
    print(f"contact sheet: {folder / 'categories.png'}")


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        with Image.open(io.BytesIO(content)) as image:
            image.save(path)
    else:
        path.write_bytes(content)


def _damage(folder: Path, generator: np.random.Generator) -> None:
    """Cut off, empty or replace ten files; leave copies of three others."""
    files = sorted(path for path in (folder / "photos").rglob("*") if path.is_file())
    picked = generator.permutation(len(files))[: DAMAGED + COPIES].tolist()
    for place, index in enumerate(picked):
        path = files[index]
        whole = path.read_bytes()
        if place < DAMAGED:
            path.write_bytes((whole[: len(whole) // 2], b"", b"no image")[place % 3])
        else:
            (folder / "photos" / "stage3" / f"copy{place}{path.suffix}").write_bytes(whole)


def _truth(folder: Path) -> dict[str, str]:
    with open(folder / "truth.csv", newline="", encoding="utf-8") as file:
        return {row["path"]: row["class"] for row in csv.DictReader(file)}


def _predictions(run: Path, stage: int) -> list[dict[str, Any]]:
    path = run / "predictions" / f"stage_{stage}.csv"
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
