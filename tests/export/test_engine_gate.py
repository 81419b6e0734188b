"""The accuracy gate on an engine: measured itself where it opens, predicted from its graph where it does not."""

import hashlib
import json
import sys

import cv2
import pytest

from hrnet_deploy.artifact.engine_sidecar import read_sidecar, sidecar_path
from hrnet_deploy.cli.export import main
from hrnet_deploy.evaluation import compare
from hrnet_deploy.export import AccuracyGateError, export_artifact
from hrnet_deploy.export.quantize.fp16 import Fp16Converter
from hrnet_deploy.export.quantize.int8 import Int8Converter
from hrnet_deploy.imaging.synthetic_images import synthetic_images

MEASURED = "measured on tensorrt cuda:0 int8"
PREDICTED = "predicted for TensorRT from onnxruntime cpu int8 and float32"
STILL = (
    "stem", "transition1", "stage2.branch1", "transition2", "stage3.branch0", "stage3.branch1", "stage3.branch2",
    "transition3", "stage4.branch0", "stage4.branch1", "stage4.branch2", "stage4.branch3", "head",
)  # fmt: skip
ORDER = ("layer1", "stage2.branch0", "stage3.fuse", "stage2.fuse")
"""Those that may follow; stage4.fuse is left in INT8."""


@pytest.fixture
def order(monkeypatch):
    """Set which blocks are the most sensitive, which takes long to measure and has its own tests."""

    def chosen(blocks):
        for converter in (Fp16Converter, Int8Converter):
            monkeypatch.setattr(converter, "sensitivity_order", lambda _self: blocks)

    chosen(ORDER)
    return chosen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures to calibrate on."""
    folder = tmp_path_factory.mktemp("made")
    for index, picture in enumerate(synthetic_images(16, (64, 64))):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


@pytest.fixture
def wishes(demo, shared, made, order, tmp_path):
    """The demo's classifier as an engine with five blocks in INT8, that may lose five points on a hundred photos."""
    return {
        "weights": demo / "hrnet_w18_small_v1_photos10.safetensors",
        "imgsz": 64,
        "resize": "squash",
        "classes": demo / "photos10.txt",
        "precision": "int8",
        "calib_data": made,
        "calib_cache": made.with_suffix(".json"),
        "keep_fp": STILL,
        "eval_data": shared / "data/photos",
        "eval_limit": 100,
        "max_drop": 5.0,
        "output": tmp_path / "out" / "photos.engine",
    }


def in_precision(wishes, precision):
    """What applies to an engine of that precision."""
    only_int8 = () if precision == "int8" else ("calib_cache", "keep_fp")
    return {name: value for name, value in wishes.items() if name not in only_int8} | {"precision": precision}


def names(path):
    return sorted(p.name for p in path.iterdir())


def standings(verdict):
    return [str(attempt.runtime_status) for attempt in verdict.attempts]


@pytest.mark.slow
def test_an_engine_that_opens_here_is_measured_itself(gpu, wishes, photos_onnx, shared):
    here = gpu()
    done = export_artifact(**wishes)
    verdict = done.verdict
    assert verdict.outcome == "fits"
    assert standings(verdict) == [PREDICTED, MEASURED]
    assert verdict.chosen is verdict.attempts[1]
    assert verdict.predicted is verdict.attempts[0]
    assert f"fits, {MEASURED}; predicted from its graph were" in str(verdict)
    card = read_sidecar(sidecar_path(done.path)).card
    assert card == done.card == done.engine.facts.card
    assert (card.lineage["gate"], card.lineage["gate_status"]) == ("fits", "measured")
    assert card.lineage["gate_measured_on"] == "tensorrt cuda:0 int8"
    assert card.measured["gate_predicted_drop"] == verdict.attempts[0].drop.points
    assert card.measured["gate_predicted_metric"] == verdict.attempts[0].value
    assert done.size_bytes == sum(p.stat().st_size for p in done.path.parent.iterdir())
    assert here.leftovers == 0
    # The figures are those that anyone finds who compares the files.
    (again,) = compare(photos_onnx, [done.path], shared / "data/photos", limit=100).candidates
    assert card.measured["gate_drop"] == again.drop.points
    assert card.measured["gate_metric"] == again.evaluation.metrics.top1


@pytest.mark.slow
def test_an_engine_that_loses_more_than_its_graph_is_repaired(gpu, wishes, tmp_path):
    here = gpu()
    # All that are built lose much but the fourth, which has four blocks more in floating point.
    here.biased = lambda before: len(before) != 3
    done = export_artifact(**wishes)
    verdict, card = done.verdict, done.card
    assert verdict.outcome == card.lineage["gate"] == "repaired"
    assert standings(verdict) == [PREDICTED, *[MEASURED] * 5]
    predicted, *measured = verdict.attempts
    assert [len(attempt.kept) for attempt in measured] == [0, 1, 2, 4, 3]  # what was predicted to fit comes first
    assert [attempt.drop.points > 5 for attempt in (predicted, *measured)] == [False, True, True, True, False, True]
    assert len(set(here.built)) == 5
    assert here.built[:4] == sorted(here.built[:4], reverse=True)
    assert verdict.chosen is measured[3]
    # What lies there is the one that was chosen, although not the last that was built, and nothing else.
    assert names(tmp_path / "out") == ["photos.engine", "photos.engine.json"]
    assert read_sidecar(sidecar_path(done.path)) == done.engine.facts
    assert hashlib.sha256(done.path.read_bytes()).hexdigest() == done.engine.facts.plan_sha256
    assert card.lineage["gate_kept"] == ",".join(ORDER)
    assert card.quantization.kept_in_float == (*STILL, *ORDER)
    assert card.measured["gate_drop"] == verdict.chosen.drop.points
    assert card.measured["gate_float_share"] == verdict.chosen.float_share > predicted.float_share
    assert "gate_predicted_drop" not in card.measured  # nothing was predicted of these blocks


@pytest.mark.slow
def test_an_engine_that_cannot_be_repaired_is_refused(gpu, wishes, order, tmp_path):
    here = gpu()
    order(ORDER[:2])
    here.biased = lambda _before: True
    with pytest.raises(AccuracyGateError, match=rf"\({MEASURED}\) at best in .* Nothing was written") as caught:
        export_artifact(**wishes)
    assert caught.value.exit_code == 3
    verdict = caught.value.verdict
    assert verdict.outcome == "missed"
    assert verdict.attempts[0].drop.points <= 5  # as far as its graph can tell
    assert [attempt.kept for attempt in verdict.attempts] == [(), (), ORDER[:1], ORDER[:2]]
    assert len(here.built) == 3
    assert names(tmp_path / "out") == []
    assert here.leftovers == 0


@pytest.mark.slow
def test_a_rejected_engine_is_kept_on_demand_and_says_so(gpu, wishes, order):
    order(())
    gpu().biased = lambda _before: True
    with pytest.raises(AccuracyGateError, match=r"photos\.engine was kept") as caught:
        export_artifact(**wishes, keep_rejected=True)
    card = read_sidecar(sidecar_path(caught.value.path)).card
    assert (card.lineage["gate"], card.lineage["gate_status"]) == ("missed", "measured")
    assert card.measured["gate_drop"] > 5 >= caught.value.verdict.attempts[0].drop.points


@pytest.mark.slow
def test_an_engine_that_takes_no_single_picture_is_filled_up(gpu, wishes):
    gpu()
    done = export_artifact(**in_precision(wishes, "fp32") | {"batch": "4:8:16", "eval_limit": 30})
    assert standings(done.verdict) == [
        "predicted for TensorRT from onnxruntime cpu float32", "measured on tensorrt cuda:0 float32 or TF32"
    ]  # fmt: skip
    assert done.verdict.chosen.agreement == done.engine.parity.agreement == 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_engine_for_another_gpu_is_predicted(gpu, wishes, precision, monkeypatch, capsys):
    gpu("sm90")
    wishes = in_precision(wishes, precision)
    wishes |= {"keep_fp": ",".join(STILL)} if precision == "int8" else {}
    words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in wishes.items()).split()
    monkeypatch.setattr(sys, "argv", ["hrnet-export", *words, "--json"])
    assert main() == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    arithmetic = "int8 and float32" if precision == "int8" else "float32"
    assert record["gate"]["status"] == "predicted for TensorRT"
    assert record["gate"]["measured_on"] == f"onnxruntime cpu {arithmetic}"
    assert [attempt["status"] for attempt in record["gate"]["attempts"]] == ["predicted for TensorRT"]
    assert record["lineage"]["gate_status"] == "predicted for TensorRT"
    assert "gate_predicted_drop" not in record["measured"]
    assert f"fits, predicted for TensorRT from onnxruntime cpu {arithmetic}" in err
