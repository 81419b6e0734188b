"""One pass of images makes a table; it is used again where everything matches, and only there."""

import dataclasses
import json
import logging

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy.calibration import collector
from hrnet_deploy.calibration.batches import Batches
from hrnet_deploy.calibration.image_folder import find_images
from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.errors import ImageError, MissingFileError, UsageError
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.quantize.calibrate import (
    CalibrationSplit,
    calibrate,
    choose_validation,
    named_folder,
    select_images,
)
from hrnet_deploy.export.quantize.plan import plan_int8
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.qdq_plan import QdqTarget
from hrnet_deploy.spec import Preprocessing, Resize

SQUASH = Preprocessing(resize=Resize.SQUASH, size_hw=(32, 32))
BODY = "a = Conv(x, u) b = Relu(a) c = Conv(b, w) d = Relu(c) e = Conv(d, w) f = Add(e, d) y = Conv(f, w)"


def net(body=BODY, batch="N"):
    text = f"g (float[{batch}, 3, H, W] x) => (float[A, B, C, D] y) {{ {body} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(0)
    for name, shape in (("u", (4, 3, 3, 3)), ("w", (4, 4, 1, 1))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    return model


@pytest.fixture
def folder(tmp_path):
    """Ten small pictures."""
    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(synthetic_images(10, (40, 48))):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), picture)
    return tmp_path / "pictures"


@pytest.fixture
def images(folder):
    return select_images(folder, 8, allow_val=False)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "table.calib.json"


@pytest.fixture
def passes(monkeypatch):
    """The index of the first batch of every pass over the images."""
    started = []
    collect = collector.collect

    def counted(engine, taps, batches, **options):
        return collect(engine, taps, lambda start: started.append(start) or batches(start), **options)

    monkeypatch.setattr(collector, "collect", counted)
    return started


def test_the_table_holds_every_range_either_target_needs(images, cache):
    table = calibrate(net(), images, SQUASH, "entropy", cache)
    assert CalibrationTable.load(cache) == table
    for target in QdqTarget:
        assert set(place_qdq(net(), target, ()).measured) <= table.tensors.keys()
    assert table.provenance.images == 8


def test_what_was_measured_is_what_the_graph_computes(images, cache):
    table = calibrate(net(), images, SQUASH, "minmax", cache)
    fed = np.concatenate(list(Batches(images.calibration, SQUASH, 1)))
    assert table.tensors["x"].low == fed.min()
    assert table.amax()["x"] == np.abs(fed).max()
    assert table.tensors["x"].count == fed.size


def test_a_table_that_matches_is_used_again_by_any_method(images, cache, passes):
    first = calibrate(net(), images, SQUASH, "entropy", cache)
    again = calibrate(net(), images, SQUASH, "mse", cache)
    assert passes == [0]
    assert (again.tensors, again.method) == (first.tensors, "mse")


def test_images_that_moved_are_the_same_images(images, folder, cache, passes):
    calibrate(net(), images, SQUASH, "entropy", cache)
    calibrate(net(), select_images(folder.rename(folder.with_name("moved")), 8, allow_val=False), SQUASH, "mse", cache)
    assert passes == [0]


def test_scores_of_another_rendering_are_not_taken_over(images, cache):
    table = calibrate(net(), images, SQUASH, "entropy", cache)
    dataclasses.replace(table, scores={"mse": 0.5}).save(cache)
    assert dict(calibrate(net(), images, SQUASH, "entropy", cache).scores) == {}


def test_another_graph_is_named_as_the_reason(images, cache, passes, caplog):
    calibrate(net(), images, SQUASH, "entropy", cache)
    calibrate(net(BODY.replace("f = Add(e, d)", "f = Add(d, d)")), images, SQUASH, "entropy", cache)
    assert "table.calib.json: calibrating again, since the graph changed" in caplog.text
    assert passes == [0, 0]


@pytest.mark.slow
def test_other_images_are_named_as_the_reason(images, folder, cache, passes, caplog):
    calibrate(net(), images, SQUASH, "entropy", cache)
    calibrate(net(), select_images(folder, 4, allow_val=False), SQUASH, "entropy", cache)
    assert "the images changed (8 before, 4 now)" in caplog.text
    cv2.imwrite(str(images.calibration[0].path), np.zeros((40, 48, 3), np.uint8))
    calibrate(net(), select_images(folder, 4, allow_val=False), SQUASH, "entropy", cache)
    assert passes == [0, 0, 0]


def test_other_preprocessing_is_named_as_the_reason(images, cache, passes, caplog):
    calibrate(net(), images, SQUASH, "entropy", cache)
    calibrate(net(), images, dataclasses.replace(SQUASH, mean=(0.5, 0.5, 0.5)), "entropy", cache)
    assert "the preprocessing mean changed" in caplog.text
    assert passes == [0, 0]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda text: text.replace('"images": 8', '"images": 9'), "got one that was edited"),
        (lambda text: text[:100], "must be JSON"),
        (lambda _: "{}", "must say so in 'kind'"),
    ],
)
def test_a_table_that_is_not_ours_is_made_anew_with_the_reason(images, cache, passes, caplog, edit, reason):
    wanted = calibrate(net(), images, SQUASH, "entropy", cache)
    cache.write_text(edit(cache.read_text()))
    assert calibrate(net(), images, SQUASH, "entropy", cache) == wanted
    assert reason in caplog.text
    assert str(cache.parent) not in caplog.text
    assert CalibrationTable.load(cache) == wanted
    assert passes == [0, 0]


def interrupted(monkeypatch, after, error=KeyboardInterrupt):
    from hrnet_deploy.engines.ort.engine import OrtEngine

    run, left = OrtEngine.run, [after]

    def failing(self, feed):
        left[0] -= 1
        if left[0] < 0:
            raise error
        return run(self, feed)

    monkeypatch.setattr(OrtEngine, "run", failing)


def test_an_interrupted_pass_goes_on_where_it_stopped(images, cache, tmp_path, passes, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            calibrate(net(), images, SQUASH, "entropy", cache)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "table.calib.json.partial"]
    resumed = calibrate(net(), images, SQUASH, "entropy", cache)
    assert passes == [0, 5]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures", "table.calib.json"]
    assert resumed == calibrate(net(), images, SQUASH, "entropy", tmp_path / "other.json")


def test_an_image_that_changed_meanwhile_begins_the_pass_anew(images, cache, passes, monkeypatch):
    with monkeypatch.context() as patch:
        interrupted(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            calibrate(net(), images, SQUASH, "entropy", cache)
    cv2.imwrite(str(images.calibration[0].path), np.full((40, 48, 3), 255, np.uint8))
    calibrate(net(), images, SQUASH, "entropy", cache)
    assert passes == [0, 0]


def test_an_unreadable_image_is_named_and_leaves_nothing(images, cache, tmp_path):
    images.calibration[6].path.write_text("no picture")
    with pytest.raises(ImageError, match=images.calibration[6].path.name):
        calibrate(net(), images, SQUASH, "entropy", cache)
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]


def test_values_that_are_not_finite_name_the_value_and_leave_nothing(images, cache, tmp_path):
    cv2.imwrite(str(images.calibration[6].path), np.zeros((40, 48, 3), np.uint8))
    body = BODY.replace("c = Conv(b, w)", "m = ReduceMean(x) s = Sqrt(m) v = Add(b, s) c = Conv(v, w)")
    bright = dataclasses.replace(SQUASH, mean=(0.1, 0.1, 0.1), std=(1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match=r"activation '\w' must be finite, got NaN") as caught:
        calibrate(net(body), images, bright, "entropy", cache)
    assert caught.value.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_graph_with_a_fixed_batch_is_filled_up(images, cache, batch):
    wanted = calibrate(net(), images, SQUASH, "minmax", cache)
    found = calibrate(net(batch=batch), images, SQUASH, "minmax", cache.with_name("fixed.json"))
    assert found.amax() == pytest.approx(wanted.amax(), rel=1e-5)


def test_open_sizes_take_each_image_as_it_is(images, cache):
    cv2.imwrite(str(images.calibration[3].path), synthetic_images(1, (64, 80))[0])
    table = calibrate(net(), images, Preprocessing(resize=Resize.NONE, size_hw=None), "entropy", cache)
    assert table.tensors["x"].count == 3 * (7 * 40 * 48 + 64 * 80)


def test_images_for_judging_are_not_calibrated_on(folder):
    for count in (1, 4, 8, 9, 10, 512):
        found = select_images(folder, count, allow_val=False)
        assert not set(found.calibration) & set(found.validation)
        assert found.validation
        assert len(found.calibration) == min(count, 8)


def test_a_single_image_serves_both(folder):
    for path in list(folder.iterdir())[1:]:
        path.unlink()
    found = select_images(folder, 512, allow_val=False)
    assert found.calibration == found.validation
    assert len(found.calibration) == 1


@pytest.mark.parametrize("count", [0, -1])
def test_no_images_are_too_few(folder, count):
    with pytest.raises(UsageError, match="--calib-images must be at least 1"):
        select_images(folder, count, allow_val=False)


def test_the_folder_comes_from_the_user_else_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HRNET_CALIB_DATA", "/from/environment")
    assert str(named_folder(None)) == "/from/environment"
    assert named_folder(tmp_path) == tmp_path
    monkeypatch.setenv("HRNET_CALIB_DATA", "")
    with pytest.raises(UsageError, match=r"--calib-data FOLDER.*HRNET_CALIB_DATA"):
        plan_int8(ExportOptions(precision="int8"), None, None)


def test_a_folder_that_is_gone_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"):
        select_images(tmp_path / "nowhere", 4, allow_val=False)


def test_the_table_is_one_readable_json_with_its_origin(images, cache, caplog):
    with caplog.at_level(logging.WARNING):
        calibrate(net(), images, SQUASH, "percentile", cache)
    assert caplog.text == ""
    content = json.loads(cache.read_text())
    assert content["method"] == "percentile"
    assert content["provenance"]["preprocessing"]["size_hw"] == [32, 32]
    assert set(content["tensors"]["x"]["amax"]) == {"entropy", "percentile", "minmax", "mse"}


@pytest.mark.parametrize(
    ("found", "count"), [(512, 512), (513, 512), (576, 512), (1000, 512), (24, 24), (53, 24), (2, 9)]
)
def test_there_are_always_enough_images_to_judge_by(tmp_path, found, count):
    for index in range(found):
        (tmp_path / f"{index:04}.png").write_bytes(b"")
    images = select_images(tmp_path, count, allow_val=False)
    assert len(images.validation) >= min(64, max(1, found // 6))
    assert len(images.calibration) <= count
    assert not set(images.calibration) & set(images.validation)


def test_copies_of_calibration_images_do_not_judge(tmp_path):
    for index in range(20):
        (tmp_path / f"{index:02}.png").write_bytes(b"the same" if index % 2 else str(index).encode())
    images = choose_validation(select_images(tmp_path, 16, allow_val=False), None, allow_overlap=False)
    contents = {image.path.read_bytes() for image in images.calibration}
    assert images.validation
    assert not contents & {image.path.read_bytes() for image in images.validation}


def test_an_evaluation_image_that_was_calibrated_on_is_an_error_unless_allowed(tmp_path):
    for folder, names in (("train", "ab"), ("val", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}{folder}.png").write_bytes(name.encode())
    images = select_images(tmp_path / "train", 2, allow_val=False)
    others = find_images(tmp_path / "val", allow_val=True)
    whole = CalibrationSplit((*images.calibration, *images.validation), images.validation)
    with pytest.raises(UsageError, match="b"):
        choose_validation(whole, others, allow_overlap=False)
    assert len(choose_validation(whole, others, allow_overlap=True).validation) == 2
