"""Every broken input ends in one line that says what and what to do, exit code 2, and nothing on disk."""

import pickle
import shutil
import sys
import zipfile

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from hrnet_deploy.cli import export as export_command
from hrnet_deploy.cli import models as models_command
from hrnet_deploy.cli import predict as predict_command


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    """Run a command in an empty folder; returns (exit code, stderr lines, files it left there)."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        try:
            code = module.main()
        except SystemExit as stop:
            code = stop.code
        _, err = capfd.readouterr()
        return code, [line for line in err.splitlines() if line.strip()], sorted(work.rglob("*"))

    return run


@pytest.fixture(scope="module")
def broken(tmp_path_factory, demo, photos_onnx):
    """A folder of broken files."""
    folder = tmp_path_factory.mktemp("broken")
    street = demo / "hrnetv2_w18_small_v1_street.pth"
    photos = demo / "hrnet_w18_small_v1_photos10.safetensors"
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("these are not weights\n")
    (folder / "page.pth").write_text("<!DOCTYPE html><html><body>404</body></html>")
    (folder / "pointer.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 22422236\n"
    )
    (folder / "cut.pth").write_bytes(street.read_bytes()[:400_000])
    (folder / "cut.safetensors").write_bytes(photos.read_bytes()[:400_000])
    state = torch.load(street, weights_only=True)
    key = "conv1.weight"
    torch.save({k: v for k, v in state.items() if not k.startswith("stage3.")}, folder / "missing_stage.pth")
    torch.save(state | {"extra.weight": torch.zeros(3)}, folder / "extra_key.pth")
    torch.save(state | {key: torch.zeros(8, 3, 3, 3)}, folder / "wrong_shape.pth")
    torch.save(state | {key: torch.full_like(state[key], float("nan"))}, folder / "nan.pth")
    torch.save(
        {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1), "fc.weight": torch.zeros(10, 512)}, folder / "resnet.pth"
    )
    torch.save([1, 2, 3], folder / "list.pth")
    with (folder / "evil.pdparams").open("wb") as stream:
        pickle.dump({"conv_layer1_1.conv.weight": _Evil(folder / "executed")}, stream)
    with zipfile.ZipFile(folder / "archive.pth", "w") as archive:
        archive.writestr("readme.txt", "a zip, but not of tensors")

    (folder / "garbage.onnx").write_bytes(bytes(range(256)) * 20)
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.onnx").write_bytes(photos_onnx.read_bytes()[:100_000])
    plain = onnx.load(photos_onnx)
    del plain.metadata_props[:]
    onnx.save(plain, folder / "no_card.onnx")
    edited = onnx.load(photos_onnx)
    edited.metadata_props[0].value = '{"schema": 1, "classes": 7}'
    onnx.save(edited, folder / "edited_card.onnx")
    lying = onnx.load(photos_onnx)
    lying.metadata_props[0].value = lying.metadata_props[0].value.replace('"logits"', '"scores_"', 1)
    onnx.save(lying, folder / "lying_card.onnx")
    outside = onnx.load(photos_onnx)
    onnx.save_model(
        outside, str(folder / "outside.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0
    )
    moved = onnx.load(folder / "outside.onnx", load_external_data=False)
    for tensor in moved.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../../etc/passwd"
    onnx.save(moved, folder / "outside.onnx")
    shutil.copy(photos_onnx, folder / "w18.engine")
    (folder / "empty.engine").write_bytes(b"")
    (folder / "garbage.engine").write_bytes(bytes(range(256)) * 20)
    onnx.save(_tiny(channels=1), folder / "one_channel.onnx")
    onnx.save(_tiny(rank=3), folder / "rank3.onnx")

    (folder / "text.jpg").write_text("not a picture")
    (folder / "empty.png").write_bytes(b"")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "good.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    (folder / "bomb.png").write_bytes(_png_header(60_000, 60_000))
    (folder / "nothing").mkdir()
    for name in ("pictures", "leftImg8bit/val/city", "with_text"):
        (folder / name).mkdir(parents=True)
        for index in range(3):
            picture = cv2.imencode(".png", noise // (index + 1))[1].tobytes()
            (folder / name / f"{index}_leftImg8bit.png").write_bytes(picture)
    (folder / "with_text" / "text.jpg").write_text("not a picture")
    (folder / "black").mkdir()
    for index in range(4):
        (folder / "black" / f"{index}.png").write_bytes(cv2.imencode(".png", np.full((64, 64, 3), index))[1].tobytes())
    onnx.save(_nan_in_the_dark(), folder / "nan.onnx")
    (folder / "folder.onnx").mkdir()
    (folder / "few.txt").write_text("cat\ndog\n")
    (folder / "twice.txt").write_text("cat\ncat\n")
    return folder


class _Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def _tiny(channels=3, rank=4):
    shape = ["n", channels, 32, 32][:rank]
    node = helper.make_node("GlobalAveragePool" if rank == 4 else "Relu", ["x"], ["y"])
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _nan_in_the_dark():
    """Takes a root that is real for every picture but nearly black ones."""
    text = """<ir_version: 9, opset_import: ["" : 20]>
    g (float[N, 3, 64, 64] x) => (float[N, 3, 64, 64] y)
    <float[3, 3, 1, 1] w = {1, 0, 0, 0, 1, 0, 0, 0, 1}, float[1] two = {2}, float[1] little = {0.1}> {
        a = Conv(x, w) b = Conv(a, w) c = Relu(b) d = Conv(c, w)
        m = GlobalAveragePool(x) n = Add(m, two) [root] r = Sqrt(n) s = Mul(r, little)
        e = Add(d, s) f = Relu(e) h = Conv(f, w) y = Conv(h, w) }"""
    return onnx.parser.parse_model(text)


def _png_header(width, height):
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


STREET = "{demo}/hrnetv2_w18_small_v1_street.pth"
PHOTOS = "{demo}/hrnet_w18_small_v1_photos10.safetensors"

EXPORTS = [
    # weights
    ("a file that is not there", ["--weights", "{broken}/none.pth"], "none.pth"),
    ("an empty file", ["--weights", "{broken}/empty.pth"], "empty"),
    ("a text file", ["--weights", "{broken}/text.pth"], "text.pth"),
    ("a web page", ["--weights", "{broken}/page.pth"], "web page|HTML"),
    ("a git-lfs pointer", ["--weights", "{broken}/pointer.safetensors"], "git|LFS"),
    ("a truncated .pth", ["--weights", "{broken}/cut.pth"], "cut.pth"),
    ("a truncated .safetensors", ["--weights", "{broken}/cut.safetensors"], "cut.safetensors"),
    ("a zip of something else", ["--weights", "{broken}/archive.pth"], "archive.pth"),
    ("a list", ["--weights", "{broken}/list.pth"], "list.pth"),
    ("a pickle that executes", ["--weights", "{broken}/evil.pdparams"], "io.open"),
    ("a net without stage 3", ["--weights", "{broken}/missing_stage.pth"], "stage3|missing"),
    ("a key too many", ["--weights", "{broken}/extra_key.pth"], "extra.weight"),
    ("a wrong shape", ["--weights", "{broken}/wrong_shape.pth"], "conv1.weight"),
    ("weights that are NaN", ["--weights", "{broken}/nan.pth"], "conv1.weight|NaN|finite"),
    ("another net", ["--weights", "{broken}/resnet.pth"], "HRNet|dialect"),
    ("another variant than the file's", ["hrnet_w48", "--weights", PHOTOS], "hrnet_w18_small_v1"),
    ("a segmentation variant for a classifier", ["hrnetv2_w48", "--weights", PHOTOS], "hrnet_w18_small_v1"),
    ("another number of classes", ["--weights", PHOTOS, "--num-classes", "1000"], "10"),
    ("an unknown zoo name", ["--weights", "hrnet_w18.nope"], "hrnet_w18"),
    ("an unknown variant", ["hrnet_w19", "--weights", STREET], "hrnet_w18"),
    ("an ftp address", ["--weights", "ftp://example.org/w18.pth"], "http"),
    # flags
    ("an unknown precision", ["--weights", PHOTOS, "--precision", "fp8"], "fp32, fp16"),
    ("an opset too old", ["--weights", PHOTOS, "--opset", "9"], "17"),
    ("an opset too new", ["--weights", PHOTOS, "--opset", "99"], "opset"),
    ("an image size that is no size", ["--weights", PHOTOS, "--imgsz", "big"], "HxW"),
    ("an image size the net cannot halve", ["--weights", PHOTOS, "--imgsz", "100"], "multiple of 32"),
    ("an image size of 8", ["--weights", STREET, "--imgsz", "8"], "32"),
    ("ranges the wrong way round", ["--weights", PHOTOS, "--batch", "8:4:1"], "min"),
    ("a batch of none", ["--weights", PHOTOS, "--batch", "0"], "1 to"),
    ("a crop larger than the image", ["--weights", PHOTOS, "--imgsz", "64", "--crop-pct", "1.5"], "crop"),
    ("a std of zero", ["--weights", PHOTOS, "--std", "0", "1", "1"], "std"),
    ("an unknown interpolation", ["--weights", PHOTOS, "--interpolation", "lanczos"], "bilinear"),
    ("an unknown channel order", ["--weights", PHOTOS, "--pixels-in", "yuv"], "bgr"),
    ("an unknown answer", ["--weights", PHOTOS, "--labels-out", "boxes"], "topk"),
    ("top-k of a segmentation net", ["--weights", STREET, "--imgsz", "64", "--labels-out", "topk"], "segmentation"),
    ("too few class names", ["--weights", PHOTOS, "--classes", "{broken}/few.txt"], "10"),
    ("a class name twice", ["--weights", PHOTOS, "--classes", "{broken}/twice.txt"], "twice|unique"),
    ("class names that are not there", ["--weights", PHOTOS, "--classes", "{broken}/none.txt"], "none.txt"),
    ("an output that is no .onnx", ["--weights", PHOTOS, "-o", "w18.pb"], ".onnx"),
    ("an output folder", ["--weights", PHOTOS, "-o", "{broken}/folder.onnx"], "folder"),
    ("--task for a checkpoint", ["--weights", PHOTOS, "--task", "segmentation"], "--task"),
    # foreign ONNX
    ("an .onnx that is not there", ["{broken}/none.onnx", "--task", "classification"], "none.onnx"),
    ("an .onnx of garbage", ["{broken}/garbage.onnx", "--task", "classification"], "garbage.onnx"),
    ("an empty .onnx", ["{broken}/empty.onnx", "--task", "classification"], "empty.onnx"),
    ("a truncated .onnx", ["{broken}/cut.onnx", "--task", "classification"], "cut.onnx"),
    ("weights outside the folder", ["{broken}/outside.onnx", "--task", "classification"], "outside.onnx"),
    ("no task", ["{broken}/no_card.onnx"], "--task"),
    ("an unknown task", ["{broken}/no_card.onnx", "--task", "pose"], "classification"),
    ("the wrong task", ["{broken}/no_card.onnx", "--task", "segmentation"], "dimensions"),
    ("one channel", ["{broken}/one_channel.onnx", "--task", "classification"], "3"),
    ("three dimensions", ["{broken}/rank3.onnx", "--task", "classification"], "float32"),
    ("weights for an .onnx", ["{broken}/no_card.onnx", "--weights", PHOTOS], "--weights"),
]

INT8 = ["--weights", PHOTOS, "--imgsz", "64", "--precision", "int8"]
PICTURES = [*INT8, "--calib-data", "{broken}/pictures"]
SMALL = ["{broken}/nan.onnx", "--task", "segmentation", "--precision", "int8", "--calib-data"]

CALIBRATIONS = [
    ("no calibration data", INT8, "--calib-data.*HRNET_CALIB_DATA"),
    ("an empty folder", [*INT8, "--calib-data", "{broken}/nothing"], "must hold images"),
    ("a folder that is not there", [*INT8, "--calib-data", "{broken}/nowhere"], "nowhere"),
    ("a file as folder", [*INT8, "--calib-data", "{broken}/good.png"], "folder"),
    ("a split for evaluation", [*INT8, "--calib-data", "{broken}/leftImg8bit/val"], "--allow-val"),
    ("an unknown method", [*PICTURES, "--calib-method", "guess"], "entropy"),
    ("an unknown target", [*PICTURES, "--qdq-target", "openvino"], "tensorrt"),
    ("an unknown block", [*SMALL, "{broken}/pictures", "--keep-fp", "stage9"], "stage9.*Blocks: conv0-5"),
    ("nothing left to quantize", [*SMALL, "{broken}/pictures", "--keep-fp", "*"], "Keep less"),
    ("no images", [*PICTURES, "--calib-images", "0"], "must be 1 to"),
    ("no simplification", [*PICTURES, "--no-simplify"], "--no-simplify"),
    ("an image that is none", [*SMALL, "{broken}/with_text"], "text.jpg"),
    ("values that are NaN", [*SMALL, "{broken}/black"], "must be finite, got NaN"),
]

ENGINE = ["--weights", PHOTOS, "--imgsz", "64", "-o", "w18.engine", "--backend", "tensorrt-rtx"]
SM86 = [*ENGINE, "--target", "sm86"]

ENGINES = [
    ("an unknown backend", [*ENGINE[:-1], "tensorrt9"], "tensorrt-rtx"),
    ("an unknown target", [*ENGINE, "--target", "banana"], "GPU must be one of"),
    ("a target TensorRT-RTX does not know", [*ENGINE, "--target", "v100"], "sm70"),
    ("INT8 on Turing", [*ENGINE, "--target", "sm86,t4", "--precision", "int8"], "use fp16"),
    ("INT8 without images", [*SM86, "--precision", "int8"], "--calib-data"),
    ("a calibrator where there is none", [*SM86, "--precision", "int8", "--int8-path", "implicit"], "calibrators"),
    ("pairs for the CPU", [*SM86, "--precision", "int8", "--qdq-target", "cpu"], "--qdq-target tensorrt"),
    ("no scratch memory", [*SM86, "--workspace", "0"], "--workspace"),
    ("an optimisation level of 9", [*SM86, "--opt-level", "9"], "0 to 5"),
    ("a negative number of streams", [*SM86, "--aux-streams", "-1"], "--aux-streams"),
    ("another format than the name says", ["--weights", PHOTOS, "--format", "onnx", "-o", "w.engine"], "end in .onnx"),
    ("an unknown format", ["--weights", PHOTOS, "--format", "plan"], "onnx or engine"),
    ("an artefact with a broken card", ["{broken}/edited_card.onnx", *SM86[4:]], "card"),
]

PREDICTIONS = [
    ("an .onnx named .engine", ["{broken}/w18.engine", "{broken}/good.png"], "must hold a TensorRT plan"),
    ("an empty engine", ["{broken}/empty.engine", "{broken}/good.png"], "empty.engine"),
    ("an engine of garbage", ["{broken}/garbage.engine", "{broken}/good.png"], "garbage.engine"),
    ("an engine on ONNX Runtime", ["{broken}/w18.engine", "{broken}/good.png", "--backend", "onnxruntime"], "backend"),
    ("an artefact that is not there", ["{broken}/none.onnx", "{broken}/good.png"], "none.onnx"),
    ("a folder as artefact", ["{broken}", "{broken}/good.png"], "file"),
    ("an artefact of garbage", ["{broken}/garbage.onnx", "{broken}/good.png"], "garbage.onnx"),
    ("an empty artefact", ["{broken}/empty.onnx", "{broken}/good.png"], "empty.onnx"),
    ("a truncated artefact", ["{broken}/cut.onnx", "{broken}/good.png"], "cut.onnx"),
    ("an artefact without a card", ["{broken}/no_card.onnx", "{broken}/good.png"], "card"),
    ("an artefact with a broken card", ["{broken}/edited_card.onnx", "{broken}/good.png"], "card"),
    ("an artefact that contradicts its card", ["{broken}/lying_card.onnx", "{broken}/good.png"], "card"),
    ("weights outside the folder", ["{broken}/outside.onnx", "{broken}/good.png"], "outside.onnx"),
    ("an artefact of no known kind", ["{broken}/good.png", "{broken}/good.png"], ".onnx"),
    ("an image that is not there", ["{photos}", "{broken}/none.jpg"], "none.jpg"),
    ("a text as image", ["{photos}", "{broken}/text.jpg"], "text.jpg"),
    ("an empty image", ["{photos}", "{broken}/empty.png"], "empty.png"),
    ("a truncated image", ["{photos}", "{broken}/cut.jpg"], "cut.jpg"),
    ("an image of 3.6 gigapixels", ["{photos}", "{broken}/bomb.png"], "bomb.png"),
    ("a folder without images", ["{photos}", "{broken}/nothing"], "nothing"),
    ("a pattern that matches nothing", ["{photos}", "{broken}/*.webp"], "webp"),
    ("an unknown device", ["{photos}", "{broken}/good.png", "--device", "tpu"], "cuda"),
    ("a batch of none", ["{photos}", "{broken}/good.png", "--batch", "0"], "batch"),
    ("no threads", ["{photos}", "{broken}/good.png", "--threads", "0"], "threads"),
    ("a top-0", ["{photos}", "{broken}/good.png", "--topk", "0"], "topk|top"),
    ("a save folder that is a file", ["{photos}", "{broken}/good.png", "--save", "{broken}/few.txt"], "few.txt"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "says"), [pytest.param(w, s, id=i) for i, w, s in EXPORTS])
def test_export_refuses(command, broken, demo, words, says):
    _refused(command, export_command, [w.format(broken=broken, demo=demo) for w in words], says)
    assert not (broken / "executed").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "says"), [pytest.param(w, s, id=i) for i, w, s in CALIBRATIONS])
def test_int8_refuses(command, broken, demo, monkeypatch, words, says):
    monkeypatch.delenv("HRNET_CALIB_DATA", raising=False)
    words = [w.format(broken=broken, demo=demo) for w in words]
    _refused(command, export_command, words, says)


@pytest.mark.parametrize(("words", "says"), [pytest.param(w, s, id=i) for i, w, s in ENGINES])
def test_engines_refuse(command, broken, demo, words, says):
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install 'hrnet-deploy[tensorrt-rtx]'")
    _refused(command, export_command, [w.format(broken=broken, demo=demo) for w in words], says)


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["another model's", "edited by hand"])
def test_a_table_that_does_not_fit_is_made_anew_and_says_why(command, broken, tmp_path, caplog, spoil):
    model, table = _nan_in_the_dark(), tmp_path / "table.json"
    words = ["--task", "segmentation", "--precision", "int8", "--calib-data", broken / "pictures"]
    words += ["--calib-cache", table, "-o"]
    assert command(export_command, broken / "nan.onnx", *words, "a.onnx")[0] == 0
    if spoil == "edited by hand":
        table.write_text(table.read_text().replace('"zeros": ', '"zeros": 1', 1))
    else:
        model.graph.initializer[1].float_data[:] = [2.5]
        onnx.save(model, tmp_path / "other.onnx")
    name = broken / "nan.onnx" if spoil == "edited by hand" else tmp_path / "other.onnx"
    code, _, left = command(export_command, name, *words, "b.onnx")
    assert code == 0
    reason = "got one that was edited" if spoil == "edited by hand" else "the graph changed"
    assert "table.json: calibrating again" in caplog.text
    assert reason in caplog.text
    assert [p.name for p in left] == ["a.onnx", "b.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(("words", "says"), [pytest.param(w, s, id=i) for i, w, s in PREDICTIONS])
def test_predict_refuses(command, broken, photos_onnx, words, says):
    _refused(command, predict_command, [w.format(broken=broken, photos=photos_onnx) for w in words], says)


def test_models_refuses_a_pattern_that_matches_nothing(command):
    _refused(command, models_command, ["resnet*"], "resnet")


@pytest.mark.parametrize("module", [export_command, predict_command, models_command])
def test_unknown_flags_are_wrong_usage(command, module):
    code, lines, left = command(module, "--no-such-flag", "x", "y")
    assert (code, len(lines), left) == (2, 1, [])


def _refused(command, module, words, says, wanted=2):
    import re

    code, lines, left = command(module, *words)
    assert len(lines) == 1, lines
    assert re.search(says, lines[0], re.IGNORECASE), lines
    assert code == wanted, lines
    assert left == []
    assert len(lines[0]) < 600
