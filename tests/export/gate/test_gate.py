"""The accuracy gate's three outcomes, on the demo's nets and real photos."""

import json
import sys

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.cli.export import main
from hrnet_deploy.errors import MissingFileError, UsageError, VerificationError
from hrnet_deploy.evaluation import compare
from hrnet_deploy.export import AccuracyGateError, export_artifact, run
from hrnet_deploy.export.engine import build, plan
from hrnet_deploy.export.gate import gate, result
from hrnet_deploy.export.gate.gate import smallest_passing
from hrnet_deploy.export.source import read_card
from hrnet_deploy.exporters.convolutions import conv_precisions
from hrnet_deploy.spec import Precision


@pytest.mark.slow
@given(st.integers(0, 40), st.integers(1, 45))
def test_the_fewest_that_fit_are_found_in_few_tries(most, needed):
    tried = []
    found = smallest_passing(lambda count: tried.append(count) or count >= needed, most)
    assert found == (needed if needed <= most else None)
    assert len(set(tried)) == len(tried) <= 2 * max(1, most).bit_length() + 1
    assert all(1 <= count <= most for count in tried)


@given(st.lists(st.booleans(), max_size=20))
def test_what_is_found_fits_and_what_is_below_does_not(fitting):
    fits = [False, *fitting]
    found = smallest_passing(fits.__getitem__, len(fitting))
    assert found is None or (fits[found] and not fits[found - 1])


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A bad calibration: four pictures of faint noise, beyond whose range every photo is clipped."""
    folder = tmp_path_factory.mktemp("noise")
    pictures = np.random.default_rng(0).integers(124, 132, (4, 32, 32, 3), np.uint8)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


@pytest.fixture
def street(demo, shared, tmp_path):
    """Export the demo's street net with six scenes of ../shared to judge it."""

    def make(**options):
        wishes = {
            "weights": demo / "hrnetv2_w18_small_v1_street.pth",
            "imgsz": "96x128",
            "eval_data": shared / "data/street",
            "eval_limit": 6,
            "output": tmp_path / "street.onnx",
        }
        return export_artifact(**(wishes | options))

    return make


@pytest.fixture
def photos(demo, shared, tmp_path):
    """Export the demo's classifier with its gate on the photos in ../shared."""

    def make(name="photos.onnx", **options):
        wishes = {
            "weights": demo / "hrnet_w18_small_v1_photos10.safetensors",
            "imgsz": 64,
            "resize": "squash",
            "classes": demo / "photos10.txt",
            "eval_data": shared / "data/photos",
            "eval_limit": 60,
        }
        return export_artifact(output=tmp_path / name, **(wishes | options))

    return make


@pytest.mark.slow
def test_what_fits_is_written_with_its_figures(photos, photos_onnx, shared):
    done = photos(precision="fp16", max_drop=0.5)
    assert done.verdict.outcome == "fits"
    assert len(done.verdict.attempts) == 1
    card = read_card(done.path)
    assert {k: card.lineage[k] for k in ("gate", "gate_metric", "gate_kept", "gate_measured_on")} == {
        "gate": "fits",
        "gate_metric": "top-1",
        "gate_kept": "",
        "gate_measured_on": "onnxruntime cpu float32",
    }
    measured = card.measured
    assert (measured["gate_max_drop"], measured["gate_images"], measured["gate_attempts"]) == (0.5, 60, 1)
    assert measured["gate_float_share"] == 0
    # The figures are those that anyone finds who compares the files.
    again = compare(photos_onnx, [done.path], shared / "data/photos", limit=60)
    assert measured["gate_metric_reference"] == again.reference.metrics.top1
    assert measured["gate_metric"] == again.candidates[0].evaluation.metrics.top1
    assert measured["gate_drop"] == again.candidates[0].drop.points <= 0.5


@pytest.mark.slow
def test_an_executor_changes_nothing(street, noise, tmp_path):
    options = {"precision": "int8", "calib_data": noise, "calib_method": "minmax", "max_drop": 8.0}
    here = street(**options)
    there = street(**options, executor="processes:2")
    assert there.verdict == here.verdict
    assert there.card == here.card
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_executor_is_for_the_gate_and_checked_first(demo, tmp_path):
    weights = demo / "hrnet_w18_small_v1_photos10.safetensors"
    with pytest.raises(UsageError, match=r"--executor applies to exports with --max-drop"):
        export_artifact(weights=weights, output=tmp_path / "a.onnx", executor="processes:2")
    with pytest.raises(UsageError, match=r"executor must be one of processes:N, .* got 'threads:2'"):
        export_artifact(
            weights=weights, output=tmp_path / "a.onnx", executor="threads:2", max_drop=1, eval_data=tmp_path
        )


@pytest.mark.slow
def test_float32_is_measured_likewise(photos):
    done = photos(max_drop=0, pixels_in=True)
    assert done.verdict.outcome == "fits"
    assert done.card.measured["gate_drop"] <= 0


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.5, 8.0])
def test_a_bad_calibration_is_repaired(street, noise, budget):
    done = street(precision="int8", calib_data=noise, calib_method="minmax", max_drop=budget)
    found, chosen = done.verdict, done.verdict.chosen
    assert found.outcome == "repaired"
    assert found.attempts[0].drop.points > 8  # it is a bad calibration indeed
    assert found.attempts[0].kept == ()
    assert chosen.drop.points <= budget
    tried = {len(attempt.kept): attempt.drop.points for attempt in found.attempts}
    assert len(tried) == len(found.attempts)  # none was measured twice
    assert tried[len(chosen.kept) - 1] > budget  # a block less does not fit
    shares = sorted((len(a.kept), a.float_share) for a in found.attempts)
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    card = read_card(done.path)
    assert card.lineage["gate"] == "repaired"
    assert card.lineage["gate_kept"] == ",".join(chosen.kept)
    assert card.quantization.kept_in_float == chosen.kept
    assert card.measured["gate_drop"] == chosen.drop.points
    assert card.measured["gate_float_share"] == chosen.float_share > found.attempts[0].float_share
    floats = conv_precisions(onnx.load(done.path))
    assert Precision.INT8 in floats.values()
    assert not [name for name in floats if f"/{chosen.kept[0].replace('.', '/')}/" in name]


@pytest.mark.slow
def test_named_blocks_stay_beside_those_the_gate_moves(street, noise):
    done = street(precision="int8", calib_data=noise, calib_method="minmax", max_drop=8, keep_fp=("head",))
    kept = done.card.quantization.kept_in_float
    assert kept[0] == "head"
    assert kept[1:] == done.verdict.chosen.kept
    assert "head" not in done.verdict.chosen.kept


KEPT = (
    "stem", "transition1", "stage2.branch1", "transition2", "stage3.branch0", "stage3.branch1", "stage3.branch2",
    "stage3.fuse", "transition3", "stage4.branch0", "stage4.branch1", "stage4.branch2", "stage4.branch3",
    "stage4.fuse", "head",
)  # fmt: skip
"""All blocks but those that faint noise spoils most."""


@pytest.mark.slow
def test_what_cannot_be_repaired_is_refused_with_every_attempt(street, noise, tmp_path):
    with pytest.raises(AccuracyGateError, match=r"may lose 0\.5 points of mIoU, got .* Nothing was written") as caught:
        street(precision="int8", calib_data=noise, calib_method="minmax", max_drop=0.5, keep_fp=KEPT)
    error = caught.value
    assert error.exit_code == 3
    assert isinstance(error, VerificationError)
    found = error.verdict
    assert found.outcome == "missed"
    assert [len(attempt.kept) for attempt in found.attempts] == [0, 1, 2]  # one block must be left in INT8
    assert all(attempt.drop.points > 0.5 for attempt in found.attempts)
    assert found.chosen.drop.points == min(attempt.drop.points for attempt in found.attempts)
    assert len(str(found).splitlines()) == len(found.attempts) + 3
    assert [path.name for path in tmp_path.iterdir()] == ["street.calib.json"]


@pytest.mark.slow
def test_a_rejected_artefact_is_kept_on_demand_and_says_so(street, tmp_path):
    # Labels inside the graph are coarser than logits upsampled outside, which no block can win back.
    with pytest.raises(AccuracyGateError, match=r"street\.onnx was kept") as caught:
        street(max_drop=0.05, labels_out=True, keep_rejected=True)
    assert caught.value.path == tmp_path / "street.onnx"
    card = read_card(caught.value.path)
    assert card.lineage["gate"] == "missed"
    assert card.measured["gate_drop"] > 0.05


@pytest.mark.slow
def test_the_command_exits_with_3_and_shows_the_table(demo, shared, tmp_path, monkeypatch, capsys):
    words = ["--weights", demo / "hrnetv2_w18_small_v1_street.pth", "--imgsz", "96x128", "--labels-out"]
    words += ["--eval-data", shared / "data/street", "--eval-limit", 2, "--max-drop", 0.01, "--json"]
    monkeypatch.setattr(sys, "argv", ["hrnet-export", *map(str, words), "-o", str(tmp_path / "s.onnx")])
    assert main() == 3
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["path"] is None
    assert record["gate"]["outcome"] == "missed"
    assert "accuracy gate: fp32 may lose 0.01 points of mIoU" in err
    assert err.splitlines()[-1].startswith("hrnet-export: fp32 artifact may lose 0.01 points of mIoU, got ")


@pytest.mark.slow
def test_fp16_gives_up_block_by_block(street, monkeypatch):
    for module in (gate, result):
        monkeypatch.setattr(module, "within", lambda _drop, _max_drop: False)
    with pytest.raises(AccuracyGateError, match="use fp32") as caught:
        street(precision="fp16", max_drop=1.0)
    shares = [attempt.float_share for attempt in caught.value.verdict.attempts]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eval_data": None, "eval_limit": None}, r"--max-drop needs labeled images .* got no --eval-data"),
        ({"max_drop": -1}, r"--max-drop must be points from 0 up, got -1\."),
        ({"max_drop": float("nan")}, r"--max-drop must be points from 0 up, got nan\."),
        ({"eval_limit": 0}, r"--eval-limit must be 1 to 1000000000, got 0\."),
        ({"max_drop": None}, r"--eval-limit goes with --max-drop or --waterfall"),
        ({"max_drop": None, "eval_limit": None, "keep_rejected": True}, r"--keep-rejected goes with --max-drop"),
        ({"precision": "int8", "output": "s.engine", "int8_path": "implicit"}, r"--max-drop needs --int8-path qdq"),
        ({"max_drop": None, "waterfall": True, "output": "s.engine"}, r"--waterfall ends at an \.onnx file"),
    ],
)
def test_flags_that_do_not_go_together(street, options, message):
    with pytest.raises(UsageError, match=message):
        street(**({"max_drop": 0.5} | options))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_takes_what_was_judged(street, fake, noise, monkeypatch, tmp_path, precision):
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    api = fake("8.6.1")
    monkeypatch.setattr(plan, "find_api", lambda _backend: api)
    monkeypatch.setattr(plan, "_local_gpu", lambda _device: plan._Local("Tesla T4", "sm75"))
    monkeypatch.setattr(build, "_runs_here", lambda _plan: False)
    wishes = {"precision": precision, "output": tmp_path / "s.engine", "calib_data": noise, "max_drop": 20}
    if precision == "fp16":
        with pytest.raises(UsageError, match=r"takes FP16 from the graph \(10 or newer\), got 8\.6\.1"):
            street(**wishes)
        return
    done = street(**wishes)
    assert done.verdict.outcome == "fits"
    assert done.engine.facts.card.measured["gate_drop"] == done.verdict.chosen.drop.points
    written = onnx.load_from_string(api.module.state.graph)
    assert "QuantizeLinear" in {node.op_type for node in written.graph.node}
    assert api.module.state.config.int8_calibrator is None


@pytest.mark.slow
def test_images_without_labels_are_one_line_before_any_work(street, photos, noise, shared, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "make_reference_batches", None)  # nothing runs
    with pytest.raises(UsageError, match=r"--max-drop needs labels: .* Give --eval-data with class folders"):
        photos(max_drop=1, eval_data=noise)
    with pytest.raises(UsageError, match=r"--max-drop needs labels: .*laid out as leftImg8bit/"):
        street(max_drop=1, eval_data=shared / "data/photos")
    with pytest.raises(MissingFileError, match="must exist"):
        street(max_drop=1, eval_data=tmp_path / "nothing")


@pytest.mark.slow
def test_calibration_images_among_the_judging_ones_are_refused(street, shared):
    own = {"precision": "int8", "calib_data": shared / "data/street/leftImg8bit/val", "allow_val": True}
    with pytest.raises(UsageError, match="calibration images must not be evaluation images too"):
        street(max_drop=1, **own)
    assert street(max_drop=5, allow_overlap=True, calib_images=4, **own).verdict.passed


def test_an_artefact_compiled_as_it_is_has_nothing_to_lose_against(photos_onnx, shared, tmp_path):
    with pytest.raises(UsageError, match="got an artifact that is compiled as it is"):
        export_artifact(str(photos_onnx), output=tmp_path / "p.engine", max_drop=1, eval_data=shared / "data/photos")
