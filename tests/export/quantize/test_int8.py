"""INT8 as a whole: one calibration, any rendering, and what the card says of it."""

import json
import struct

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy import Predictor
from hrnet_deploy.calibration import collector
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.errors import UsageError, VerificationError
from hrnet_deploy.export import AgreementError, export_artifact
from hrnet_deploy.export.quantize import int8 as quantizing
from hrnet_deploy.export.quantize.similarity import Scored, SimilarityScorer
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.qdq_plan import INTEGER_INPUT
from hrnet_deploy.quantization_info import Similarity

BODY = """[s1] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, u) [r1] b = Relu(a) [s2] c = Conv(b, w)
    [r2] d = Relu(c) [c3] e = Conv(d, w, p) [r3] f = Relu(e) [c4] g = Conv(f, w, p) [sum] h = Add(g, d)
    [r4] i = Relu(h) [c5] j = Conv(i, w) [r5] k = Relu(j) [c6] l = Conv(k, w) [r6] m = Relu(l)
    [c7] n = Conv(m, w) [r7] o = Relu(n) [last] y = Conv(o, v)"""


def cache_amax(text: str) -> dict[str, float]:
    """The magnitude mapped to code 127 by tensor, as TensorRT reads a calibration cache."""
    pairs = [line.rpartition(": ")[::2] for line in text.splitlines()[1:]]
    return {name: struct.unpack(">f", bytes.fromhex(digits))[0] * 127 for name, digits in pairs}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A foreign segmentation net of eight convolutions."""
    text = f"g (float[N, 3, H, W] x) => (float[N, 3, A, B] y) {{ {BODY} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 20]>\n{text}')
    rng = np.random.default_rng(0)
    for name, shape in (("u", (8, 3, 3, 3)), ("w", (8, 8, 1, 1)), ("p", (8,)), ("v", (3, 8, 1, 1))):
        array = (rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = tmp_path_factory.mktemp("net") / "net.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(synthetic_images(10, (64, 64))):
        cv2.imwrite(str(made / f"{index}.png"), picture)
    return made


@pytest.fixture
def int8(net, folder, tmp_path):
    """(wishes) -> the exported INT8 net."""

    def make(name="int8.onnx", weights=net, **wishes):
        options = {"task": "segmentation", "imgsz": 64, "precision": "int8", "calib_data": folder, **wishes}
        return export_artifact(str(weights), output=tmp_path / name, **options)

    return make


@pytest.fixture
def passes(monkeypatch):
    """One entry for every pass over the images."""
    made = []
    collect = collector.collect
    monkeypatch.setattr(collector, "collect", lambda *a, **k: made.append(1) or collect(*a, **k))
    return made


@pytest.fixture
def scored(monkeypatch):
    """Give scores instead of measuring them: (scores in order)."""

    def set_to(*agreements, sqnr_db=10.0):
        left = list(agreements)

        def compare(_scorer, _model):
            found = left.pop(0) if len(left) > 1 else left[0]
            same = {"agreement": found, "worst": found, "expected": found, "divergence": 1 - found}
            return Scored(Similarity(**same, sqnr_db=sqnr_db, max_abs=0.0, max_rel=0.0), {})

        monkeypatch.setattr(SimilarityScorer, "compare", compare)

    return set_to


def integer(path):
    """Names of the convolutions that read INT8 weights."""
    graph = onnx.load(path).graph
    stored = {o for n in graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    return {n.name for n in graph.node if n.op_type == "Conv" and n.input[1] in stored}


ALL = {"c3", "c4", "c5", "c6", "c7"}
INTEGER = {"cpu": {"s1", "s2", *ALL, "last"}, "tensorrt": ALL}


@pytest.mark.slow
def test_the_card_says_how_the_net_was_calibrated_and_how_good_it_is(int8):
    card = int8().card
    info, found = card.quantization, card.quantization.validation
    assert (info.method, info.images, info.target, info.kept_in_float) == ("entropy", 8, "cpu", ())
    assert (info.remainder, info.residual, info.implicit) == ("fp32", None, False)
    assert len(info.images_sha256) == 64
    assert info.validation_images == 2
    assert 0.9 < found.agreement <= 1
    assert found.worst <= found.agreement
    assert found.sqnr_db > 15
    assert card.measured == {}


@pytest.mark.slow
def test_both_renderings_come_from_one_pass_and_table(int8, passes, tmp_path):
    table = tmp_path / "shared.json"
    cpu, tensorrt = (
        int8(f"{t}.onnx", qdq_target=t, calib_cache=table, calib_method=m)
        for t, m in (("cpu", "mse"), ("tensorrt", "entropy"))
    )
    assert passes == [1]
    assert integer(cpu.path) == INTEGER["cpu"]
    assert integer(tensorrt.path) == INTEGER["tensorrt"]
    kinds = [{t.data_type for t in onnx.load(d.path).graph.initializer} for d in (cpu, tensorrt)]
    assert onnx.TensorProto.UINT8 in kinds[0]
    assert onnx.TensorProto.UINT8 not in kinds[1]
    assert [p.name for p in tmp_path.glob("*.json")] == ["shared.json"]


def test_the_table_lies_beside_the_artefact(int8, tmp_path):
    int8()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["int8.calib.json", "int8.onnx"]


def test_auto_records_every_score_and_takes_the_best(int8, scored, tmp_path):
    scored(0.6, 0.7, 0.9, 0.8, 0.9)
    done = int8(calib_method="auto")
    methods = ["entropy", "percentile", "minmax", "mse"]
    content = json.loads((tmp_path / "int8.calib.json").read_text())
    assert sorted(content["scores"].values()) == pytest.approx([-0.4, -0.3, -0.2, -0.1])
    best = max(content["scores"], key=content["scores"].get)
    assert content["method"] == done.card.quantization.method == best
    assert {m: -done.card.quantization.method_divergence[m] for m in methods} == content["scores"]


@pytest.mark.slow
def test_scores_of_an_auto_run_do_not_reach_another_card(int8):
    int8(calib_method="auto")
    done = int8(calib_method="minmax", qdq_target="tensorrt")
    assert done.card.quantization.method_divergence == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "named"),
    [
        (("c4",), {"c4"}),
        (("c[45]", "c7"), {"c4", "c5", "c7"}),
        ("conv0-5", {"s1", "s2", "c3", "c4", "c5", "c6"}),
        (("conv6-11",), {"c7", "last"}),
        (("r3", "sum"), set()),
    ],
)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_what_is_named_stays_in_floating_point(int8, keep, named, target):
    done = int8(keep_fp=keep, qdq_target=target)
    assert integer(done.path) == INTEGER[target] - named
    assert done.card.quantization.kept_in_float == ((keep,) if isinstance(keep, str) else keep)


def test_the_first_convolution_reads_whole_levels_and_loses_nothing(int8):
    graph = onnx.load(int8().path).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    (pair,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == INTEGER_INPUT)
    assert [stored[name].item() for name in pair.input[1:]] == [1.0, 114]


@pytest.mark.parametrize("wishes", [{"keep_fp": ("s1",)}, {"qdq_target": "tensorrt"}])
def test_in_floating_point_it_reads_what_it_always_read(int8, wishes):
    graph = onnx.load(int8(**wishes).path).graph
    assert next(n for n in graph.node if n.name == "s1").input[0] == "x"


def test_a_classifier_keeps_its_first_convolution_in_floating_point(net, int8, tmp_path):
    model = onnx.load(net)
    for kind, source, made in (("GlobalAveragePool", "y", "pooled"), ("Flatten", "pooled", "z")):
        model.graph.node.append(onnx.helper.make_node(kind, [source], [made], kind))
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3]))
    onnx.save(model, tmp_path / "classifier.onnx")
    done = int8(weights=tmp_path / "classifier.onnx", task="classification")
    assert integer(done.path) == INTEGER["cpu"] - {"s1"}
    assert next(n for n in onnx.load(done.path).graph.node if n.name == "s1").input[0] == "x"


@pytest.mark.slow
@pytest.mark.parametrize("keep", [(), ("none",)])
@pytest.mark.parametrize("order", ["bgr", "rgb"])
def test_bytes_in_give_the_masks_of_floats_in(int8, keep, order):
    floats, pixels = (Predictor(int8(f"{w}.onnx", keep_fp=keep, pixels_in=w).path) for w in (False, order))
    for picture in synthetic_images(3, (64, 64)):
        np.testing.assert_array_equal(pixels.predict(picture).mask, floats.predict(picture).mask)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_with_none_kept_every_convolution_is_int8_but_those_named(int8, target):
    done = int8(keep_fp=("none", "c4"), qdq_target=target)
    assert integer(done.path) == {"s1", "s2", *ALL, "last"} - {"c4"}
    assert done.card.quantization.kept_in_float == ("none", "c4")


@pytest.mark.parametrize("method", ["entropy", "percentile", "minmax"])
def test_the_stem_is_clipped_no_harder_than_it_stands(int8, tmp_path, method):
    model = onnx.load(int8(keep_fp=("none",), calib_method=method, qdq_target="tensorrt").path)
    tensors = CalibrationTable.load(tmp_path / "int8.calib.json").tensors
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = {n.input[0]: float(stored[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert scales["x"] * 127 == pytest.approx(tensors["x"].amax["minmax"])
    assert scales["b"] * 127 == pytest.approx(max(tensors["b"].amax[m] for m in (method, "mse")))
    assert scales["i"] * 127 == pytest.approx(tensors["i"].amax[method])


@pytest.mark.parametrize("keep", [("*",), ("conv0-5", "conv6-11")])
def test_keeping_everything_is_refused_before_any_pass(int8, passes, tmp_path, keep):
    with pytest.raises(UsageError, match="needs a convolution to quantize, got none beside what the recipe keeps"):
        int8(keep_fp=keep)
    assert passes == []
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_block_is_refused_before_any_pass(int8, passes, tmp_path):
    with pytest.raises(UsageError, match=r"got 'stage9'\. Blocks: conv0-5, conv6-11"):
        int8(keep_fp=("stage9",))
    assert passes == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_rounded_only_where_its_sensitivity_is_measured(int8, monkeypatch):
    rounded, round_weights = [], quantizing.round_weights

    def noted(graph, nodes, images, **options):
        rounded.append(nodes)
        return round_weights(graph, nodes, images, **options)

    monkeypatch.setattr(quantizing, "round_weights", noted)
    int8(keep_fp=("c4",), qdq_target="tensorrt")
    int8(keep_fp=("c4",), qdq_target="tensorrt", sensitivity=True)
    assert rounded == [ALL - {"c4"}, ALL - {"c4"}, {"c4"}]


def test_keep_fp_auto_keeps_nothing_where_int8_is_good_enough(int8, scored):
    scored(0.8, 0.9, 0.999)
    done = int8(keep_fp=("auto",))
    assert done.card.quantization.kept_in_float == ()
    assert integer(done.path) == INTEGER["cpu"]


def test_keep_fp_auto_takes_the_most_sensitive_block_and_stops(int8, scored):
    scored(0.9, 0.8, 0.9, 0.9, 0.999)  # two blocks alone, INT8 throughout (twice), without the worst block
    done = int8(keep_fp=("auto",))
    assert done.card.quantization.kept_in_float == ("conv6-11",)
    assert integer(done.path) == INTEGER["cpu"] - {"c7", "last"}
    assert list(done.sensitivity) == ["conv6-11", "conv0-5"]


def test_keep_fp_auto_ends_with_one_block_left(int8, scored):
    scored(0.95)
    assert integer(int8(keep_fp=("auto",)).path) == {"c7", "last"}


def test_keep_fp_auto_adds_to_what_is_named(int8, scored):
    scored(0.9, 0.8, 0.9, 0.9, 0.999)
    done = int8(keep_fp=("auto", "c7"))
    assert integer(done.path) == {"s1", "s2", "c3", "c4", "c5", "c6"}
    assert done.card.quantization.kept_in_float == ("c7", "conv6-11")


def test_sensitivity_scores_every_block_alone(int8):
    done = int8(sensitivity=True)
    assert set(done.sensitivity) == {"conv0-5", "conv6-11"}
    assert integer(done.path) == INTEGER["cpu"]


def test_a_graph_that_answers_wrongly_is_refused_and_not_written(int8, scored, tmp_path):
    for sqnr_db in (2.9, float("nan")):
        scored(0.4, sqnr_db=sqnr_db)
        with pytest.raises(VerificationError, match=r"got 40\.0% of equal predictions and (2\.9|nan) dB on 2 val"):
            int8()
    assert [p.name for p in tmp_path.iterdir()] == ["int8.calib.json"]


def test_too_few_equal_answers_are_refused_at_the_floor_that_is_named(int8, scored, tmp_path):
    scored(0.899, sqnr_db=9.0)
    with pytest.raises(AgreementError, match=r"at least 90% of the predictions .* on 2 validation .* got 89\.900%"):
        int8()
    assert not (tmp_path / "int8.onnx").exists()
    scored(0.9, sqnr_db=9.0)
    assert int8().agreement.passed


@pytest.mark.parametrize("sqnr_db", [9.0, 1.0])
def test_what_is_rejected_is_kept_on_request_and_the_error_still_comes(int8, scored, tmp_path, sqnr_db):
    scored(0.4, sqnr_db=sqnr_db)
    with pytest.raises(AgreementError, match=r"int8\.onnx was kept") as caught:
        int8(keep_rejected=True)
    assert caught.value.exit_code == 3
    assert caught.value.path == tmp_path / "int8.onnx"
    assert caught.value.path.is_file()


@pytest.mark.slow
def test_black_images_calibrate_no_net(demo, tmp_path):
    (tmp_path / "black").mkdir()
    for index in range(6):
        cv2.imwrite(str(tmp_path / "black" / f"{index}.png"), np.full((32, 32, 3), index % 2, np.uint8))
    for index, picture in enumerate(synthetic_images(6, (32, 48))):
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), picture)
    wishes = {"weights": demo / "hrnetv2_w18_small_v1_street.pth", "imgsz": "32x48", "precision": "int8"}
    with pytest.raises(AgreementError) as caught:
        export_artifact(
            calib_data=tmp_path / "black", eval_data=tmp_path / "photos", output=tmp_path / "s.onnx", **wishes
        )
    assert caught.value.agreement.images == 6
    assert not (tmp_path / "s.onnx").exists()


@pytest.mark.slow
def test_random_weights_answer_at_random_and_have_no_floor(tmp_path, folder):
    done = export_artifact(
        "hrnet_w18_small_v1", weights="random", num_classes=50, imgsz=32, precision="int8", calib_data=folder,
        keep_fp=("/stage[34]*", "head"), output=tmp_path / "r.onnx",
    )  # fmt: skip
    assert done.agreement is None


def test_an_fp16_remainder_holds_halves_beside_integers(int8):
    done = int8(qdq_target="tensorrt", remainder="fp16")
    model = onnx.load(done.path)
    onnx.checker.check_model(model, full_check=True)
    kinds = {t.data_type for t in model.graph.initializer}
    assert {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8} <= kinds
    assert integer(done.path) == ALL
    assert done.card.quantization.validation.agreement > 0.9
    assert done.card.quantization.remainder == "fp16"
    assert next(o.version for o in model.opset_import if not o.domain) >= 19


@pytest.mark.slow
def test_a_trt_cache_holds_the_table_s_ranges_beside_the_graph(int8, tmp_path):
    int8(trt_cache="8.6.1", qdq_target="tensorrt")
    table = CalibrationTable.load(tmp_path / "int8.calib.json")
    text = (tmp_path / "int8.cache").read_text()
    assert text.startswith("TRT-8601-EntropyCalibration2\n")
    amax = cache_amax(text)
    # What the stem and the last layer alone meet stays in float; a Conv and its ReLU share a scale.
    assert set(amax) == set("defghijklmno")
    assert amax["f"] == amax["e"] == pytest.approx(table.amax()["f"], rel=1e-6)


def test_a_trt_cache_for_a_tensorrt_that_has_none_is_refused_before_any_pass(int8, passes, tmp_path):
    with pytest.raises(UsageError, match="11"):
        int8(trt_cache="11.0", qdq_target="tensorrt")
    assert passes == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "wishes",
    [
        {"pixels_in": "bgr"},
        {"pixels_in": "rgb", "labels_out": True},
        {"labels_out": True},
        {"batch": 1},
        {"batch": 3, "pixels_in": True},
        {"imgsz": "dynamic"},
        {"per_tensor": True},
        {"opset": 17},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_int8_goes_with_every_other_wish(int8, net, folder, tmp_path, wishes, target):
    done = int8(qdq_target=target, **wishes)
    onnx.checker.check_model(onnx.load(done.path), full_check=True)
    plain = {k: v for k, v in wishes.items() if k == "imgsz"}
    options = {"task": "segmentation", "imgsz": 64, **plain}
    reference = export_artifact(str(net), output=tmp_path / "fp32.onnx", **options).path
    pictures = sorted(map(str, folder.iterdir()))[:3]
    ours, wanted = ([r.mask for r in Predictor(p, device="cpu").predict(pictures)] for p in (done.path, reference))
    assert np.mean([np.mean(a == b) for a, b in zip(ours, wanted, strict=True)]) > 0.9


@pytest.mark.slow
def test_a_range_below_the_floor_gets_the_floor_s_scale(net, folder, tmp_path):
    model = onnx.load(net)
    model.graph.node[2].input[1] = "tiny"
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((8, 8, 1, 1), 1e-8, np.float32), "tiny"))
    onnx.save(model, tmp_path / "tiny.onnx")
    options = {"task": "segmentation", "imgsz": 64, "precision": "int8", "calib_data": folder}
    for target, levels in (("tensorrt", 127), ("cpu", 255)):
        done = export_artifact(str(tmp_path / "tiny.onnx"), output=tmp_path / "t.onnx", qdq_target=target, **options)
        (pair,) = (n for n in onnx.load(done.path).graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "d")
        tensors = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(done.path).graph.initializer}
        assert tensors[pair.input[1]] == pytest.approx(1e-3 / levels)
