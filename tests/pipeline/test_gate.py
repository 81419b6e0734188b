"""The accuracy gate's three outcomes, on the demo's nets and real photos."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.evaluation import compare
from hrnet_deploy.pipeline import GateMissedError, export_artifact
from hrnet_deploy.pipeline.gate import fewest
from hrnet_deploy.pipeline.origin import own_card


@given(st.integers(0, 40), st.integers(1, 45))
def test_the_fewest_that_fit_are_found_in_few_tries(most, needed):
    tried = []
    found = fewest(lambda count: tried.append(count) or count >= needed, most)
    assert found == (needed if needed <= most else None)
    assert len(set(tried)) == len(tried) <= 2 * max(1, most).bit_length() + 1
    assert all(1 <= count <= most for count in tried)


@given(st.lists(st.booleans(), max_size=20))
def test_what_is_found_fits_and_what_is_below_does_not(fitting):
    fits = [False, *fitting]
    found = fewest(fits.__getitem__, len(fitting))
    assert found is None or (fits[found] and not fits[found - 1])


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A bad calibration: four pictures of faint noise, beyond which every photo is clipped."""
    folder = tmp_path_factory.mktemp("grey")
    noise = np.random.default_rng(0).integers(124, 132, (4, 32, 32, 3), np.uint8)
    for index, picture in enumerate(noise):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


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


def test_what_fits_is_written_with_its_figures(photos, photos_onnx, shared):
    done = photos(precision="fp16", max_drop=0.5)
    assert done.verdict.outcome == "fits"
    assert len(done.verdict.attempts) == 1
    card = own_card(done.path)
    assert {k: card.lineage[k] for k in ("gate", "gate_metric", "gate_kept", "gate_measured_on")} == {
        "gate": "fits",
        "gate_metric": "top-1",
        "gate_kept": "",
        "gate_measured_on": "onnxruntime cpu",
    }
    measured = card.measured
    assert (measured["gate_max_drop"], measured["gate_images"], measured["gate_attempts"]) == (0.5, 60, 1)
    assert measured["gate_float_share"] == 0
    # The figures are those that anyone finds who compares the files.
    again = compare(photos_onnx, [done.path], shared / "data/photos", limit=60)
    assert measured["gate_metric_reference"] == again.reference.metrics.top1
    assert measured["gate_metric"] == again.candidates[0].evaluation.metrics.top1
    assert measured["gate_drop"] == again.candidates[0].drop.points <= 0.5


def test_float32_is_measured_likewise(photos):
    done = photos(max_drop=0, pixels_in=True)
    assert done.verdict.outcome == "fits"
    assert done.card.measured["gate_drop"] <= 0


def test_a_bad_calibration_is_repaired_or_refused_and_never_passes(photos, grey, tmp_path):
    for budget in (0.5, 8.0):
        try:
            done = photos(precision="int8", calib_data=grey, calib_method="minmax", max_drop=budget)
        except GateMissedError as error:
            verdict = error.verdict
            assert error.exit_code == 3
            assert not (tmp_path / "photos.onnx").exists()
        else:
            verdict = done.verdict
            assert verdict.outcome == "repaired"
            assert verdict.chosen.drop.points <= budget
            assert done.card.lineage["kept_fp"] == ",".join(verdict.chosen.kept)
            assert done.card.measured["gate_drop"] == verdict.chosen.drop.points
            assert done.path.exists()
        assert verdict.attempts[0].drop.points > budget  # it is a bad calibration indeed
        assert len(verdict.attempts) > 1
