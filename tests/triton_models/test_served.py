"""Repositories on a real Triton: every kind of artifact is ready, and its outputs are the local ones."""

import functools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from helpers.triton_server import TritonError

from hrnet_deploy import ImageError, Predictor, write_triton_repository
from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.v2_tensors import HEADER_LENGTH, read_message, write_message

pytestmark = pytest.mark.slow

KINDS = {
    "fp32.onnx": (5, 64, 64),
    "fp16.pixels.onnx": (3, 64, 64),
    "int8 top-k.onnx": (2, 64, 64),
    "batch4.onnx": (4, 64, 64),
    "external.onnx": (1, 64, 64),
    "sizes.onnx": (2, 96, 64),
    "masks.onnx": (3, 64, 128),
    "one.onnx": (1, 64, 96),
}
"""Artifacts, and the batch, height and width that each infers here."""
WITH_IMAGES = ("fp32.onnx", "batch4.onnx", "sizes.onnx", "masks.onnx")


class Models(dict):
    """Artifacts on the server by file name: each is written and loaded when a test first needs it."""

    def __init__(self, triton, artifacts):
        super().__init__()
        self.triton, self.artifacts = triton, artifacts
        self.images_of = functools.cache(self._load_images)

    def __missing__(self, kind):
        model = write_triton_repository(self.artifacts[kind], self.triton.repository, images=kind in WITH_IMAGES)
        self.triton.load(model.name)
        self[kind] = model
        return model

    def _load_images(self, kind):
        """Name of the model that takes image files for an artifact."""
        name = self[kind].images
        self.triton.load(name)
        return name


@pytest.fixture(scope="module")
def models(triton, artifacts):
    assert artifacts.keys() == KINDS.keys()
    return Models(triton, artifacts)


@pytest.fixture(scope="module")
def predictors(artifacts):
    """Artifacts on the local ONNX Runtime by file name."""
    opened = {name: Predictor(path, device="cpu", backend="onnxruntime", threads=1) for name, path in artifacts.items()}
    yield opened
    for predictor in opened.values():
        predictor.close()


def infer(triton, model, tensors, outputs=()):
    """Outputs of a model by the protocol's binary tensors."""
    fields = {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs]} if outputs else {}
    fields = {"parameters": {"binary_data_output": True}} | fields
    text, binary = write_message(fields, "inputs", tensors)
    body = b"".join([text, *binary])
    content, headers = triton.post(f"v2/models/{model}/infer", body, {HEADER_LENGTH: str(len(text))})
    return read_message(content, int(headers[HEADER_LENGTH]), "outputs")[1]


def noise(card, nhw, seed=0):
    count, height, width = nhw
    random = np.random.default_rng(seed)
    if card.pixels_in:
        return random.integers(0, 256, (count, height, width, 3), np.uint8)
    return random.normal(size=(count, 3, height, width)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_the_local_ones(triton, models, predictors, kind):
    assert triton.is_ready(models[kind].name)
    predictor = predictors[kind]
    batch = noise(predictor.card, KINDS[kind])
    served = infer(triton, models[kind].name, {predictor.card.inputs[0].name: batch})
    local = predictor.infer(batch)
    assert served.keys() == local.keys()
    for name, expected in local.items():
        np.testing.assert_array_equal(served[name], expected)
        assert served[name].dtype == expected.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_learns_the_card_and_the_digest_from_the_server(triton, models, predictors, artifacts, kind):
    config = triton.get(f"v2/models/{models[kind].name}/config")
    metadata = {key: entry["string_value"] for key, entry in config["parameters"].items()}
    card = predictors[kind].card
    assert card_from_metadata(metadata, kind) == card
    assert metadata["hrnet_deploy.sha256"] == sha256_file(artifacts[kind])
    open_batch = isinstance(card.inputs[0].shape[0], str)
    assert config["max_batch_size"] == (card.shapes.max_nhw[0] if open_batch else 0)
    assert {warmup["name"] for warmup in config["model_warmup"]} <= {"smallest", "best"}
    assert [entry["kind"] for entry in config["instance_group"]] == ["KIND_CPU"]  # what KIND_AUTO became here
    shown = triton.get(f"v2/models/{models[kind].name}")
    for place, specs in (("inputs", card.inputs), ("outputs", card.outputs)):
        shapes = {entry["name"]: [int(size) for size in entry["shape"]] for entry in shown[place]}
        assert shapes == {s.name: [d if isinstance(d, int) else -1 for d in s.shape] for s in specs}


def test_concurrent_images_are_batched_and_keep_their_outputs(triton, models, predictors):
    predictor = predictors["fp32.onnx"]
    rows = [noise(predictor.card, (1, 64, 64), seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        served = list(pool.map(lambda row: infer(triton, models["fp32.onnx"].name, {"input": row})["logits"], rows))
    for row, logits in zip(rows, served, strict=True):
        np.testing.assert_allclose(logits, predictor.infer(row)["logits"], rtol=1e-5, atol=1e-6)


def test_triton_names_the_classes_of_scores(triton, models, predictors):
    predictor = predictors["fp32.onnx"]
    batch = noise(predictor.card, (1, 64, 64))
    text, binary = write_message(
        {"outputs": [{"name": "logits", "parameters": {"classification": 5, "binary_data": True}}]},
        "inputs", {"input": batch},
    )  # fmt: skip
    content, headers = triton.post(
        f"v2/models/{models['fp32.onnx'].name}/infer", b"".join([text, *binary]), {HEADER_LENGTH: str(len(text))}
    )
    shown = read_message(content, int(headers[HEADER_LENGTH]), "outputs")[1]["logits"].ravel()
    names = {int(entry.decode().split(":")[1]): entry.decode().split(":", 2)[2] for entry in shown}
    assert names == {n: name.replace("\n", "\\n") for n, name in enumerate(predictor.card.classes)}


def changed(old, new):
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("kind", "edit", "sentence"),
    [
        ("fp32.onnx", changed("max_batch_size", "max_batchsize"), "max_batchsize"),
        ("fp32.onnx", changed('name: "NAME"', 'name: "other"'), "other"),
        ("fp32.onnx", changed("preferred_batch_size: [4, 8]", "preferred_batch_size: [4, 9]"), "preferred"),
        ("fp32.onnx", changed("KIND_AUTO", "KIND_GPU"), "KIND_GPU but no GPUs are available"),
        ("fp32.onnx", changed("labels.txt", "none.txt"), "none.txt"),
        ("fp32.onnx", changed("dims: [5]", "dims: [6]"), "'logits' has dimensions [-1, 5], configured [-1, 6]"),
        ("fp32.onnx", changed("TYPE_FP32", "TYPE_FP16"), "TYPE_FP32, configured TYPE_FP16"),
        ("batch4.onnx", changed("max_batch_size: 0", "max_batch_size: 4"), "has dimensions"),
        ("fp32.onnx", changed('\\\\\\"quoted', '"quoted'), "Error parsing text-format"),
    ],
)
def test_the_server_refuses_what_the_rules_prevent(triton, artifacts, kind, edit, sentence, request):
    name = f"wrong{abs(hash(request.node.name))}"
    model = write_triton_repository(artifacts[kind], triton.repository, name=name)
    config = model.path / "config.pbtxt"
    text = config.read_text().replace(name, "NAME")
    assert edit(text) != text
    config.write_text(edit(text).replace("NAME", name))
    logged = len(triton.log.read_bytes())
    with pytest.raises(TritonError) as caught:
        triton.load(name)
    assert sentence in str(caught.value) + triton.log.read_bytes()[logged:].decode(errors="replace")
    shutil.rmtree(model.path)


def test_a_new_version_takes_the_place_of_the_old_one(triton, artifacts, predictors):
    first = write_triton_repository(artifacts["external.onnx"], triton.repository, name="versions")
    triton.load("versions")
    assert triton.get("v2/models/versions")["versions"] == ["1"]
    second = write_triton_repository(artifacts["fp32.onnx"], triton.repository, name="versions")
    triton.load("versions")
    assert triton.get("v2/models/versions")["versions"] == ["2"]
    assert (first.version, second.version) == (1, 2)
    parameters = triton.get("v2/models/versions/config")["parameters"]
    assert parameters["hrnet_deploy.sha256"]["string_value"] == sha256_file(artifacts["fp32.onnx"])


def test_an_engine_is_loaded_as_a_plan(triton, engine):
    model = write_triton_repository(engine(name="plan of w18"), triton.repository)
    triton.load(model.name)
    assert triton.get(f"v2/models/{model.name}/config")["backend"] == "tensorrt"
    outputs = infer(triton, model.name, {"input": np.zeros((2, 3, 64, 64), np.float32)})
    assert outputs["logits"].shape == (2, 5)


@pytest.fixture(scope="module")
def encoded():
    """JPEG and PNG files of three sizes."""
    images = [image for size in ((80, 100), (64, 64), (96, 70)) for image in synthetic_images(2, size)]
    suffixes = (".jpg", ".png") * 3
    return [cv2.imencode(suffix, image)[1].tobytes() for suffix, image in zip(suffixes, images, strict=True)]


def column(texts):
    array = np.empty((len(texts), 1), object)
    array[:, 0] = texts
    return array


def content_of(text):
    record = json.loads(text)
    assert record.pop("speed").keys() == {"preprocess", "inference", "postprocess"}
    return record


@pytest.mark.parametrize("kind", WITH_IMAGES)
def test_image_files_become_results(triton, models, predictors, encoded, kind):
    predictor = predictors[kind]
    outputs = infer(triton, models.images_of(kind), {"image": column(encoded)})
    local = list(predictor.predict(encoded))
    for text, result in zip(outputs["result"].ravel(), local, strict=True):
        assert content_of(text) == content_of(result.to_json())
    if "mask" in outputs:
        for png, result in zip(outputs["mask"].ravel(), local, strict=True):
            mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, result.mask)
    assert ("mask" in outputs) is (predictor.card.task == "segmentation")


def test_a_mask_is_encoded_only_on_request(triton, models, encoded):
    outputs = infer(triton, models.images_of("masks.onnx"), {"image": column(encoded[:1])}, ["result"])
    assert outputs.keys() == {"result"}


def test_many_clients_get_their_own_results(triton, models, predictors, encoded):
    model = models.images_of("fp32.onnx")
    texts = {content: predictors["fp32.onnx"].predict(content).to_json() for content in encoded}
    with ThreadPoolExecutor(8) as pool:
        requests = [encoded[n % 6] for n in range(24)]
        served = list(pool.map(lambda content: infer(triton, model, {"image": column([content])})["result"], requests))
    for content, result in zip(requests, served, strict=True):
        ours, local = content_of(result.item()), content_of(texts[content])
        np.testing.assert_allclose(ours.pop("pred_scores"), local.pop("pred_scores"), rtol=1e-5)
        assert ours.pop("pred_score") == pytest.approx(local.pop("pred_score"), rel=1e-5)
        assert ours == local


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no image", "image 'image_1' cannot be decoded"),
        (b"", "image 'image_1'"),
        (b"/etc/hostname", "image 'image_1' cannot be decoded"),
    ],
)
def test_a_bad_image_is_a_bad_request_with_our_sentence(triton, models, encoded, content, sentence):
    with pytest.raises(TritonError) as caught:
        infer(triton, models.images_of("fp32.onnx"), {"image": column([encoded[0], content])})
    assert caught.value.status == 400
    assert sentence in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_truncated_image_is_the_error_of_the_predictor(triton, models, predictors, encoded):
    cut = encoded[0][:200]
    with pytest.raises(TritonError) as caught:
        infer(triton, models.images_of("fp32.onnx"), {"image": column([cut])})
    with pytest.raises(ImageError) as local:
        predictors["fp32.onnx"].predict(cut)
    assert str(local.value) in str(caught.value)


def test_images_for_a_model_that_is_not_loaded_are_an_error_that_names_it(triton, models, encoded):
    name = models["batch4.onnx"].name
    triton.unload(name)
    try:
        with pytest.raises(TritonError, match=f"model '{name}' must infer, got: ") as caught:
            infer(triton, models.images_of("batch4.onnx"), {"image": column(encoded[:2])})
        assert caught.value.status == 500
    finally:
        triton.load(name)


def test_the_parameters_of_the_images_model_name_the_other_one(triton, models):
    parameters = triton.get(f"v2/models/{models.images_of('fp32.onnx')}/config")["parameters"]
    assert parameters["hrnet_deploy.model"]["string_value"] == "fp32"
    assert CARD_KEY in parameters
