"""The commands with the URL of a model on a server."""

import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path

import cv2
import pytest
from helpers.v2_server import Scorer, serving, toy_card

from hrnet_deploy.imaging.synthetic_images import synthetic_images
from hrnet_deploy.integrity.fingerprint import fingerprint
from hrnet_deploy.predictor import Predictor


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    """Run a command in an empty folder; returns (exit code, stdout, stderr lines)."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(name, *words):
        module = importlib.import_module(f"hrnet_deploy.cli.{name}")
        monkeypatch.setattr(sys, "argv", [f"hrnet-{name}", *map(str, words)])
        try:
            code = module.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, [line for line in err.splitlines() if line.strip()]

    return run


@pytest.fixture
def v2():
    card = toy_card()
    card = dataclasses.replace(card, lineage=fingerprint(Scorer(card), card))
    with serving(Scorer(card), card) as server:
        yield server


@pytest.fixture(scope="module")
def photos(photos_onnx):
    """The classifier behind a server."""
    with (
        Predictor(photos_onnx, device="cpu", backend="onnxruntime", threads=1) as local,
        serving(local._engine, local.card) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six images in class folders."""
    root = tmp_path_factory.mktemp("images")
    for index, image in enumerate(synthetic_images(6, (64, 64))):
        path = root / ("airplane", "bird", "cat")[index % 3] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), image)
    return root


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("secret\n")
    return path


@pytest.mark.slow
def test_a_report_of_a_file_against_its_own_url_changes_no_image(command, photos, photos_onnx, folder):
    words = ("--data", folder, "--backend", "onnxruntime", "--device", "cpu", "--seconds", "0.05", "--out", "r")
    code, out, err = command("report", photos_onnx, photos.url, *words, "--json")
    assert code == 0
    _, served = json.loads(out)["rows"]
    assert (served["changed_images"], served["agreement"], served["images"]) == (0, 1.0, [])
    assert (served["label"], served["evaluation"]["model"]["name"]) == ("m", photos.url)
    page = Path("r/report.html").read_text(encoding="utf-8")
    assert page.count("<dt>size</dt>") == 1
    assert f"<dd>{photos.url}</dd>" in page
    assert err[-1].startswith("Next: hrnet-predict ")


@pytest.mark.slow
def test_a_server_without_a_digest_is_reported_without_a_journal(command, photos, photos_onnx, folder, caplog):
    words = ("--data", folder, "--seconds", "0.05", "--out", "r", "--card", photos_onnx)
    parameters = dict(photos.parameters)
    photos.parameters.clear()
    try:
        code, out, err = command("report", photos.url, photos.url, *words)
    finally:
        photos.parameters.update(parameters)
    assert code == 0
    assert "0.00" in out
    assert f"{photos.url} does not report its SHA-256" in caplog.text + "".join(err)


@pytest.mark.slow
def test_a_bench_of_a_file_and_its_url(command, photos, photos_onnx):
    words = ("--batch", "1", "--seconds", "0.05", "--streams", "2", "--device", "cpu", "--json")
    code, out, err = command("bench", photos_onnx, photos.url, *words)
    assert code == 0
    file, served = json.loads(out)["artefacts"]
    assert (file["device"], served["device"]) == ("cpu", photos.url.removesuffix("/v2/models/m"))
    assert (served["name"], served["path"], served["sha256"], served["size_bytes"]) == (
        photos.url,
        photos.url,
        "ab" * 32,
        0,
    )
    assert err[-1] == f"Next: hrnet-bench {photos_onnx} {photos.url} --batch 1 --out bench.md"
    code, out, _ = command("bench", photos.url, "--batch", "1", "--seconds", "0.05")
    assert code == 0
    assert "0.0 MB" not in out


def test_predictions_of_a_folder(command, v2, folder, token):
    code, out, err = command("predict", v2.url, folder / "cat", "--token-file", token)
    assert (code, len(out.splitlines())) == (0, 2)
    assert err[0] == f"2 images on {v2.url.removesuffix('/v2/models/m')}"
    assert err[1] == f"Next: hrnet-predict {v2.url} {folder / 'cat'} --token-file {token} --save out"
    assert {headers["Authorization"] for _, _, headers in v2.requests} == {"Bearer secret"}
    assert "secret" not in out + "".join(err)


def test_an_inspection_in_words(command, v2):
    code, out, err = command("inspect", v2.url)
    assert code == 0
    name, *lines = out.splitlines()
    shown = {line[2:17].strip(): line[18:] for line in lines if line[2] != " "}
    assert name == v2.url
    assert shown["server"] == "toy 1.0"
    assert shown["served as"] == "m on onnxruntime_onnx, versions 1"
    assert (shown["ready"], shown["SHA-256"], shown["binary tensors"]) == ("yes", "ab" * 32, "yes")
    assert shown["model"] == "toy, classification"
    assert shown["input"] == "input float32 (batch, 3, 8, 8)"
    assert shown["fingerprint"] == "stored, see --verify"
    assert err == [f"Next: hrnet-inspect {v2.url} --verify"]


def test_an_inspection_in_json(command, v2):
    v2.replies["/v2/models/m/ready"] = lambda handler: handler.error(503, "loading")
    record = json.loads(command("inspect", v2.url, "--json")[1])
    assert (record["url"], record["kind"], record["server"], record["model"]) == (v2.url, "server", "toy 1.0", "m")
    assert (record["versions"], record["ready"], record["sha256"]) == (["1"], False, "ab" * 32)
    assert "loading" in record["not_ready"]
    assert record["inputs"] == [{"name": "input", "dtype": "float32", "shape": ["batch", 3, 8, 8]}]
    assert record["card"]["variant"] == "toy"
    assert record["checks"] is None


def test_a_fingerprint_is_verified_through_the_server(command, v2):
    code, out, err = command("inspect", v2.url, "--verify")
    assert code == 0
    assert "fingerprint     ok: values agree" in out
    assert err == [f"Next: hrnet-bench {v2.url}"]
    v2.infer = lambda tensors: {"logits": -Scorer(v2.card).run(tensors)["logits"]}
    code, out, err = command("inspect", v2.url, "--verify")
    assert (code, out, len(err)) == (3, "", 1)
    assert "must compute the output it had when it was exported" in err[0]


def test_an_inspection_without_a_card(command, v2, photos_onnx):
    v2.parameters.clear()
    code, out, _ = command("inspect", v2.url, "--verify")
    assert code == 0
    assert "none in the configuration; give the file's with --card FILE" in out
    assert "not told by the server" in out
    assert "output          logits float32 (batch, 4)" in out
    assert "fingerprint     not checked: there is no card" in out
    code, out, err = command("inspect", v2.url, "--card", photos_onnx, "--verify")
    assert (code, out, len(err)) == (2, "", 1)
    assert "must have the inputs and outputs of its card" in err[0]


def test_a_model_that_is_not_ready_is_no_success(command, v2):
    v2.replies["/v2/models/m/ready"] = lambda handler: handler.error(503, "loading")
    assert "no: http" in command("inspect", v2.url)[1]
    code, out, err = command("inspect", v2.url, "--verify")
    assert (code, out, len(err)) == (1, "", 1)
    assert "must be ready" in err[0]


GONE = "http://127.0.0.1:9/v2/models/m"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("predict", GONE, "x.png"), 1, "server must accept connections, got 'Connection refused'"),
        (("predict", "http://127.0.0.1:9", "x.png"), 2, "server URL must be http"),
        (
            ("predict", GONE, "x.png", "--device", "cuda:0"),
            2,
            "device of http://127.0.0.1:9/v2/models/m must be 'auto'",
        ),
        (("predict", GONE, "x.png", "--backend", "openvino"), 2, "backend of http"),
        (("predict", "w18.onnx", "x.png", "--token-file", "TOKEN"), 2, "--token-file must be for one server, got only"),
        (("predict", GONE, "x.png", "--token-file", "missing"), 2, "token file must exist"),
        (("predict", "http://example.org/v2/models/m", "x", "--token-file", "TOKEN"), 2, "a token must be sent over"),
        (
            ("bench", GONE, "http://localhost:9/v2/models/m", "--token-file", "TOKEN"),
            2,
            "must be for one server, got ht",
        ),
        (("bench", GONE, "--backend", "openvino"), 2, "backend of http"),
        (("bench", "w18.onnx", "--card", "w18.onnx"), 2, "--card must be for a model on a server"),
        (
            ("report", "a.onnx", "b.onnx", "--data", ".", "--card", "a.onnx"),
            2,
            "--card must be for a model on a server",
        ),
        (("report", GONE, GONE, "--data", "."), 1, "server must accept connections"),
        (("inspect", GONE), 1, "server must accept connections"),
        (("inspect", GONE, "--layers"), 2, "--layers must be for an engine"),
        (("inspect", GONE, "--device", "cuda:0"), 2, "--device must be for an engine"),
        (("inspect", "w18.onnx", "--card", "w18.onnx"), 2, "--card must be for a model on a server"),
    ],
)
def test_bad_input_is_one_line(command, token, words, code, message):
    found, out, err = command(*(str(token) if word == "TOKEN" else word for word in words))
    errors = [line for line in err if "warning: load" not in line]
    assert (found, out, len(errors)) == (code, "", 1)
    assert message in errors[0]
    assert "secret" not in errors[0]


def test_a_slow_server_ends_a_command_in_the_given_time(command, v2, folder):
    v2.replies["/v2/models/m"] = lambda _: time.sleep(3)
    began = time.monotonic()
    code, out, err = command("predict", v2.url, folder / "cat" / "2.png", "--timeout", "0.3")
    assert (code, out) == (1, "")
    assert "must respond within 0.3 s, got no complete response" in err[0]
    assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("timeout", "reason"),
    [("0", "timeout must be above 0"), ("nan", "timeout must be above 0"), ("1e9", "at most 86,400 seconds")],
)
def test_a_time_without_meaning_is_refused(command, v2, timeout, reason):
    code, _, err = command("inspect", v2.url, "--timeout", timeout)
    assert code == 2
    assert reason in err[0]


def test_a_time_for_files_only_is_refused(command, photos_onnx):
    code, _, err = command("inspect", photos_onnx, "--timeout", "5")
    assert code == 2
    assert "--timeout must be for a model on a server, got 5 for files only" in err[0]
