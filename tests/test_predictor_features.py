"""Predictor.features: the sources, batches and streams of predict, with features as results."""

import numpy as np
import pytest
from helpers.image_content import save_images

from hrnet_deploy import FeatureResult, Predictor, UsageError

MAPS = ["map_4", "map_8", "map_16", "map_32"]


@pytest.fixture(scope="module")
def predictor(features_onnx):
    return Predictor(features_onnx, device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Five images of different sizes."""
    return save_images(tmp_path)


def test_one_image_gives_one_result_and_a_folder_a_list(predictor, folder, picture):
    found = predictor.features(picture)
    assert isinstance(found, FeatureResult)
    assert (found.pooled.shape, found.pooled.dtype) == ((2048,), np.float32)
    assert {name: array.shape for name, array in found.maps.items()} == {
        "map_4": (16, 16, 16),
        "map_8": (32, 8, 8),
        "map_16": (64, 4, 4),
        "map_32": (128, 2, 2),
    }
    assert list(found.arrays()) == ["pooled", *MAPS]
    assert set(found.speed) == {"preprocess", "inference", "postprocess"}
    several = predictor.features(folder, batch=2)
    assert [type(one) for one in several] == [FeatureResult] * 5
    assert [one.name for one in several] == [one.name for one in predictor.predict(folder)]


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_and_streams_give_the_features_of_single_images(predictor, folder, batch):
    streamed = predictor.features(folder, stream=True, batch=batch)
    assert not isinstance(streamed, list)
    for found in streamed:
        single = predictor.features(found.path)
        for name, array in single.arrays().items():
            assert found.arrays()[name].base is None  # not a view of the whole batch
            np.testing.assert_allclose(found.arrays()[name], array, atol=1e-4)


def test_features_are_what_the_graph_computes_and_normalized_has_length_one(predictor, picture):
    row = predictor.pipeline.preprocessor(picture)
    found, wanted = predictor.features(picture), predictor.infer(row[None])
    for name, array in found.arrays().items():
        np.testing.assert_array_equal(array, wanted[name][0])
    unit = found.normalized()
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(found.pooled), found.pooled, rtol=1e-5)


def test_an_unreadable_image_is_skipped_where_errors_are_taken(predictor, folder):
    (folder / "broken.png").write_bytes(b"no image")
    skipped = []
    assert len(predictor.features(folder, on_error=lambda name, _error: skipped.append(name))) == 5
    assert [name.rpartition("/")[2] for name in skipped] == ["broken.png"]


def test_an_artifact_without_features_names_the_flag(photos_onnx, picture):
    with Predictor(photos_onnx, device="cpu") as plain, pytest.raises(UsageError, match="Export it with --features"):
        plain.features(picture)


@pytest.mark.parametrize("options", [{"batch": 0}, {"unknown": 1}], ids=str)
def test_wrong_options_are_refused(predictor, picture, options):
    with pytest.raises((UsageError, TypeError)):
        predictor.features(picture, **options)
