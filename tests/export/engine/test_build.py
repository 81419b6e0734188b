"""Engines: real builds with TensorRT-RTX, which needs no GPU, and a TensorRT 8.6 and 10 that follow NVIDIA's types."""

import contextlib
import dataclasses
import importlib.util
import re
import struct
import types
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from hrnet_deploy import UsageError, VerificationError
from hrnet_deploy.artifact.engine_sidecar import read_sidecar, sidecar_path
from hrnet_deploy.artifact.plan_file import read_plan
from hrnet_deploy.calibration.implicit_int8 import implicit_int8
from hrnet_deploy.calibration.qdq_placement import place_qdq
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.engines.tensorrt.layers import Layer
from hrnet_deploy.errors import BuildError
from hrnet_deploy.export import export_artifact, run
from hrnet_deploy.export.engine import build as compiling
from hrnet_deploy.export.engine import plan as engine_plan
from hrnet_deploy.exporters.simplify import simplify
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.qdq_plan import ActivationRange, QdqTarget, Residual
from hrnet_deploy.spec import OutputKind, Precision

T4 = ("Tesla T4", "sm75")
LARGE = ("/stage[34]*", "head")
"""What takes longest to round; where the layers in INT8 do not matter, it stays in float."""


def cache_amax(text: str) -> dict[str, float]:
    """The magnitude mapped to code 127 by tensor, as TensorRT reads a calibration cache."""
    pairs = [line.rpartition(": ")[::2] for line in text.splitlines()[1:]]
    return {name: struct.unpack(">f", bytes.fromhex(digits))[0] * 127 for name, digits in pairs}


@pytest.fixture(scope="module")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install 'hrnet-deploy[tensorrt-rtx]'")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of eight pictures to calibrate on."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, made in enumerate(synthetic_images(8, (64, 64))):
        cv2.imwrite(str(folder / f"{index}.png"), made)
    return folder


@pytest.fixture
def photos(demo, tmp_path):
    """Export the demo's classifier; keywords as for `export_artifact`."""

    def make(name="photos.engine", **options):
        wishes = {
            "weights": demo / "hrnet_w18_small_v1_photos10.safetensors",
            "imgsz": 64,
            "resize": "squash",
            "classes": demo / "photos10.txt",
        }
        return export_artifact(output=tmp_path / name, **(wishes | options))

    return make


@pytest.fixture
def classic(monkeypatch, fake, tmp_path):
    """A classic TensorRT of some version on a T4; returns its scripted state."""

    def machine(version):
        monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
        api = fake(version)
        monkeypatch.setattr(engine_plan, "find_api", lambda _backend: api)
        monkeypatch.setattr(engine_plan, "_local_gpu", lambda _device: engine_plan._Local(*T4))
        monkeypatch.setattr(compiling, "_runs_here", lambda _plan: False)
        return api.module.state

    return machine


def names(path):
    return sorted(p.name for p in path.iterdir())


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.parametrize(
    ("precision", "target", "convolutions"),
    [("fp32", "sm86", 91), ("fp32", "sm75", 92), ("fp16", "sm75,sm86", 92), ("fp16", "sm120", 91)],
)
def test_an_engine_with_its_sidecar_and_nothing_else(rtx, photos, tmp_path, precision, target, convolutions):
    done = photos(precision=precision, target=target, batch="1:4:8")
    assert names(tmp_path) == ["photos.engine", "photos.engine.json"]
    facts = read_sidecar(sidecar_path(done.path))
    assert facts == done.engine.facts
    assert facts.card == done.card
    assert (facts.flavour, facts.version) == ("tensorrt-rtx", rtx.__version__)
    assert facts.capabilities == tuple(target.split(","))
    assert facts.plan_bytes == done.path.stat().st_size == done.size_bytes - sidecar_path(done.path).stat().st_size
    assert facts.profile == {"input": ((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))}
    # On Turing the classifier is a convolution, too.
    assert facts.convolutions == {"asked": convolutions, "reached": convolutions}
    assert f"--target {target}" in facts.rebuild
    assert read_plan(done.path).flavour == "tensorrt-rtx"
    assert done.engine.parity is None or done.engine.parity.agreement > 0.9
    assert 0 < done.card.measured["parity_agreement"] <= 1


@pytest.mark.rtx
@pytest.mark.slow
@pytest.mark.parametrize(("net", "imgsz", "convolutions"), [
    ("hrnet_w18_small_v2", "64", {"fp32": 164, "fp16": 164, "int8": 162}),
    ("hrnetv2_w18_small_v2", "64x128", {"fp32": 146, "fp16": 146, "int8": 143}),
])  # fmt: skip
def test_every_precision_on_every_generation(rtx, tmp_path, monkeypatch, net, imgsz, convolutions):
    path = Path(__file__).parents[3] / "benchmarks" / "engines.py"
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location("engines_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setitem(benchmark.MODELS, net, imgsz)
    records = benchmark.build_all(net, ("sm75", "sm86", "sm120"), benchmark.PRECISIONS, tmp_path)
    found = {(row["precision"], row["target"]): row for row in records}
    for layout in ("int8", "int8, residual int8"):
        assert "no INT8 convolution there" in found.pop((layout, "sm75"))["refused"]
    assert len(found) == 10
    for (precision, target), row in found.items():
        # On Turing the classifier is one more.
        extra = target == "sm75" and net == "hrnet_w18_small_v2"
        wanted = convolutions[precision.partition(",")[0]]
        assert row["achieved"] == row["requested"] == wanted + extra, (precision, target)
        # Bias, ReLU and sums are inside the convolutions; INT8 scales its sums apart.
        assert wanted < row["kernels"] < 2 * wanted, (precision, target)
    plans = {precision: row["mib"] for (precision, target), row in found.items() if target == "sm86"}
    assert plans["fp16"] < 0.7 * plans["fp32"]


@pytest.mark.slow
@pytest.mark.rtx
def test_int8_runs_in_int8(rtx, photos, pictures, tmp_path):
    done = photos(precision="int8", calib_data=pictures, target="sm86")
    assert names(tmp_path) == ["photos.calib.json", "photos.engine", "photos.engine.json"]
    assert done.engine.asked == done.engine.reached == 89
    assert done.card.quantization.target is QdqTarget.TENSORRT


@pytest.mark.slow
@pytest.mark.rtx
def test_a_street_net_with_pixels_in_labels_out_and_open_sizes(rtx, demo, tmp_path):
    done = export_artifact(
        weights=demo / "hrnetv2_w18_small_v1_street.pth", precision="fp16", output=tmp_path / "s.engine",
        imgsz="64:128x256:256x512", batch=1, pixels_in=True, labels_out=True, target="sm86",
    )  # fmt: skip
    assert done.engine.facts.profile == {"input": ((1, 64, 64, 3), (1, 128, 256, 3), (1, 256, 512, 3))}
    assert done.engine.reached == done.engine.asked
    assert done.card.output_kind is OutputKind.LABELS


@pytest.mark.slow
@pytest.mark.rtx
def test_an_artefact_is_compiled_as_it_is(rtx, photos, tmp_path):
    half = photos("half.onnx", precision="fp16")
    done = export_artifact(str(half.path), output=tmp_path / "half.engine", target="sm89", batch="1:2:4")
    assert done.card.precision is Precision.FP16
    assert done.card.classes == half.card.classes
    assert done.card.lineage == half.card.lineage
    assert done.card.shapes.max_nhw == (4, 64, 64)
    assert done.engine.asked == done.engine.reached == 91
    assert done.difference is None or done.difference.agreement > 0.9


@pytest.mark.slow
@pytest.mark.rtx
@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        ({"precision": "fp16"}, {"precision": "fp32"}, "must start from a plain FP32 graph, got photos.onnx in fp16"),
        ({"pixels_in": True}, {"precision": "fp16"}, "got photos.onnx in fp32 with pixels-in"),
        ({"batch": 2}, {"batch": "1:2:4"}, "Leave them out"),
        ({}, {"imgsz": 96}, "Leave them out"),
    ],
)
def test_what_an_artefact_cannot_become(rtx, photos, tmp_path, made, options, message):
    source = photos("photos.onnx", **made).path
    with pytest.raises(UsageError, match=message):
        export_artifact(str(source), output=tmp_path / "other.engine", target="sm86", **options)
    assert names(tmp_path) == ["photos.onnx"]


@pytest.mark.slow
def test_an_artefact_for_the_cpu_is_no_start_for_an_engine(rtx, photos, pictures, tmp_path):
    source = photos("photos.onnx", precision="int8", calib_data=pictures, keep_fp=LARGE).path
    with pytest.raises(UsageError, match="Q/DQ pairs for TensorRT, got"):
        export_artifact(str(source), output=tmp_path / "other.engine", target="sm86")


@pytest.mark.slow
def test_an_fp32_artefact_is_a_start_with_its_own_card(photos, tmp_path):
    first = photos("photos.onnx", mean=(0.4, 0.5, 0.6))
    half = export_artifact(str(first.path), precision="fp16", output=tmp_path / "half.onnx")
    assert half.card.classes == first.card.classes
    assert half.card.preprocessing == first.card.preprocessing
    assert half.card.variant == "hrnet_w18_small_v1"
    assert half.card.lineage["weights_sha256"] == first.card.lineage["weights_sha256"]


@pytest.mark.slow
def test_too_few_convolutions_in_the_precision_are_an_error_that_names_them(rtx, photos, tmp_path, monkeypatch):
    build = compiling.build

    def slower(api, request):
        built = build(api, request)
        layers = tuple(
            Layer(x.name, x.kind, ("Float",), ("Float",), x.onnx_nodes) if "stage3" in str(x.onnx_nodes) else x
            for x in built.layers
        )
        return type(built)(built.plan, layers, built.seconds)

    monkeypatch.setattr(compiling, "build", slower)
    with pytest.raises(VerificationError, match=r"engine must run 91 convolutions in fp16, got \d+: not .*stage3") as e:
        photos(precision="fp16", target="sm86")
    assert e.value.exit_code == 3
    assert names(tmp_path) == []


TOY = """[s1] a = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(x, u) [r1] b = Relu(a) [s2] c = Conv(b, w)
    [r2] d = Relu(c) [c3] e = Conv(d, w, p) [r3] f = Relu(e) [c4] g = Conv(f, w, p) [sum] h = Add(g, d)
    [r4] i = Relu(h) [c5] j = Conv(i, v) [r5] k = Relu(j) [c6] l = Conv(k, w) [up] m = Resize<mode = "nearest">(l, , z)
    [fuse] n = Add(m, i) [r6] o = Relu(n) [c7] q = Conv(o, t) [r7] r = Relu(q) [last] y = Conv(r, w)"""
CONVOLUTIONS = ("s1", "s2", "c3", "c4", "c5", "c6", "c7", "last")


@pytest.fixture
def toy(tmp_path, pictures):
    """Export a foreign net of eight convolutions; keywords as for `export_artifact`."""
    text = f"g (float[N, 3, H, W] x) => (float[N, 8, A, B] y) <float[4] z = {{1, 1, 1, 1}}> {{ {TOY} }}"
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    rng = np.random.default_rng(0)
    shapes = {"u": (8, 3, 3, 3), "w": (8, 8, 1, 1), "v": (8, 8, 1, 1), "t": (8, 8, 1, 1), "p": (8,)}
    for name, shape in shapes.items():
        array = (rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    path = tmp_path / "source" / "toy.onnx"
    path.parent.mkdir()
    onnx.save(model, path)

    def make(name="toy.engine", precision="int8", **options):
        options |= {"calib_data": pictures} if precision == "int8" else {}
        wishes = {"task": "segmentation", "imgsz": 32, "precision": precision, "output": tmp_path / name}
        return export_artifact(str(path), **(wishes | options))

    return make


class Gpus:
    """CUDA with two GPUs: notes which one is current when something is asked."""

    def __init__(self):
        self.current = 0

    def activate(self, device):
        pass  # in the thread that builds

    @contextlib.contextmanager
    def active(self, device):
        before, self.current = self.current, device
        yield
        self.current = before


@pytest.fixture
def told(monkeypatch, classic):
    """(version, inspector's convolutions, log's) -> build on the second GPU; returns where it was inspected."""

    def machine(version, inspected, logged=()):
        state = classic(version)
        gpus, asked_on = Gpus(), []
        built = compiling.build

        def inspect(_api, _plan):
            asked_on.append(gpus.current)
            return tuple(inspected)

        def build(api, request):
            return dataclasses.replace(built(api, request), layers=tuple(logged))

        monkeypatch.setattr(compiling, "inspect", inspect)
        monkeypatch.setattr(compiling, "build", build)
        monkeypatch.setattr(compiling, "_runs_here", lambda _plan: True)
        monkeypatch.setattr(compiling, "measure_parity", lambda *_: None)
        monkeypatch.setattr("hrnet_deploy.engines.cuda.provider.open_cuda", lambda: gpus)
        return state, asked_on

    return machine


def kernels(dtype, share=1.0):
    """A kernel of a type for the first convolutions of the toy, and one in float for each of the others."""
    fast = round(share * len(CONVOLUTIONS))
    types = [dtype if index < fast else "Float" for index in range(len(CONVOLUTIONS))]
    return [Layer(n, "CaskConvolution", (t,), (), (n,)) for n, t in zip(CONVOLUTIONS, types, strict=True)]


@pytest.mark.slow
def test_an_engine_is_inspected_on_the_gpu_that_builds_it(told, toy):
    _, asked_on = told("10.13.0.35", kernels("Half"), kernels("Float"))
    done = toy(precision="fp16", device="cuda:1")
    assert asked_on == [1]
    # The inspector knows better than the log.
    assert done.engine.reached == done.engine.asked == 8


def test_the_log_answers_where_the_inspector_names_no_type(told, toy):
    unknown = [dataclasses.replace(layer, inputs=("N/A due to dynamic shapes",)) for layer in kernels("Half")]
    told("10.13.0.35", unknown, kernels("Half"))
    assert toy(precision="fp16").engine.reached == 8


def test_an_inspector_that_fails_leaves_the_log(told, toy, monkeypatch):
    def fails(_api, _plan):
        raise BuildError("layer list must be given, got none.")

    told("10.13.0.35", (), kernels("Half"))
    monkeypatch.setattr(compiling, "inspect", fails)
    assert toy(precision="fp16").engine.reached == 8
    told("10.13.0.35", ())
    monkeypatch.setattr(compiling, "inspect", fails)
    with pytest.raises(BuildError, match="layer list"):
        toy(precision="fp16")


@pytest.mark.slow
def test_pairs_under_flags_count_what_they_quantise(told, toy):
    told("8.6.1", kernels("Int8"))
    assert toy(int8_path="qdq", remainder="fp32").engine.asked == 5


def test_kernels_that_cannot_be_identified_are_a_warning(told, toy, caplog):
    told("10.13.0.35", kernels("Half")[:-3])
    done = toy(precision="fp16")
    assert (done.engine.asked, done.engine.reached) == (8, 5)
    assert "TensorRT 10.13.0.35 does not tell the precision of 3 of 8 convolutions: c6, c7, last." in caplog.text


def test_an_engine_of_which_nothing_is_told_claims_nothing(told, toy):
    told("10.13.0.35", [Layer("myelin", "Myelin", (), (), ())])
    assert toy(precision="fp16").engine.reached is None


@pytest.mark.parametrize(("share", "warns"), [(1, False), (0.7, True)])
def test_an_engine_with_little_fp16_is_a_warning(told, toy, caplog, share, warns):
    told("8.6.1", kernels("Half", share))
    assert toy(precision="fp16").engine.reached == round(share * 8)
    assert ("of 8 convolutions run in fp16, which TensorRT chose" in caplog.text) == warns


def test_an_engine_without_any_is_refused(told, toy):
    told("8.6.1", kernels("Float"))
    with pytest.raises(VerificationError, match=r"in fp16, got 0: not s1"):
        toy(precision="fp16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("version", "precision", "path", "flags", "opset", "typed"),
    [
        ("8.6.1", "fp32", "auto", set(), 17, False),
        ("8.6.1", "fp16", "auto", {"FP16"}, 17, False),
        ("8.6.1", "int8", "auto", {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}, 17, False),
        ("8.6.1", "int8", "qdq", {"FP16", "INT8"}, 17, False),
        ("10.13.0.35", "fp16", "auto", set(), 20, True),
        ("10.13.0.35", "int8", "auto", {"FP16", "INT8", "OBEY_PRECISION_CONSTRAINTS"}, 17, False),
        ("10.13.0.35", "int8", "qdq", set(), 20, True),
        ("11.4.0.106", "int8", "auto", set(), 20, True),
    ],
)
def test_flags_and_types_are_never_mixed(
    classic, photos, pictures, tmp_path, version, precision, path, flags, opset, typed
):
    state = classic(version)
    options = {"calib_data": pictures, "int8_path": path, "keep_fp": LARGE} if precision == "int8" else {}
    done = photos(precision=precision, **options)
    graph = onnx.load_from_string(state.graph)
    ops = {n.op_type for n in graph.graph.node}
    half = onnx.TensorProto.FLOAT16 in {t.data_type for t in graph.graph.initializer}
    assert state.flags - {"TF32"} == flags
    assert graph.opset_import[0].version == done.card.opset == opset
    implicit = flags >= {"INT8"} and path == "auto"
    assert half == (typed and precision != "fp32")
    assert ("QuantizeLinear" in ops) == (precision == "int8" and not implicit)
    assert (state.config.int8_calibrator is not None) if implicit else True
    assert done.path.read_bytes() == b"a plan"
    assert done.engine.facts.gpu == "Tesla T4"
    assert done.engine.reached is None  # the fake's inspector has no layers to tell of


@pytest.fixture
def implicit(classic, toy):
    """Export the toy through TensorRT's calibrator; returns what TensorRT was given and the export."""

    def make(version="10.13.0.35", **options):
        state = classic(version)
        state.parse_layers = True
        done = toy(**options)
        text = state.config.int8_calibrator.read_calibration_cache().decode()
        header, amax = text.partition("\n")[0], cache_amax(text)
        half = {name for name, layer in state.layers.items() if layer.precision is not None}
        return types.SimpleNamespace(state=state, done=done, header=header, amax=amax, half=half)

    return make


STEM_AND_LAST = {"s1", "r1", "s2", "r2", "last"}
ALL_VALUES = set("abcdefghijklmnoqr")


@pytest.mark.slow
def test_the_calibrator_answers_from_the_table(implicit, tmp_path):
    found = implicit(batch="1:2:4")
    assert found.header == "TRT-101300-EntropyCalibration2"
    table = CalibrationTable.load(tmp_path / "toy.calib.json")
    amax = table.amax("entropy")
    assert found.amax["f"] == pytest.approx(amax["f"])
    # Shared with the ReLU behind, the Resize before.
    assert found.amax["e"] == found.amax["f"]
    assert found.amax["m"] == found.amax["l"]
    # A sum's other values keep three quarters of what is below zero.
    low, high = table.tensors["l"].low, table.tensors["l"].high
    assert found.amax["l"] == pytest.approx(max(0.75 * min(-low, amax["l"]), min(high, amax["l"])))
    assert found.state.calibration == {"x": ((2, 3, 32, 32),) * 3}


@pytest.mark.slow
def test_what_the_recipe_keeps_stays_out_of_implicit_int8(implicit):
    found = implicit()
    assert set(found.amax) == ALL_VALUES - {"a", "b", "c"}
    assert found.half == STEM_AND_LAST
    assert all(found.state.layers[name].precision.name == "HALF" for name in found.half)
    assert "OBEY_PRECISION_CONSTRAINTS" in found.state.flags
    assert found.done.engine.asked == 5


@pytest.mark.slow
def test_what_the_user_keeps_stays_out_of_implicit_int8(implicit):
    found = implicit(keep_fp=("c5", "r5", "c6"))
    assert found.half == STEM_AND_LAST | {"c5", "r5", "c6"}
    assert {"j", "k"}.isdisjoint(found.amax)
    assert {"i", "l"} <= set(found.amax)


@pytest.mark.slow
def test_with_nothing_kept_the_stem_s_floors_reach_the_cache(implicit, tmp_path):
    found = implicit(keep_fp=("none",), calib_method="percentile")
    assert set(found.amax) == ALL_VALUES | {"x"}
    assert found.half == set()
    assert "OBEY_PRECISION_CONSTRAINTS" not in found.state.flags
    table = CalibrationTable.load(tmp_path / "toy.calib.json")
    for name, floor in (("x", "minmax"), ("b", "mse")):
        wanted = max(table.amax("percentile")[name], table.amax(floor)[name])
        assert found.amax[name] == pytest.approx(wanted), name


@pytest.mark.slow
def test_with_pixels_in_the_scale_is_that_of_the_normalised_value(implicit):
    found = implicit(keep_fp=("none",), pixels_in=True)
    values = {name for node in onnx.load_from_string(found.state.graph).graph.node for name in node.output}
    assert "x" not in found.amax
    assert set(found.amax) <= values
    assert found.amax["pixels_in/normalised"] > 1


@pytest.mark.slow
def test_rounded_weights_reach_the_graph_that_tensorrt_quantises(implicit, toy):
    stored = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(implicit().state.graph).graph.initializer
    }
    judged = {
        t.name: onnx.numpy_helper.to_array(t)
        for t in onnx.load(toy("toy.onnx", qdq_target="tensorrt").path).graph.initializer
    }
    for name in ("v", "t"):
        scales = np.abs(stored[name]).max(axis=(1, 2, 3), keepdims=True) / np.float32(127)
        levels, wanted = np.rint(stored[name] / scales), judged[f"int8/{name}_quantized"]
        whole = np.abs(wanted).max(axis=(1, 2, 3)) == 127
        assert whole.any()
        np.testing.assert_array_equal(levels[whole], wanted[whole])


@pytest.mark.slow
def test_the_card_says_which_quantisation_was_measured(implicit, toy, classic):
    assert implicit().done.card.quantization.implicit
    classic("10.13.0.35")
    assert not toy(int8_path="qdq", remainder="fp32").card.quantization.implicit


@pytest.mark.slow
def test_every_value_of_a_real_net_has_a_scale(photos_onnx):
    model = simplify(onnx.load(photos_onnx))
    layouts = [(QdqTarget.CPU, Residual.FLOAT), *((QdqTarget.TENSORRT, residual) for residual in Residual)]
    measured = {name for target, residual in layouts for name in place_qdq(model, target, (), residual).measured}
    found = implicit_int8(model, dict.fromkeys(measured, ActivationRange(-1.0, 1.0)), ()).amax
    values = {name for node in model.graph.node if node.op_type != "Constant" for name in node.output}
    assert len(values - measured) > 80
    assert values - found.keys() == {model.graph.output[0].name}


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"residual": "int8"}, {"per_tensor": True}])
def test_what_a_calibrator_cannot_be_told_takes_pairs(classic, toy, options):
    state = classic("10.13.0.35")
    toy(remainder="fp32", **options)
    assert state.config.int8_calibrator is None
    assert "QuantizeLinear" in {node.op_type for node in onnx.load_from_string(state.graph).graph.node}
    with pytest.raises(UsageError, match=r"^--(residual|per-tensor) needs --int8-path qdq, got implicit"):
        toy(int8_path="implicit", **options)


@pytest.mark.slow
def test_an_fp16_remainder_takes_pairs_in_a_graph_that_holds_its_types(classic, toy):
    state = classic("10.13.0.35")
    done = toy(remainder="fp16", opset=19)
    graph = onnx.load_from_string(state.graph)
    assert state.config.int8_calibrator is None
    assert onnx.TensorProto.FLOAT16 in {tensor.data_type for tensor in graph.graph.initializer}
    assert graph.opset_import[0].version == done.card.opset == 19


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        (
            "10.13.0.35",
            {"int8_path": "implicit"},
            "--remainder fp16 needs --int8-path qdq, got implicit. Leave it out.",
        ),
        ("8.6.1", {}, "--remainder fp16 needs a TensorRT that takes FP16 from the graph (10 or newer), got 8.6.1. "),
        ("10.13.0.35", {"opset": 17}, "FP16 scales need opset 19, got 17. Leave --opset out."),
    ],
)
def test_an_fp16_remainder_that_cannot_be_is_refused_by_its_own_name(
    classic, toy, monkeypatch, version, options, message
):
    classic(version)
    monkeypatch.setattr(run, "open_source", None)  # no weights are read
    with pytest.raises(UsageError, match="^" + re.escape(message)):
        toy(remainder="fp16", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("toy.engine", {"int8_path": "qdq"}),  # FP16 is the default there
        ("toy.onnx", {"qdq_target": "tensorrt", "remainder": "fp16"}),
    ],
)
def test_a_graph_s_own_opset_without_fp16_scales_is_refused_before_it_runs(classic, toy, monkeypatch, name, options):
    classic("10.13.0.35")
    monkeypatch.setattr(run, "make_reference_batches", None)
    with pytest.raises(UsageError, match=r"^FP16 scales need opset 19, got the graph's own 17\. Give --opset 19\.$"):
        toy(name, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"residual": "half"}, r"--residual must be 'int8' or 'float', got 'half'"),
        ({"residual": "int8", "precision": "fp16"}, r"--residual applies to --precision int8 only, got an fp16"),
        ({"residual": "float", "qdq_target": "cpu"}, r"--residual needs --qdq-target tensorrt, got cpu"),
        ({"residual": "float"}, r"--residual needs --qdq-target tensorrt, got cpu"),
    ],
)
def test_a_residual_layout_where_there_is_none_is_refused(toy, options, message):
    with pytest.raises(UsageError, match=message):
        toy("toy.onnx", **options)


@pytest.mark.slow
def test_tensorrt_8_gets_float_weights_behind_pairs(classic, toy, monkeypatch):
    for version, kind in (("8.6.1", onnx.TensorProto.FLOAT), ("10.13.0.35", onnx.TensorProto.INT8)):
        state = classic(version)
        toy(int8_path="qdq", remainder="fp32")
        graph = onnx.load_from_string(state.graph).graph
        kinds = {t.name: t.data_type for t in graph.initializer}
        weights = {kinds[n.input[0]] for n in graph.node if n.op_type.endswith("zeLinear") and n.input[0] in kinds}
        assert weights == {kind}
