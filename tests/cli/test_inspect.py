"""hrnet-inspect: what it shows of real nets, of engines by their sidecars, and what --verify refuses."""

import dataclasses
import json
import shutil
import struct
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata, card_metadata
from hrnet_deploy.artifact.engine_sidecar import EngineSidecar, sidecar_path, write_sidecar
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.onnx_header import graph_sha256, read_header
from hrnet_deploy.cli import inspect as inspect_command
from hrnet_deploy.quantization_info import QuantizationInfo, Similarity
from hrnet_deploy.spec import OutputKind, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec

PLAN = struct.pack("<4sIQQ4B", b"ftrt", 0, 2, 128, 10, 13, 3, 9) + b"\0" * 100


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command; returns (exit code, stdout, stderr lines)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hrnet-inspect", *map(str, words)])
        try:
            code = inspect_command.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


def read_card(path):
    return card_from_metadata(read_header(path).metadata, path.name)


def with_card(source, target, card, change=None):
    """A copy of an .onnx file with another card, and perhaps other weights."""
    model = onnx.load(source)
    if change is not None:
        change(model)
    onnx.helper.set_model_props(model, card_metadata(card))
    onnx.save_model(model, target)
    return target


def spoil(model):
    weights = next(entry for entry in model.graph.initializer if len(entry.dims) == 4)
    values = numpy_helper.to_array(weights).copy()
    values[0] = np.float32(3)
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))


@pytest.fixture
def engine(tmp_path, photos_onnx):
    """A plan that no TensorRT would load, with the facts of one."""
    path = tmp_path / "photos.engine"
    path.write_bytes(PLAN)
    facts = EngineSidecar(
        card=read_card(photos_onnx),
        flavour="tensorrt",
        version="10.13.3.9",
        capabilities=("sm75",),
        gpu="Tesla T4",
        plan_sha256=sha256_file(path),
        plan_bytes=len(PLAN),
        graph_sha256="b" * 64,
        precision=Precision.FP16,
        profile={"input": ((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))},
        rebuild="hrnet-export photos.onnx --precision fp16 -o photos.engine",
        options={"tf32": "yes"},
        convolutions={"asked": 91, "reached": 91},
    )
    write_sidecar(facts, sidecar_path(path))
    return path, facts


def test_a_classifier_in_words(command, photos_onnx):
    code, out, err = command(photos_onnx)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    shown = {line[2:17].strip(): line[18:] for line in out.splitlines()[1:] if line[2] != " "}
    assert shown["model"] == "hrnet_w18_small_v1, classification"
    assert shown["SHA-256"] == sha256_file(photos_onnx)
    assert shown["file"] == f"{photos_onnx.stat().st_size:,} bytes"
    assert shown["classes"] == "10: airplane, automobile, bird, cat, deer, dog, …"
    assert shown["precision"] == "fp32, opset 20, logits output"
    assert shown["shapes"] == "batch 1 to 16 (best 1), height x width 64x64"
    assert shown["input"] == "input float32 (batch, 3, 64, 64)"
    assert shown["exported from"].startswith("hrnet_w18_small_v1_photos10.safetensors, dialect official")
    assert shown["convolutions"] == "fp32 91"
    assert shown["nodes"].startswith("228: Conv 91, Relu 75, ")
    assert shown["fingerprint"] == "stored, see --verify"
    assert "parity_max_abs" in shown["measured"]
    assert err == [f"Next: hrnet-inspect {photos_onnx} --verify"]


def test_a_calibration_in_words_and_under_its_old_names_in_json(command, photos_onnx, tmp_path):
    figures = Similarity(
        agreement=0.98, worst=0.96, expected=0.97, divergence=0.01, sqnr_db=20.5, max_abs=0.1, max_rel=0.2
    )
    info = QuantizationInfo(
        target="tensorrt", method="entropy", images=8, images_sha256="ab" * 32, kept_in_float=("head", "stem"),
        remainder="fp16", residual="float", implicit=True, validation=figures, validation_images=2,
    )  # fmt: skip
    card = dataclasses.replace(read_card(photos_onnx), quantization=info, measured={"gate_drop": 0.25})
    path = with_card(photos_onnx, tmp_path / "photos.onnx", card)
    out = " ".join(command(path)[1].split())
    assert (
        "calibration method entropy, images 8, list SHA-256 abababababababab…, target tensorrt, residual float, INT8 "
        "path implicit, figures are of qdq, kept in float head,stem, remainder fp16 fingerprint"
    ) in out
    assert "measured gate_drop 0.25, heldout_agreement 0.98, heldout_divergence 0.01, heldout_expected 0.97" in out
    shown = json.loads(command(path, "--json")[1])["card"]
    assert shown["quantization"]["kept_in_float"] == ["head", "stem"]
    assert (shown["lineage"]["calib_method"], shown["lineage"]["kept_fp"]) == ("entropy", "head,stem")
    assert (shown["measured"]["heldout_agreement"], shown["measured"]["heldout_images"]) == (0.98, 2.0)


@pytest.mark.parametrize("name", ["photos_onnx", "street_onnx"])
def test_what_was_exported_is_verified(command, request, name):
    path = request.getfixturevalue(name)
    code, out, _ = command(path, "--verify", "--json", "-q")
    assert code == 0
    assert {check["name"]: check["outcome"] for check in json.loads(out)["checks"]} == {
        "graph SHA-256": "ok",
        "fingerprint": "ok",
    }


def test_another_weight_is_another_digest(command, photos_onnx, tmp_path):
    path = with_card(photos_onnx, tmp_path / "spoilt.onnx", read_card(photos_onnx), spoil)
    code, out, err = command(path, "--verify")
    assert (code, out, len(err)) == (2, "", 1)
    assert "graph of spoilt.onnx must have SHA-256" in err[0]


@pytest.mark.slow
def test_another_answer_is_exit_code_3(command, photos_onnx, tmp_path):
    """Someone sealed the digest anew but not the answer."""
    card = read_card(photos_onnx)
    path = with_card(photos_onnx, tmp_path / "spoilt.onnx", card, spoil)
    lineage = {**card.lineage, "content_sha256": graph_sha256(path)}
    path = with_card(path, path, dataclasses.replace(card, lineage=lineage))
    code, out, err = command(path, "--verify")
    assert (code, out, len(err)) == (3, "", 1)
    assert "spoilt.onnx must compute the output it had when it was exported" in err[0]


def test_a_card_of_an_older_export_is_told_so(command, photos_onnx, tmp_path):
    path = with_card(photos_onnx, tmp_path / "old.onnx", dataclasses.replace(read_card(photos_onnx), lineage={}))
    code, out, _ = command(path, "--verify")
    assert code == 0
    assert out.count("not checked: the card holds n") == 2


def test_a_foreign_graph_is_shown_without_a_card(command, photos_onnx, tmp_path):
    model = onnx.load(photos_onnx)
    del model.metadata_props[:]
    onnx.save_model(model, tmp_path / "foreign.onnx")
    code, out, err = command(tmp_path / "foreign.onnx", "--verify")
    assert code == 0
    assert "none: created by another tool" in out
    assert "fp32 91" in out
    assert err == [f"Next: hrnet-export {tmp_path / 'foreign.onnx'} --task classification -o NEW.onnx"]


def test_names_from_a_file_cannot_steer_the_terminal(command, photos_onnx, tmp_path):
    card = read_card(photos_onnx)
    evil = dataclasses.replace(card, classes=("\x1b[2Jcat", "dog\n\u202e", "\x9b", *card.classes[3:]), variant="x\x07")
    path = with_card(photos_onnx, tmp_path / "evil.onnx", evil)
    code, out, _ = command(path)
    assert code == 0
    assert "\\x1b[2Jcat, dog\\n\\u202e" in out
    assert all(c.isprintable() or c == "\n" for c in out)
    code, out, _ = command(path, "--json")
    assert all(c.isprintable() or c == "\n" for c in out)
    assert json.loads(out)["card"]["classes"] == list(evil.classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"task": Task.SEGMENTATION},
        {"outputs": (TensorSpec("other", "float32", ("batch", 10)),)},
        {"shapes": ShapeRange((1, 30_000, 30_000), (1, 30_000, 30_000), (1, 30_000, 30_000))},
        {"preprocessing": Preprocessing(resize=Resize.SQUASH, size_hw=(65, 65))},
        {"output_kind": OutputKind.TOPK},
    ],
)
def test_a_card_that_does_not_fit_its_graph_is_one_line(command, photos_onnx, tmp_path, change):
    path = with_card(photos_onnx, tmp_path / "odd.onnx", dataclasses.replace(read_card(photos_onnx), **change))
    code, out, err = command(path, "--verify")
    assert (code, out, len(err)) == (2, "", 1)


def test_an_engine_by_its_sidecar(command, engine):
    path, facts = engine
    code, out, _ = command(path)
    assert code == 0
    for words in (
        *("tensorrt 10.13.3.9", "sm75 (Tesla T4)", "input 1x3x64x64 : 4x3x64x64 : 8x3x64x64", "asked 91, reached 91"),
        *(facts.rebuild, "tf32 yes", "hrnet_w18_small_v1, classification"),
    ):
        assert words in out
    assert json.loads(command(path, "--json")[1])["engine"]["sidecar"]["plan_sha256"] == facts.plan_sha256


def test_an_engines_digests_are_verified_without_a_gpu(command, engine):
    code, out, _ = command(engine[0], "--verify", "--device", "cuda:99")
    assert code == 0
    assert "size            ok: 128 bytes" in out
    assert "SHA-256         ok: " in out
    assert "fingerprint     not checked: " in out


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            PLAN[:60],
            "photos.engine must have 128 bytes, got 60: it is cut short. Build it again: hrnet-export ph",
        ),
        (PLAN[:-1] + b"x", "must have SHA-256"),
        (PLAN[:20], "cut short"),
        (b"", "empty file"),
        (b"PK\x03\x04" + b"\0" * 200, "a ZIP or PyTorch file"),
    ],
)
def test_a_damaged_engine_is_one_line(command, engine, content, words):
    engine[0].write_bytes(content)
    code, out, err = command(engine[0], "--verify")
    assert (code, out, len(err)) == (2, "", 1)
    assert words in err[0]


def test_an_engine_without_sidecar(command, engine):
    sidecar_path(engine[0]).unlink()
    code, out, _ = command(engine[0], "--verify")
    assert code == 0
    assert "none: its sidecar is not beside it" in out
    assert "tensorrt 10.13.3.9" in out
    assert "size            not checked: there is no photos.engine.json beside it" in out


def test_layers_need_an_engine_and_what_runs_it(command, engine, photos_onnx):
    code, out, err = command(photos_onnx, "--layers")
    assert (code, out, len(err)) == (2, "", 1)
    code, out, err = command(engine[0], "--layers")
    assert code in {1, 2}
    assert (out, len(err)) == ("", 1)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.onnx", None, "artifact must be a file"),
        ("empty.onnx", b"", "must be an ONNX model"),
        ("text.onnx", b"no net at all", "must be an ONNX model"),
        ("picture.png", b"x", "artifact must be an .onnx or .engine file"),
    ],
)
def test_files_that_are_none(command, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, out, err = command(tmp_path / name)
    assert (code, out, len(err)) == (2, "", 1)
    assert words in err[0]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{", '{"classes": 1}', "[" * 100_000])
def test_a_card_that_cannot_be_read_is_one_line(command, photos_onnx, tmp_path, text):
    model = onnx.load(photos_onnx)
    onnx.helper.set_model_props(model, {CARD_KEY: text})
    onnx.save_model(model, tmp_path / "net.onnx")
    code, out, err = command(tmp_path / "net.onnx")
    assert (code, out, len(err)) == (2, "", 1)


def test_the_runtimes_of_a_file(command, photos_onnx, engine):
    code, out, _ = command(photos_onnx, "--runtimes")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 100
    listed = out[out.index("\nruntimes\n") :]
    assert "\n  OpenVINO            yes: version " in listed
    assert "\n  TensorRT            unverified: needs an NVIDIA GPU" in listed
    rows = json.loads(command(photos_onnx, "--runtimes", "--json")[1])["runtimes"]
    assert {"runtime", "outcome", "reason", "test"} == set(rows[0])
    assert [row["outcome"] for row in rows if row["runtime"] == "ncnn"] == ["yes"]
    assert json.loads(command(photos_onnx, "--json")[1])["runtimes"] is None
    assert "needs version 10.13.3.9 and sm75" in command(engine[0], "--runtimes")[1]


def test_a_file_cut_short_is_one_line(command, photos_onnx, tmp_path):
    shutil.copy(photos_onnx, tmp_path / "half.onnx")
    with (tmp_path / "half.onnx").open("r+b") as stream:
        stream.truncate(photos_onnx.stat().st_size // 2)
    code, out, err = command(tmp_path / "half.onnx")
    assert (code, out, len(err)) == (2, "", 1)
    assert "half.onnx" in err[0]
