"""hrnet-bench on real nets: every figure, what is left out, files, and bad input in one line."""

import json
import sys

import cv2
import pytest

from hrnet_deploy import export
from hrnet_deploy.cli import bench


@pytest.fixture
def command(monkeypatch, capfd):
    """Run the command; returns (exit code, stdout, stderr lines)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hrnet-bench", *map(str, words)])
        try:
            code = bench.main()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, err.splitlines()

    return run


@pytest.fixture(scope="module")
def fixed(demo, tmp_path_factory):
    """The photo classifier with a batch of two only, which takes pixels and answers with labels."""
    return export(
        weights=demo / "hrnet_w18_small_v1_photos10.safetensors",
        imgsz=64,
        resize="squash",
        batch=2,
        pixels_in=True,
        labels_out=True,
        output=tmp_path_factory.mktemp("fixed") / "fixed.onnx",
    ).path


@pytest.mark.slow
def test_two_nets_in_json(command, photos_onnx, fixed):
    words = ("--batch", "1,2,99", "--seconds", "0.05", "--streams", "2", "--threads", "1", "--reference", "published")
    code, out, err = command(photos_onnx, fixed, *words, "--json", "--device", "cpu", "--backend", "onnxruntime")
    assert code == 0
    found = json.loads(out)
    cells = {(row["artefact"], row["batch"], row["figure"]): row for row in found["rows"]}
    figures = ("engine", "end_to_end")  # a CPU copies nothing
    expected = {(str(photos_onnx), 1), (str(photos_onnx), 2), (str(fixed), 2)}
    assert cells.keys() == {(path, batch, figure) for path, batch in expected for figure in figures}
    for (_, batch, _), row in cells.items():
        assert row["samples"] >= 5
        assert row["min_ms"] <= row["median_ms"]
        assert row["images_per_second"] == pytest.approx(1e3 * batch / row["median_ms"])
        first = cells[str(photos_onnx), batch, row["figure"]]["median_ms"]
        assert row["speed_up"] == pytest.approx(first / row["median_ms"])
    assert {(s["artefact"], s["batch"]): s["reason"] for s in found["skipped"]} == {
        (str(fixed), 1): "has a fixed batch of 2",
        (str(photos_onnx), 99): "takes batches of 1 to 16",
        (str(fixed), 99): "has a fixed batch of 2",
    }
    assert {(s["artefact"], s["batch"], s["streams"]) for s in found["streams"]} == {(*pair, 2) for pair in expected}
    assert found["published"] == []
    assert found["artefacts"][1]["backend"] == "onnxruntime"
    assert found["artefacts"][0]["input_hw"] == [64, 64]
    assert found["machine"]["after"]["packages"]["onnxruntime"]
    assert err[-1].startswith("Next: hrnet-bench ")


@pytest.mark.slow
def test_a_net_of_any_size_on_the_users_picture(command, street_onnx, picture, tmp_path):
    cv2.imwrite(str(tmp_path / "street.png"), picture[:96, :128])
    words = ("--batch", "1", "--seconds", "0.01", "--image", tmp_path / "street.png", "--device", "cpu", "--quiet")
    for name, start in (("out.md", "# Benchmark\n"), ("out.json", "{")):
        code, out, err = command(street_onnx, *words, "--out", tmp_path / "new" / name)
        assert (code, err) == (0, [])
        assert (tmp_path / "new" / name).read_text().startswith(start)
    assert "street.png, 96x128" in out
    assert "With copies: equal to engine only" in out
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.slow
def test_a_fixed_batch_is_measured_though_another_is_asked_for(command, fixed):
    code, out, _ = command(fixed, "--batch", "4", "--seconds", "0.01", "--device", "cpu")
    assert code == 0
    assert "batch 4 of fixed.onnx: it has a fixed batch of 2" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "0"], "batch must be 1 to 1024, got (0,)"),
        (["--batch", "1,x"], "batch must be a list of numbers, got '1,x'"),
        (["--batch", "99"], "batch must be one an artifact takes, got 99: photos.onnx takes batches of 1 to 16"),
        (["--seconds", "0"], "seconds must be above 0"),
        (["--seconds", "nan"], "seconds must be above 0"),
        (["--streams", "0"], "streams must be 1 to 64, got 0"),
        (["--threads", "0"], "argument --threads: must be a whole number from 1 to 1024, got '0'"),
        (["--out", "bench.html"], "output must end in .md or .json, got 'bench.html'"),
        (["--image", "missing.jpg"], "image must exist, got no file missing.jpg"),
        (["--image", __file__], "cannot be decoded"),
        (["--backend", "tensorrt"], "backend of"),
        (["--device", "gpu"], "device must be"),
        (["--reference", "mine"], "invalid choice: 'mine'"),
    ],
)
def test_bad_input_is_one_line(command, photos_onnx, words, message):
    code, out, err = command(photos_onnx, "-q", *words)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert message in err[0]


def test_files_that_are_none(command, tmp_path):
    (tmp_path / "text.onnx").write_text("no net")
    for name in ("missing.onnx", "text.onnx"):
        code, out, err = command(tmp_path / name, "-q")
        assert (code, out, len(err)) == (2, "", 1)
        assert name in err[0]
