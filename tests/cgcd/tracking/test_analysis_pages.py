"""What TensorBoard gets of an analysis: tags, points, pictures, pages; hostile names stay text."""

from __future__ import annotations

import csv
import io
import runpy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from cgcd.tracking.analysis import Analysis, stored_analyses
from cgcd.tracking.gallery import gallery_pages
from cgcd.tracking.names import cell, drawn, markdown, one_line, short
from cgcd.tracking.pictures import pictures, png
from cgcd.tracking.projector import metadata_table, points_table, sprite
from cgcd.tracking.run_page import description

HOSTILE = ("<script>alert(1)</script>", "=cmd()", "a\tb\nc", "$x_{1}$ 木", "\u202eevil|*b*")


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory, quick_happy):
    """Two stages of digits with hostile names."""
    folder = tmp_path_factory.mktemp("digits")
    run = runpy.run_path(str(Path(__file__).parents[2] / "tiny_digits.py"))["run"]
    return folder, *run(folder, quick_happy, HOSTILE)


def accumulated(folder):
    accumulator = EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}
    )
    return accumulator.Reload()


def test_names():
    assert one_line(HOSTILE[2]) == "a b c" and "\u202e" not in one_line(HOSTILE[4])
    assert len(short("x" * 99, 20)) == 20 and short("abc", 20) == "abc"
    assert drawn(HOSTILE[3]).startswith(r"\$x_{1}\$") and "木" not in drawn(HOSTILE[3])
    assert "<" not in markdown(HOSTILE[0]) and markdown("a|b") == r"a\|b"
    assert cell("=1") == "'=1" and cell("\t=1") == "'=1"


def test_every_tag_of_the_table(digits_run):
    folder, _, _ = digits_run
    events = accumulated(folder)
    tags = events.Tags()
    scalars, stages = set(tags["scalars"]), [0, 1, 2]
    for tag in """test/accuracy/all test/held/base test/greedy/known test/agreement/nmi
        test/floor/kmeans_all test/bound/closed_set_all stage/num_classes stage/num_known
        stage/found
        share/predicted_base share/true_novel drift/direction_base drift/mean_feature seconds/train
        seconds/evaluate seconds/analysis seconds/checkpoint memory/peak_process_mib
        throughput/train_samples_per_second""".split():
        assert [e.step for e in events.Scalars(tag)] == stages, tag
    for tag in ("run/headline", "test/forgetting/m_f", "test/accuracy/novel"):
        assert [e.step for e in events.Scalars(tag)] == [1, 2], tag
    for module in ("tail", "projection", "head"):
        assert {f"train/gradient_norm/{module}", f"train/weight_norm/{module}"} <= scalars
    names = "class_accuracy group_accuracy confusion prediction_bias confidence drift"
    pages = [f"analysis/{name}" for name in names.split()]
    for tag in pages:
        assert [e.step for e in events.Images(tag)] == stages, tag
    for tag in ("analysis/count_evidence", "gallery/found_1"):
        assert [e.step for e in events.Images(tag)] == [1, 2], tag
    assert events.Images("gallery/base_1")[0].step == 0  # later only if a base row is predicted
    assert {"confidence/known", "confidence/novel", "novelty_score/known"} <= set(
        tags["histograms"]
    )
    assert "run/description/text_summary" in tags["tensors"]
    for tag in pages:
        event = events.Images(tag)[-1]
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        assert picture.size == (event.width, event.height)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 3


def test_settings_and_layout_lie_in_the_one_folder(digits_run):
    folder, _, _ = digits_run
    assert not [
        p for p in (folder / "tensorboard").rglob("events.*") if p.parent.name != "tensorboard"
    ]
    events = accumulated(folder)
    settings = events.SummaryMetadata("_hparams_/session_start_info")
    data = plugin_data_pb2.HParamsPluginData.FromString(settings.plugin_data.content)
    hparams = data.session_start_info.hparams
    assert hparams["strategy"].string_value == "Happy" and hparams["base.epochs"].number_value == 1
    ended = events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    assert plugin_data_pb2.HParamsPluginData.FromString(ended).session_end_info.status == 1
    tensor = events.Tensors("custom_scalars__config__")[0].tensor_proto
    layout = layout_pb2.Layout.FromString(tensor.string_val[0])
    assert [c.title for c in layout.category][:2] == ["Accuracy", "Forgetting"]
    text = events.Tensors("run/description/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "&lt;b&gt;" in text and r"1\|2" in text


def test_points_of_the_projector(digits_run):
    folder, _, scenario = digits_run
    place = folder / "tensorboard" / "projector" / "stage_2"
    analysis = stored_analyses(folder)[-1]
    config = (folder / "tensorboard" / "projector_config.pbtxt").read_text()
    assert config.index("stage_2") < config.index("stage_0")
    with (place / "metadata.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    targets = analysis.arrays["targets"][analysis.arrays["point_places"]]
    assert [row["true"] for row in rows] == [cell(scenario.class_names[t]) for t in targets]
    points = np.loadtxt(place / "points.tsv", delimiter="\t")
    assert points == pytest.approx(analysis.arrays["points"], rel=1e-3, abs=1e-3)
    side = int(np.ceil(np.sqrt(len(rows)))) * 32
    assert Image.open(place / "sprite.jpg").size == (side, side)


def test_thumbnails_are_the_images(digits_run):
    folder, _, scenario = digits_run
    row = stored_analyses(folder)[-1].facts["categories"][-1]
    sample = (row["central"] + row["random"])[0]
    pixels = np.asarray(Image.open(folder / "analysis" / sample["thumbnail"]))
    assert pixels.shape == (32, 32, 3)  # 16 pixels, shown larger
    for stage in scenario.test_stream:
        ids = list(stage.dataset.sample_id)
        if sample["sample"] in ids:
            plain = stage.dataset.eval()[ids.index(sample["sample"])][0] * 0.5 + 0.5
            wanted = (plain * 255).round().permute(1, 2, 0).numpy()
            assert np.abs(pixels[::2, ::2] - wanted).max() <= 1


def fabricated(number: int, stages: int = 2) -> Analysis:
    generator = np.random.default_rng(0)
    names = [*HOSTILE, *(f"class {k}" for k in range(number))][:number]
    arrays = {
        "predictions": np.arange(number),
        "class_accuracy": generator.random((number, stages)),
        "group_accuracy": generator.random((stages, stages)),
        "contingency": generator.integers(0, 9, (number, number)),
        "row_order": np.arange(number),
        "class_order": np.arange(number),
        "prediction_shares": np.full((stages, 3), 1 / 3),
        "truth_shares": np.full((stages, 3), 1 / 3),
        "confidence_all": np.arange(20),
        "novelty_all": np.arange(20),
        "bins": np.linspace(0, 1, 21),
        "direction_drift": generator.random((number, stages)),
        "mean_drift": generator.random((number, stages)),
    }
    image, known = {"thumbnail": "x.png", "sample": 1}, {"best_class_name": "a", "purity": 1}
    facts = {
        "setting": "continual",
        "stage": stages - 1,
        "truth": "all",
        "num_base": 2,
        "class_names": names,
        "category_names": names,
        "group_names": [f"stage {t}" for t in range(stages)],
        "columns": [str(t) for t in range(stages)],
        "categories": [
            {"id": k, "name": name, "sizes": [3], "central": [image], **known}
            for k, name in enumerate(names)
        ],
    }
    return Analysis("stage_1", arrays, facts, {"x.png": np.full((16, 16, 3), 99, np.uint8)})


@pytest.mark.parametrize("number", [1, 10, 100])
def test_labels_fit_and_do_not_overlap(number):
    for name, draw in pictures(fabricated(number)).items():
        figure = draw()
        assert isinstance(figure, Figure)
        assert png(figure)[:4] == b"\x89PNG"
        renderer = FigureCanvasAgg(figure).get_renderer()
        width, height = figure.bbox.width, figure.bbox.height
        titles = [box for letters in figure.artists for box in outlines(letters)]
        for place, box in enumerate(titles):
            assert box.x0 > -1 and box.x1 < width + 1 and box.y0 > -1 and box.y1 < height + 1, name
            assert not any(box.overlaps(other) for other in titles[place + 1 :]), name
        for axes in figure.axes:
            texts = [t.get_window_extent(renderer) for t in axes.texts if t.get_text()]
            letters = [outlines(c) for c in axes.collections if isinstance(c, PathCollection)]
            for box in (*texts, *(box for boxes in letters for box in boxes)):
                assert box.x0 > -1 and box.x1 < width + 1, name
                assert box.y0 > -1 and box.y1 < height + 1, name
                assert not any(box.overlaps(title) for title in titles), name
            if not letters:
                continue
            labels = letters[0]
            ends = round(min(box.x1 for box in labels))  # those of rows end at the same place
            column = [box for box in labels if round(box.x1) == ends]
            if name in ("class_accuracy", "confusion"):
                assert len(column) >= number - len(HOSTILE)
            for below, above in pairwise(sorted(column, key=lambda box: box.y0)):
                assert above.y0 >= below.y0 + 0.8 * below.height, name


def outlines(letters: PathCollection) -> list[Bbox]:
    """Boxes of texts that are drawn as outlines, in pixels."""
    places = letters.get_offset_transform().transform(letters.get_offsets())
    sized = [path.get_extents(letters.get_transform()) for path in letters.get_paths()]
    return [box.translated(*place) for box, place in zip(sized, places, strict=True)]


def test_a_blank_name_is_left_out():
    analysis = fabricated(4)
    analysis.facts["class_names"][:2] = ["", " \t"]
    for draw in pictures(analysis).values():
        assert png(draw())[:4] == b"\x89PNG"


def test_galleries_are_paged():
    pages = gallery_pages(fabricated(100))
    assert list(pages) == ["found_1", "found_2", "found_3", "base_1"]
    sizes = [Image.open(io.BytesIO(page)).size for page in pages.values()]
    assert max(height for _, height in sizes) < 2200 and len({width for width, _ in sizes}) == 1
    assert gallery_pages(Analysis("x", {}, {})) == {}


def test_small_pieces_of_the_projector():
    tiles = np.zeros((5, 64, 64, 3), np.uint8)
    tiles[4] = 255
    sheet = np.asarray(Image.open(io.BytesIO(sprite(tiles))).convert("L"))
    assert sheet.shape == (96, 96)
    assert sheet[48, 48] > 250 > 5 > sheet[16, 16]
    assert points_table(np.array([[1.23456, np.nan]])) == "1.235\t0\n"
    arrays = {"point_places": np.array([0]), "targets": [-1], "sample_ids": [7]}
    facts = {"class_names": [], "category_names": ["=a\tb"], "stage": 3}
    analysis = Analysis("x", {**arrays, "predictions": [0], "confidences": [0.5]}, facts)
    assert metadata_table(analysis).splitlines()[1] == "7\t\t'=a b\t3\t0.500"


def test_the_page_of_text_escapes():
    page = description(
        {
            "strategy": HOSTILE[0],
            "scenario": "a|b",
            "settings": {"x": HOSTILE[4]},
            "model": {"input": {"size": 3}},
            "composition": [{"stage": 0, "names": HOSTILE}],
        }
    )
    assert "<" not in page and "script" in page and r"model\.input\.size | 3" in page
