"""Whole evaluations: right figures, the same however they are run, and never done twice."""

import dataclasses
import json

import numpy as np
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.evaluation import EvaluationOptions, evaluate, find_dataset
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.evaluation.options import EvaluationKeywords
from hrnet_deploy.spec import Task


def essence(evaluation):
    """What must not depend on how it was run; scores but for the last bits, which a batch may change."""
    images = [image.to_dict() for image in evaluation.images]
    for image in images:
        image.pop("scores", None)
    return evaluation.metrics.to_dict(), images, evaluation.data


def test_a_classifier_known_beforehand(colour_net, photos):
    found = evaluate(colour_net(Task.CLASSIFICATION), photos(12), batch=5)
    assert found.metrics.top1 == 8 / 12
    assert found.metrics.to_dict()["images"] == len(found.images) == 12
    wrong = [image.name for image in found.images if image.ranking.top[0] != image.label]
    assert [name.split("/")[1] for name in wrong] == ["000.png", "009.png", "006.png", "003.png"]
    assert found.model.name == "colour_net"
    assert (found.data.layout, found.data.images, found.data.total) == ("class folders", 12, 12)


def test_a_segmenter_known_beforehand(colour_net, scenes):
    found = evaluate(colour_net(), scenes())
    assert found.metrics.miou == found.metrics.pixel_accuracy == 1
    assert found.metrics.confusion.sum() == sum((9 + index - 1) * 14 for index in range(6))
    assert all(image.judged == image.correct and image.miou == 1 for image in found.images)


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (3, 2), (7, 5), (64, 3)])
@pytest.mark.parametrize("task", list(Task))
def test_batch_and_workers_change_nothing(colour_net, photos, scenes, batch, workers, task):
    data = scenes() if task is Task.SEGMENTATION else photos(30)
    first = evaluate(colour_net(task), data)
    assert essence(evaluate(colour_net(task), data, batch=batch, workers=workers)) == essence(first)


def test_a_limit_and_a_data_set_as_an_object(colour_net, photos):
    net = colour_net(Task.CLASSIFICATION)
    found = evaluate(net, find_dataset(photos(12), net.card), limit=5)
    assert (len(found.images), found.data.images, found.data.total) == (5, 5, 12)


def test_a_data_set_of_another_model(colour_net, photos):
    dataset = find_dataset(photos(), colour_net(Task.CLASSIFICATION).card)
    for net in (colour_net(), colour_net(Task.CLASSIFICATION, classes=3)):
        with pytest.raises(UsageError, match=r"evaluation data must be for .* with . classes as colour_net"):
            evaluate(net, dataset)


def test_blank_labels(colour_net, scenes, picture_file):
    root = scenes(1)
    picture_file(next(root.rglob("*labelTrainIds.png")), 255, (9, 14))
    with pytest.raises(UsageError, match=r"labels must judge some pixels, got only ignored ones"):
        evaluate(colour_net(), root)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be 1 to 4096, got 0"),
        ({"workers": 0}, "workers must be 1 to 1024, got 0"),
        ({"limit": -1}, "limit must be positive, got -1"),
        ({"window": (8, 8)}, "sliding windows are for segmentation"),
        ({"journal": "journal"}, "a journal needs artifacts as files, got colour_net"),
    ],
)
def test_bad_options(colour_net, photos, options, message):
    with pytest.raises(UsageError, match=message):
        evaluate(colour_net(Task.CLASSIFICATION), photos(), **options)


def test_plain_values_are_json(colour_net, photos, scenes):
    for found in (evaluate(colour_net(Task.CLASSIFICATION), photos()), evaluate(colour_net(), scenes())):
        content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert len(content["images"]) == found.data.images
        assert "images" not in found.to_dict(images=False)
        assert [entry["name"] for entry in content["classes"]] == list(found.classes)


@pytest.fixture
def runs(monkeypatch):
    """Counts the rows that go through any Predictor, and can stop one in the middle."""
    state = {"rows": 0, "stop": None}
    infer = Predictor.infer

    def counted(self, batch):
        if state["stop"] is not None and state["rows"] >= state["stop"]:
            raise KeyboardInterrupt
        state["rows"] += len(next(iter(batch.values())))
        return infer(self, batch)

    monkeypatch.setattr(Predictor, "infer", counted)
    return state


@pytest.fixture
def pictures(tmp_path, demo, picture_file):
    """Class folders for the photo net."""
    names = (demo / "photos10.txt").read_text().split()
    generator = np.random.default_rng(0)
    for index in range(30):
        grey = np.kron(generator.integers(0, 256, (4, 4), np.uint8), np.ones((10, 12), np.uint8))
        picture_file(tmp_path / f"pictures/{names[index % 10]}/{index}.png", grey)
    return tmp_path / "pictures"


@pytest.mark.slow
def test_an_interrupted_run_goes_on(photos_onnx, pictures, tmp_path, runs):
    whole = evaluate(photos_onnx, pictures)
    journal = tmp_path / "journal"
    runs.update(rows=0, stop=12)
    with pytest.raises(KeyboardInterrupt):
        evaluate(photos_onnx, pictures, journal=journal)
    runs.update(rows=0, stop=None)
    resumed = evaluate(photos_onnx, pictures, journal=journal)
    assert essence(resumed) == essence(whole)
    assert resumed.images == whole.images
    assert (resumed.run.resumed + resumed.run.computed, resumed.run.computed) == (30, runs["rows"])
    assert resumed.run.resumed >= 12 - 2 * (2 + resumed.run.workers)
    again = evaluate(photos_onnx, pictures, journal=journal)
    assert (again.run.resumed, again.run.computed, again.run.images_per_second) == (30, 0, 0)
    assert again.images == whole.images
    assert again.data == whole.data


@pytest.mark.slow
def test_a_changed_picture_or_model_is_not_resumed(photos_onnx, pictures, tmp_path, runs, picture_file):
    options = {"journal": tmp_path / "journal"}
    evaluate(photos_onnx, pictures, **options)
    picture_file(pictures / "cat/3.png", 200, (40, 48))
    assert evaluate(photos_onnx, pictures, **options).run.resumed == 0
    other = tmp_path / "other.onnx"
    import onnx

    graph = onnx.load(photos_onnx)
    graph.doc_string = "another file"
    onnx.save(graph, other)
    assert evaluate(other, pictures, **options).run.resumed == 0
    assert evaluate(photos_onnx, pictures, limit=5, **options).run.resumed == 0
    assert evaluate(photos_onnx, pictures, batch=4, workers=1, **options).run.resumed == 30


@pytest.mark.slow
def test_a_real_classifier_answers_as_predict_does(photos_onnx, pictures):
    found = evaluate(photos_onnx, pictures, batch=4)
    with Predictor(photos_onnx) as predictor:
        for image in found.images:
            result = predictor.predict(image.path)
            assert result.indices[:5].tolist() == list(image.ranking.top)
            assert result.scores[:5] == pytest.approx(image.ranking.scores, abs=1e-5)
    assert found.model.path == photos_onnx
    assert len(found.model.sha256) == 64
    assert found.model.size_bytes == photos_onnx.stat().st_size


@pytest.mark.slow
def test_real_nets_on_real_images(photos_onnx, street_onnx, shared):
    photos = evaluate(photos_onnx, shared / "data/photos", batch=8)
    assert photos.metrics.top1 == pytest.approx(0.70, abs=0.03)
    one = evaluate(photos_onnx, shared / "data/photos", workers=1)
    assert essence(one) == essence(photos)
    street = evaluate(street_onnx, shared / "data/street", limit=6)
    assert street.metrics.miou == pytest.approx(0.57, abs=0.08)
    assert street.metrics.miou_official < street.metrics.miou
    with Predictor(street_onnx) as predictor:
        network = ModelRunner(predictor)
        image = street.images[0]
        result = predictor.predict(image.path)
        rows = network.prepare(result.image)
        assert (network.mask(network.run([rows], 1)[0], rows, result.mask.shape) == result.mask).all()


@pytest.mark.slow
def test_sliding_windows_on_a_real_net(street_onnx, shared):
    data = shared / "data/street"
    whole = evaluate(street_onnx, data, limit=3)
    sliding = evaluate(street_onnx, data, limit=3, window=(256, 320), overlap=0.5, batch=3)
    one_window = evaluate(street_onnx, data, limit=3, window=(360, 480))
    assert one_window.metrics.miou == pytest.approx(whole.metrics.miou, abs=1e-3)
    assert sliding.metrics.miou == pytest.approx(whole.metrics.miou, abs=0.08)
    assert (sliding.metrics.confusion != whole.metrics.confusion).any()
    assert sliding.run.to_dict()["stride_hw"] == [128, 160]


def test_editors_know_every_option():
    keywords = {name: kind.__forward_arg__ for name, kind in EvaluationKeywords.__annotations__.items()}
    assert keywords == {field.name: field.type for field in dataclasses.fields(EvaluationOptions)}


def test_an_unknown_option(colour_net, photos):
    with pytest.raises(TypeError, match="'lables'"):
        evaluate(colour_net(Task.CLASSIFICATION), photos(), lables="x")


def test_a_file_that_is_no_artefact(tmp_path, photos):
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError):
        evaluate(tmp_path / "net.onnx", photos())
