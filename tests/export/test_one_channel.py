"""Nets with one output channel: a sigmoid and a threshold from the checkpoint to the last figure."""

import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import load_file

from hrnet_deploy import Predictor, UsageError, export
from hrnet_deploy.evaluation import compare, evaluate
from hrnet_deploy.export import export_artifact
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.processing.preprocess import Preprocessor

SKY, TREES = 10, 8
HORSE, CAT = 7, 3


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@pytest.fixture(scope="module")
def street_state(demo):
    """The street net as sky against trees."""
    state = dict(torch.load(demo / "hrnetv2_w18_small_v1_street.pth", map_location="cpu", weights_only=True))
    for name in ("last_layer.3.weight", "last_layer.3.bias"):
        state[name] = (state[name][SKY] - state[name][TREES])[None]
    return state


@pytest.fixture(scope="module")
def street(street_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "sky.pth"
    torch.save(street_state, path)
    return path


@pytest.fixture(scope="module")
def photos(demo, tmp_path_factory):
    """The photo net as horse against cat."""
    state = {name: t.float() for name, t in load_file(demo / "hrnet_w18_small_v1_photos10.safetensors").items()}
    for name in ("classifier.weight", "classifier.bias"):
        state[name] = (state[name][HORSE] - state[name][CAT])[None]
    path = tmp_path_factory.mktemp("one") / "horse.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def plain(street, tmp_path_factory):
    return export(weights=street, imgsz="64x96", output=tmp_path_factory.mktemp("plain") / "sky.onnx").path


@pytest.fixture(scope="module")
def plain_photos(photos, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "horse.onnx"
    return export(weights=photos, imgsz=64, resize="squash", classes=["cat", "horse"], output=path).path


@pytest.fixture(scope="module")
def dynamic(street, tmp_path_factory):
    return export(weights=street, imgsz="dynamic", output=tmp_path_factory.mktemp("dynamic") / "sky.onnx").path


@pytest.fixture(scope="module")
def images():
    return synthetic_images(6, (64, 96))


def mask_of(predictor, image, threshold):
    """What torch would say: upsample, then compare the probability."""
    row = Preprocessor(predictor.card.preprocessing)(image)[None]
    logits = torch.from_numpy(np.array(predictor.infer(row)["logits"]))
    full = torch.nn.functional.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)
    return (full.sigmoid() > threshold).numpy()[0, 0]


@pytest.mark.slow
def test_a_segmenter_marks_what_is_above_the_threshold(plain, images):
    predictor = Predictor(plain)
    assert (predictor.card.classes, predictor.card.threshold) == (("background", "foreground"), 0.5)
    for result in predictor.predict(images):
        wanted = mask_of(predictor, result.image, 0.5)
        assert np.mean(result.mask == wanted) > 0.999
        assert result.shares.get("foreground", 0) == pytest.approx(wanted.mean(), abs=2e-3)
    assert {"background", "foreground"} == set().union(*(r.shares for r in predictor.predict(images)))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("threshold", [0.2, 0.8])
def test_the_label_map_is_made_in_the_graph(street, plain, images, tmp_path, precision, threshold):
    done = export_artifact(
        weights=street,
        imgsz="64x96",
        threshold=threshold,
        labels_out=True,
        pixels_in=True,
        precision=precision,
        output=tmp_path / "map.onnx",
    )
    assert done.card.threshold == threshold
    assert done.card.outputs[0].dtype == "uint8"
    assert len(done.card.outputs[0].shape) == 3
    predictor, reference = Predictor(done.path), Predictor(plain)
    same = [np.mean(predictor.predict(image).mask == mask_of(reference, image, threshold)) for image in images]
    assert min(same) > (0.999 if precision == "fp32" else 0.98)


@pytest.mark.slow
def test_a_classifier_answers_with_a_probability(plain_photos, images):
    predictor = Predictor(plain_photos)
    for result in predictor.predict(images):
        row = Preprocessor(predictor.card.preprocessing)(result.image)[None]
        share = float(sigmoid(predictor.infer(row)["logits"])[0, 0])
        assert result.label == ("horse" if share > 0.5 else "cat")
        assert result.score == pytest.approx(max(share, 1 - share), abs=1e-5)
        np.testing.assert_allclose(result.probs, [1 - share, share], atol=1e-5)
        assert len(result.topk()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", [True, "softmax"])
def test_a_classifiers_answer_is_made_in_the_graph(photos, plain_photos, images, tmp_path, mode):
    wishes = {"imgsz": 64, "resize": "squash", "threshold": 0.9, "labels_out": mode}
    done = export_artifact(weights=photos, output=tmp_path / "p.onnx", **wishes)
    assert [spec.shape[1] for spec in done.card.outputs] == [2] * len(done.card.outputs)
    for ours, plain in zip(Predictor(done.path).predict(images), Predictor(plain_photos).predict(images), strict=True):
        assert ours.index == int(plain.probs[1] > 0.9)
        np.testing.assert_allclose(ours.probs, plain.probs, atol=1e-5)
    assert evaluate_runs(done.path, images, tmp_path) >= 0


def evaluate_runs(path, images, folder):
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    labels = folder / "labels.txt"
    labels.write_text("".join(f"{index}.png {index % 2}\n" for index in range(len(images))))
    return evaluate(path, folder, labels=labels).metrics.top1


@pytest.mark.slow
def test_accuracy_is_that_of_the_threshold(plain_photos, images, tmp_path):
    predictor = Predictor(plain_photos)
    answers = [result.index for result in predictor.predict(images)]
    wanted = np.mean([answer == index % 2 for index, answer in enumerate(answers)])
    assert evaluate_runs(plain_photos, images, tmp_path) == pytest.approx(wanted)


@pytest.mark.slow
@pytest.mark.parametrize("window", [None, (64, 64)])
def test_miou_is_that_of_the_threshold(dynamic, images, tmp_path, window):
    predictor = Predictor(dynamic)
    masks = [result.mask for result in predictor.predict(images)]
    photos, labels = tmp_path / "leftImg8bit/val/a", tmp_path / "gtFine/val/a"
    photos.mkdir(parents=True)
    labels.mkdir(parents=True)
    truth = np.zeros((64, 96), np.uint8)
    truth[:32] = 1
    truth[30:34] = 255
    for index, image in enumerate(images):
        cv2.imwrite(str(photos / f"a_{index:06}_000019_leftImg8bit.png"), image)
        cv2.imwrite(str(labels / f"a_{index:06}_000019_gtFine_labelTrainIds.png"), truth)
    found = evaluate(dynamic, tmp_path, window=window).metrics
    judged, answers = np.stack([truth] * len(masks)), np.stack(masks)
    kept = judged != 255
    shares = [np.sum((judged == c) & (answers == c)) / np.sum(kept & ((judged == c) | (answers == c))) for c in (0, 1)]
    if window is None:
        assert found.value == pytest.approx(np.mean(shares), abs=1e-3)
    else:
        assert 0 < found.value < 1


@pytest.mark.slow
def test_int8_is_judged_by_the_threshold(photos, plain_photos, images, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for index, image in enumerate(synthetic_images(24, (64, 64))):
        cv2.imwrite(str(data / f"{index}.png"), image)
    done = export_artifact(
        weights=photos,
        imgsz=64,
        resize="squash",
        precision="int8",
        calib_data=data,
        calib_images=16,
        keep_fp=("/stage[34]*", "head"),
        classes=["cat", "horse"],
        output=tmp_path / "i8.onnx",
    )
    measured = done.card.to_record()["measured"]
    assert measured["heldout_sqnr_db"] > 10
    assert measured["heldout_divergence"] > 0, "one score has shares, too"
    assert measured["heldout_max_rel"] < 1
    assert np.isfinite(measured["heldout_expected"])
    assert compare(plain_photos, [done.path], folder_of(images, tmp_path)).candidates[0].agreement >= 0.5


def folder_of(images, root):
    for name in ("cat", "horse"):
        (root / "val" / name).mkdir(parents=True)
    for index, image in enumerate(images):
        cv2.imwrite(str(root / "val" / ("cat", "horse")[index % 2] / f"{index}.png"), image)
    return root / "val"


@pytest.mark.slow
@pytest.mark.parametrize("ends_in", ["logits", "probabilities"])
@pytest.mark.parametrize("labels_out", [False, True])
def test_foreign_graphs_with_one_channel(plain, images, tmp_path, ends_in, labels_out):
    model = onnx.load(plain)
    del model.metadata_props[:]
    if ends_in == "probabilities":
        (output,) = model.graph.output
        model.graph.node.append(helper.make_node("Sigmoid", [output.name], ["shares"]))
        output.name = "shares"
    onnx.save(model, tmp_path / "theirs.onnx")
    done = export_artifact(
        str(tmp_path / "theirs.onnx"),
        task="segmentation",
        threshold=0.7,
        labels_out=labels_out,
        classes=["other", "sky"],
        output=tmp_path / "ours.onnx",
    )
    reference = Predictor(plain)
    for image in images:
        found = Predictor(done.path).predict(image)
        # A probability that is upsampled is not the probability of an upsampled logit.
        assert np.mean(found.mask == mask_of(reference, image, 0.7)) > (0.999 if ends_in == "logits" else 0.97)
        assert set(found.shares) <= {"other", "sky"}


@pytest.mark.slow
def test_an_export_of_an_export_keeps_the_threshold(street, tmp_path):
    first = export_artifact(weights=street, imgsz="64x96", threshold=0.35, classes=["sky"], output=tmp_path / "a.onnx")
    assert first.card.classes == ("background", "sky")
    again = export_artifact(str(first.path), precision="fp16", output=tmp_path / "b.onnx")
    assert (again.card.threshold, again.card.classes) == (0.35, ("background", "sky"))


@pytest.mark.slow
def test_a_card_from_before_thresholds(plain, images, tmp_path, caplog):
    model = onnx.load(plain)
    (entry,) = (prop for prop in model.metadata_props if prop.key == "hrnet_deploy.card")
    content = json.loads(entry.value)
    del content["threshold"]
    content["classes"] = ["class_0"]
    entry.value = json.dumps(content)
    onnx.save(model, tmp_path / "old.onnx")
    assert Predictor(tmp_path / "old.onnx").predict(images[0]).mask.max() == 0
    assert "one output channel and no threshold: every image is 'class_0'. Export it again." in caplog.text
    again = Predictor(export(str(tmp_path / "old.onnx"), classes=["sky"], output=tmp_path / "new.onnx"))
    assert (again.card.threshold, again.card.classes) == (0.5, ("background", "sky"))
    assert (again.predict(images[0]).mask == Predictor(plain).predict(images[0]).mask).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meta", "threshold", "classes"),
    [
        ({}, 0.3, ("background", "foreground")),
        ({"CLASSES": ("ground", "sky"), "PALETTE": [[1, 2, 3], [4, 5, 6]]}, 0.3, ("ground", "sky")),
        ({"cfg": "decode_head=dict(\n    type='FCNHead', sampler=dict(threshold=0.9), threshold=0.45)"}, 0.45, None),
    ],
)
def test_mmsegmentations_threshold(street_state, tmp_path, caplog, meta, threshold, classes):
    state = dict(street_state)
    state["last_layer.1.running_mean"] = state["last_layer.1.running_mean"] - state.pop("last_layer.0.bias")
    names = {"last_layer.0.": "decode_head.convs.0.conv.", "last_layer.1.": "decode_head.convs.0.bn."}
    names["last_layer.3."] = "decode_head.conv_seg."
    mm = {
        next((key.replace(a, b) for a, b in names.items() if key.startswith(a)), f"backbone.{key}"): tensor
        for key, tensor in state.items()
    }
    torch.save({"meta": meta, "state_dict": mm}, tmp_path / "mm.pth")
    card = export_artifact(weights=tmp_path / "mm.pth", imgsz="64x96", output=tmp_path / "mm.onnx").card
    assert card.threshold == threshold
    assert card.classes == (classes or ("background", "foreground"))
    assert card.palette == (((1, 2, 3), (4, 5, 6)) if "PALETTE" in meta else None)
    assert f"a sigmoid above {threshold} means" in caplog.text


@pytest.mark.parametrize("threshold", [0, 1, -0.2, 1.5, float("nan")])
def test_a_threshold_is_a_probability(street, threshold):
    with pytest.raises(UsageError, match="threshold must be a probability between 0 and 1"):
        export(weights=street, threshold=threshold)


def test_a_threshold_that_does_nothing_is_refused(demo, tmp_path):
    with pytest.raises(UsageError, match="--threshold is for a model with one output channel, got one with 19"):
        export(weights=demo / "hrnetv2_w18_small_v1_street.pth", threshold=0.5, output=tmp_path / "x.onnx")


@pytest.mark.slow
def test_inspection_says_so(plain):
    run = [sys.executable, "-c", "from hrnet_deploy.cli.inspect import main; raise SystemExit(main())", str(plain)]
    text = subprocess.run([*run, "--verify"], check=True, capture_output=True, text=True).stdout
    assert "one channel: foreground if its sigmoid is above 0.5, else background" in " ".join(text.split())
    record = json.loads(subprocess.run([*run, "--json"], check=True, capture_output=True, text=True).stdout)
    assert record["card"]["threshold"] == 0.5
