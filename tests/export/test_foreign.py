"""Somebody else's graphs: what they need is done or asked for in one line, before the work."""

import logging

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hrnet_deploy import ArtifactError, ExportError, Predictor, UsageError, export, export_artifact
from hrnet_deploy.cli.export import main
from hrnet_deploy.export.graph_io import shape_range
from hrnet_deploy.export.open_source import open_source
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.exporters import onnx_file
from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.spec import Interpolation, OutputKind, Resize, Rounding

CONV = "c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]>(x, w)"
HEAD = f"{CONV} r = Relu(c) p = GlobalAveragePool(r)"


def graph(text, *, opset=17, ir_version=8, channels=3):
    """ONNX text with the weights w (4, channels, 3, 3)."""
    model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}]>\n{text}')
    weights = np.random.default_rng(3).normal(size=(4, channels, 3, 3)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return model


@pytest.fixture
def make(tmp_path):
    """(model, options) -> the exported artefact."""

    def export_it(model, task="classification", **options):
        path = tmp_path / "net.onnx"
        onnx.save(model, path)
        return export_artifact(path, task=task, imgsz=32, output=tmp_path / "out.onnx", **options)

    return export_it


CLASSIFIER = f"g (float[N, 3, 32, 32] x) => (float[N, 4] y) {{ {HEAD} y = Flatten(p) }}"
TWO = (
    "g (float[N, 3, 32, 32] x) => (float[N, 4, 16, 16] aux, float[N, 4, 16, 16] out) "
    f"{{ {CONV} aux = Neg(c) out = Relu(c) }}"
)
UPSAMPLED = (
    "g (float[1, 3, 32, 32] x) => (float[1, 4, 32, 32] y) <float[4] s = {1.0, 1.0, 2.0, 2.0}> "
    f'{{ {CONV} y = Resize<mode = "linear">(c, s) }}'
)


def test_a_map_of_one_place_is_a_classifier(make):
    done = make(graph(f"g (float[N, 3, 32, 32] x) => (float[N, 4, 1, 1] y) {{ {HEAD} y = Identity(p) }}"))
    assert done.card.outputs[0].shape == ("batch", 4)
    assert len(Predictor(done.path, device="cpu").predict(synthetic_images(1, (32, 32))[0]).probs) == 4


def test_sizes_of_minus_one_are_open(make):
    model = graph(CLASSIFIER)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    assert make(model).card.inputs[0].shape == ("batch", 3, 32, 32)
    assert make(model, batch="1:2:4").card.shapes.max_nhw[0] == 4


@pytest.mark.parametrize("tail", ["y = Reshape(p, k)", "f = Flatten(p) y = Reshape(f, k)"])
@pytest.mark.parametrize("values", ["1, 4", "1, -1"])
def test_a_batch_that_is_baked_in_is_named_with_the_way_out(make, tail, values):
    text = f"g (float[N, 3, 32, 32] x) => (float[N, M] y) <int64[2] k = {{{values}}}> {{ {HEAD} {tail} }}"
    with pytest.raises(UsageError, match=r"net\.onnx leaves its batch open but takes one image only.*--batch 1"):
        make(graph(text))
    assert make(graph(text), batch=1).card.inputs[0].shape[0] == 1


def test_a_size_that_is_baked_in_is_named_with_the_way_out(tmp_path):
    text = (
        "g (float[N, 3, H, W] x) => (float[N, 4] y) <int64[2] k = {-1, 1024}, float[1024, 4] m> "
        f"{{ {CONV} f = Reshape(c, k) y = MatMul(f, m) }}"
    )
    model = graph(text.replace(", float[1024, 4] m", ""))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1024, 4), np.float32), "m"))
    onnx.save(model, tmp_path / "net.onnx")
    export(tmp_path / "net.onnx", task="classification", imgsz=32, output=tmp_path / "o.onnx")
    with pytest.raises(UsageError, match=r"images of 64x64, got: .*Give the --imgsz and --batch it was made for"):
        export(tmp_path / "net.onnx", task="classification", imgsz=64, output=tmp_path / "o.onnx")


@pytest.mark.parametrize("opset", [10, 13])
def test_resize_of_any_opset_answers_as_the_file_does(make, caplog, opset):
    text = UPSAMPLED if opset == 10 else UPSAMPLED.replace("(c, s)", "(c, , s)")
    with caplog.at_level(logging.WARNING):
        done = make(graph(text, opset=opset, ir_version=7), task="segmentation")
    assert done.difference.max_rel < 1e-6
    assert ("opset 10 resizes otherwise than PyTorch's interpolate" in caplog.text) == (opset == 10)


def test_upsample_of_opset_9_answers_as_the_file_does(make, caplog):
    text = UPSAMPLED.replace("Resize", "Upsample")
    with caplog.at_level(logging.WARNING):
        done = make(graph(text, opset=9, ir_version=4), task="segmentation")
    assert done.difference.max_rel < 1e-6
    assert "opset 9 resizes otherwise" in caplog.text


def test_scores_that_add_up_to_one_are_probabilities(make, caplog):
    softmax = "e = Exp(f) s = ReduceSum<keepdims = 1>(e, a) y = Div(e, s)"
    text = f"g (float[N, 3, 32, 32] x) => (float[N, 4] y) {{ {HEAD} f = Flatten(p) {softmax} }}"
    model = graph(text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "a"))
    with caplog.at_level(logging.WARNING):
        done = make(model)
    assert done.card.output_kind is OutputKind.PROBABILITIES
    assert "add up to 1" in caplog.text


def test_a_newer_ir_version_is_only_a_label(make, caplog):
    with caplog.at_level(logging.WARNING):
        done = make(graph(CLASSIFIER, ir_version=77))
    assert done.difference.max_abs == 0
    assert "IR version 77 is newer" in caplog.text


def test_a_newer_opset_is_refused_with_the_newest_that_runs(make):
    model = graph(CLASSIFIER)
    model.opset_import[0].version = 99
    with pytest.raises(ArtifactError, match=r"net\.onnx must be of opset \d+ at most.*got 99"):
        make(model)


def test_operators_of_others_are_named(make):
    model = graph(CLASSIFIER)
    model.graph.node.append(helper.make_node("Sparkle", ["y"], ["z"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    model.graph.output[0].name = "z"
    with pytest.raises(
        ArtifactError, match=r"net\.onnx must be a graph that ONNX Runtime runs, .*operators of com\.ex"
    ):
        make(model)


@pytest.mark.parametrize(
    ("entry", "channels", "advice"),
    [
        ("float[N, 1, 32, 32]", 1, "takes gray images"),
        ("float[N, 4, 32, 32]", 4, "takes 4 channels"),
        ("float[N, 32, 32, 3]", 3, "channels come last"),
        ("uint8[N, 3, 32, 32]", 3, "--pixels-in"),
        ("double[N, 3, 32, 32]", 3, "Export it in float32"),
        ("float16[N, 3, 32, 32]", 3, "Export it in float32"),
    ],
)
def test_another_input_is_refused_with_the_way_out(make, entry, channels, advice):
    text = f"g ({entry} x) => ({entry} y) {{ y = Identity(x) }}"
    with pytest.raises(ArtifactError, match=rf"net\.onnx must take float32 \(N, 3, H, W\), got .*{advice}"):
        make(graph(text, channels=channels))


def test_several_outputs_are_asked_about_and_one_is_taken(make, tmp_path):
    with pytest.raises(UsageError, match=r"aux \(N, 4, 16, 16\), out \(N, 4, 16, 16\).*--graph-output out"):
        make(graph(TWO), task="segmentation")
    done = make(graph(TWO), task="segmentation", graph_output="out")
    assert [spec.name for spec in done.card.outputs] == ["out"]
    assert done.card.lineage["graph_output"] == "out"
    batch = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    predictor = Predictor(done.path, device="cpu")
    assert predictor.infer(batch)["out"].min() == 0  # of a ReLU; the other is its negative


@pytest.mark.parametrize(
    "words",
    [("--graph-output", "aux", "-o", "OUT"), ("--output", "aux", "-o", "OUT"), ("-o", "OUT", "--output", "aux")],
)
def test_the_command_line_names_it_either_way(words, tmp_path, monkeypatch, capsys):
    onnx.save(graph(TWO), tmp_path / "net.onnx")
    target = tmp_path / "made.onnx"
    argv = ["hrnet-export", str(tmp_path / "net.onnx"), "--task", "segmentation", "--imgsz", "32"]
    monkeypatch.setattr("sys.argv", [*argv, *(str(target) if word == "OUT" else word for word in words)])
    assert main() == 0
    assert capsys.readouterr().out.strip() == str(target)
    assert [value.name for value in onnx.load(target).graph.output] == ["aux"]


def test_a_graph_can_be_made_twice_with_other_sizes(tmp_path):
    onnx.save(graph(CLASSIFIER), tmp_path / "net.onnx")
    origin = open_source(ExportOptions(tmp_path / "net.onnx", task="classification"))
    sizes = [shape_range(32, batch, (32, 32)) for batch in (2, None)]
    dims = [origin.to_onnx(shapes, None).graph.input[0].type.tensor_type.shape.dim[0] for shapes in sizes]
    assert (dims[0].dim_value, dims[1].dim_param) == (2, "batch")


def test_weights_beyond_one_file_are_refused_before_the_work(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "_ONE_FILE_LIMIT_BYTES", 100_000)
    where = {"output": tmp_path / "o.onnx", "imgsz": 32}
    with pytest.raises(UsageError, match=r"weights of hrnet_w18_small_v1 must take less than 0\.0001 GB"):
        export("hrnet_w18_small_v1", weights="random", **where)
    with pytest.raises(UsageError, match=r"weights of hrnet_w18_small_v1_photos10\.safetensors must take less"):
        export(weights=demo / "hrnet_w18_small_v1_photos10.safetensors", **where)
    assert list(tmp_path.iterdir()) == []


def test_a_huge_head_is_refused_before_memory_is_taken(tmp_path):
    with pytest.raises(UsageError, match="--num-classes must be 1 to 100000"):
        export("hrnet_w18_small_v1", weights="random", num_classes=10**9, imgsz=32, output=tmp_path / "o.onnx")


PADDLE = (Interpolation.OPENCV_LINEAR, Rounding.PADDLE)
PILLOW = (Interpolation.BILINEAR, Rounding.TORCHVISION)


@pytest.mark.parametrize(
    ("name", "expected"), [("official", PILLOW), ("timm", PILLOW), ("mmpretrain", PILLOW), ("paddle", PADDLE)]
)
def test_a_code_base_s_preprocessing_can_be_asked_for(make, name, expected):
    spec = make(graph(CLASSIFIER), preprocessing=name, crop_pct=0.95).card.preprocessing
    assert (spec.interpolation, spec.rounding) == expected
    assert (spec.crop_pct, spec.size_hw) == (0.95, (32, 32))


@pytest.mark.parametrize("pixels_in", [False, True, "rgb"])
def test_preprocessing_is_copied_from_another_artefact(make, tmp_path, pixels_in):
    colors = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    other = make(graph(CLASSIFIER), preprocessing="paddle", crop_pct=0.8, pixels_in=pixels_in, **colors)
    other.path.rename(tmp_path / "other.onnx")
    done = make(graph(CLASSIFIER), preprocessing=tmp_path / "other.onnx")
    spec = done.card.preprocessing
    assert (spec.interpolation, spec.rounding, spec.crop_pct) == (*PADDLE, 0.8)
    assert (spec.mean, spec.std) == (colors["mean"], colors["std"])
    picture = cv2.resize(synthetic_images(1, (64, 48))[0], (80, 60))
    ours, theirs = (Predictor(path, device="cpu").predict(picture) for path in (done.path, tmp_path / "other.onnx"))
    np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-5)


def test_preprocessing_that_does_not_exist_or_suit_is_refused(make, tmp_path, street_onnx):
    with pytest.raises(UsageError, match="--preprocessing must be official, timm, mmpretrain, paddle or"):
        make(graph(CLASSIFIER), preprocessing="caffe")
    with pytest.raises(UsageError, match="--preprocessing must name a file for classification"):
        make(graph(CLASSIFIER), preprocessing=street_onnx)
    onnx.save(graph(CLASSIFIER), tmp_path / "plain.onnx")
    with pytest.raises(UsageError, match="--preprocessing must name a file with a model card"):
        make(graph(CLASSIFIER), preprocessing=tmp_path / "plain.onnx")
    spec = make(graph(TWO), task="segmentation", graph_output="out", preprocessing="official").card.preprocessing
    assert (spec.resize, spec.interpolation) == (Resize.SQUASH, Interpolation.OPENCV_LINEAR)
    with pytest.raises(UsageError, match="--preprocessing of a segmentation model must be official or a file"):
        make(graph(TWO), task="segmentation", graph_output="out", preprocessing="timm")


def test_a_pointer_instead_of_a_file_is_called_one(tmp_path):
    (tmp_path / "n.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for attempt in (
        lambda: export(tmp_path / "n.onnx", task="classification", output=tmp_path / "o.onnx"),
        lambda: Predictor(tmp_path / "n.onnx", device="cpu"),
    ):
        with pytest.raises(ArtifactError, match=r"a git-lfs pointer\. Fetch the file itself with 'git lfs pull'"):
            attempt()


@pytest.mark.slow
@pytest.mark.parametrize(("change", "reason"), [("ir", "IR version 77, newer"), ("opset", "opset 99, newer")])
def test_a_file_newer_than_the_runtime_is_told_with_the_way_out(photos_onnx, tmp_path, change, reason):
    model = onnx.load(photos_onnx)
    if change == "ir":
        model.ir_version = 77
    else:
        model.opset_import[0].version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(ArtifactError, match=rf"{reason}.*pip install -U onnxruntime"):
        Predictor(tmp_path / "new.onnx", device="cpu")


def test_fp16_of_a_graph_with_graphs_inside_is_refused(make):
    branches = (
        "then_branch = t () => (float[N, 4] a) { a = Relu(f) }, else_branch = e () => (float[N, 4] b) { b = Neg(f) }"
    )
    choice = f"m = ReduceMax<keepdims = 0>(x) k = Cast<to = {TensorProto.BOOL}>(m) y = If(k) <{branches}>"
    text = f"g (float[N, 3, 32, 32] x) => (float[N, 4] y) {{ {HEAD} f = Flatten(p) {choice} }}"
    assert make(graph(text)).difference.max_abs == 0
    with pytest.raises(ExportError, match="FP16 needs a graph without graphs inside, got a node of kind If"):
        make(graph(text), precision="fp16")
