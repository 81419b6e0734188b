"""examples/node: onnxruntime-node, compared with `Predictor`."""

import pytest
from helpers.example_program import check_lines, check_mask, program, run, with_packages

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    return with_packages("node", tmp_path_factory.mktemp("node")) / "predict.mjs"


@pytest.mark.parametrize(
    "name",
    [
        *("photos", "photos-fp16", "photos-int8", "photos-opset17", "photos-opset26", "photos-crop"),
        *("street", "street-fp16", "street-int8"),
    ],
)
def test_node_predicts_the_same(script, form, image_file, result, tmp_path, name):
    done = run(program("node"), script, form(name), image_file(name, ".png"), tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr
    if name.startswith("photos"):
        check_lines(done.stdout, result(name))
    else:
        check_mask(tmp_path / "mask.png", result(name))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("photos-plain", None, "model must be exported with --pixels-in --labels-out"),
        ("photos", b"no model", "model must"),
        ("photos", b"", "model must have a card"),
    ],
)
def test_what_node_cannot_read_is_one_line(script, form, image_file, tmp_path, name, content, reason):
    path = form(name)
    if content is not None:
        path = tmp_path / "odd.onnx"
        path.write_bytes(content)
    done = run(program("node"), script, path, image_file(name, ".png"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert reason in done.stderr
