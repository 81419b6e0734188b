"""The floor of agreement: what it is on few images, and FP16, which has it where images are named."""

import types

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hrnet_deploy.calibration import image_folder
from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.export import AgreementError, export_artifact
from hrnet_deploy.export.quantize import fp16
from hrnet_deploy.export.quantize.fp16 import Fp16Converter
from hrnet_deploy.export.result import Agreement, floor_for
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import OutputKind, Precision, Preprocessing, Resize, Task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("images")
    for index, picture in enumerate(synthetic_images(12, (32, 48))):
        cv2.imwrite(str(made / f"{index}.png"), picture)
    return made


@pytest.mark.parametrize(
    ("images", "equal", "passed"),
    [(1, 1, True), (1, 0, False), (2, 1, True), (2, 0, False), (5, 4, True), (5, 3, False), (9, 8, True), (9, 7, False),
     (10, 9, True), (10, 8, False), (64, 58, True), (64, 57, False)],
)  # fmt: skip
def test_one_label_of_few_may_differ_and_of_many_one_in_ten(images, equal, passed):
    floor = floor_for(Task.CLASSIFICATION, images)
    found = Agreement(precision=Precision.INT8, share=equal / images, images=images, floor=floor)
    assert found.passed is passed


def test_pixels_are_many_on_a_single_image():
    assert floor_for(Task.SEGMENTATION, 1) == 0.9
    lost = Agreement(precision=Precision.FP16, share=float("nan"), images=1, floor=0.9)
    assert not lost.passed


@pytest.mark.slow
def test_fp16_is_compared_on_the_user_s_images(demo, folder, tmp_path):
    wishes = {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": "32x48", "precision": "fp16"}
    done = export_artifact(calib_data=folder, output=tmp_path / "s.onnx", **wishes)
    assert done.agreement.share > 0.99
    assert done.card.measured["heldout_images"] == done.agreement.images == 2
    other = export_artifact(eval_data=folder, output=tmp_path / "s.onnx", **wishes)
    assert other.agreement.images == 12
    assert export_artifact(output=tmp_path / "s.onnx", **wishes).agreement is None


@pytest.mark.slow
def test_fp16_that_answers_otherwise_is_refused(demo, folder, tmp_path, monkeypatch):
    halve = fp16.to_fp16

    def spoiled(model, keep=()):
        made = halve(model, keep)
        for weight in made.model.graph.initializer:
            if len(weight.dims) == 4:
                noise = np.random.default_rng(0).normal(size=tuple(weight.dims)).astype(np.float16)
                weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + noise, weight.name))
        return made

    monkeypatch.setattr(fp16, "to_fp16", spoiled)
    wishes = {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": "32x48", "precision": "fp16"}
    with pytest.raises(AgreementError, match=r"fp16 artifact must give at least 90% of the predictions"):
        export_artifact(calib_data=folder, output=tmp_path / "s.onnx", **wishes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_folders_are_walked_once(demo, folder, tmp_path, monkeypatch):
    walked = []
    listing = image_folder.list_folder
    monkeypatch.setattr(image_folder, "list_folder", lambda place: walked.append(place) or listing(place))
    calibration, others = tmp_path / "train", tmp_path / "others"
    for place, seed in ((calibration, 0), (others, 1)):
        place.mkdir()
        for index in range(4):
            picture = np.random.default_rng([seed, index]).integers(0, 256, (32, 48, 3), np.uint8)
            cv2.imwrite(str(place / f"{index}.png"), picture)
    export_artifact(
        weights=demo / "hrnetv2_w18_small_v1_street.pth", imgsz="32x48", precision="int8", calib_data=calibration,
        eval_data=others, keep_fp="none", output=tmp_path / "out" / "s.onnx",
    )  # fmt: skip
    assert sorted(place.name for place in walked if place in {calibration, others}) == ["others", "train"]


def test_the_order_of_blocks_is_measured_once_from_images_that_can_be_read_again(folder):
    """The gate asks on the CPU, and again for the engine on its GPU."""
    text = "g (float[N, 3, 8, 8] x) => (float[N, 2, 8, 8] y) { [a] c = Conv(x, u) [b] r = Relu(c) [c] y = Conv(r, v) }"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(0)
    for name, shape in (("u", (4, 3, 1, 1)), ("v", (2, 4, 1, 1))):
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    paths = tuple(CalibrationImage("", path) for path in sorted(folder.iterdir())[:2])
    read = []
    target = types.SimpleNamespace(images=lambda count: read.append(count) or paths[:count])
    plan = types.SimpleNamespace(
        accuracy=target,
        info=types.SimpleNamespace(
            output_kind=OutputKind.LOGITS, task=Task.SEGMENTATION, lineage={}, features=(), headless=False
        ),
        images=None,
        engine=None,
        pixels=None,
        threshold=None,
        precision=Precision.FP16,
        output_kind=OutputKind.LOGITS,
        preprocessing=Preprocessing(resize=Resize.SQUASH, size_hw=(8, 8)),
    )
    converter = Fp16Converter(model, plan)
    assert converter.sensitivity_order() == converter.sensitivity_order()
    assert len(read) == 1
    agreement = converter.convert(()).agreement
    assert agreement.share > 0.9
    assert agreement.images == 2
