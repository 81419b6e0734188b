"""examples/cpp: built with CMake against OpenVINO's wheel and ONNX Runtime's C API, compared with `Predictor`."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers.example_program import EXAMPLES, check_lines, check_mask, program, run

from hrnet_deploy.integrity.runtimes import runtime_table

CPP = EXAMPLES / "cpp"
INCLUDE = "ONNXRUNTIME_INCLUDE"
MAX_LINES = 100

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the wheels' libraries have these names on Linux"),
]


def build(folder, *definitions):
    """Configure and build; returns the build folder."""
    program("g++")
    flags = ("-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", *definitions)
    for words in (("-S", CPP, "-B", folder, *flags), ("--build", folder)):
        done = run(program("cmake"), *words)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def openvino_program(tmp_path_factory):
    openvino = pytest.importorskip("openvino")
    folder = build(tmp_path_factory.mktemp("cpp"), f"-DOpenVINO_DIR={Path(openvino.__file__).parent / 'cmake'}")
    return folder / "hrnet_openvino"


@pytest.fixture(scope="module")
def onnxruntime_program(tmp_path_factory):
    """The program and the environment with which it finds its library."""
    include = os.environ.get(INCLUDE, "/usr/include/onnxruntime")
    if not Path(include, "onnxruntime_c_api.h").exists():
        pytest.skip(f"not installed: onnxruntime_c_api.h, which no wheel has; {INCLUDE} may name its folder")
    import onnxruntime

    folder = tmp_path_factory.mktemp("cpp")
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    (folder / "libonnxruntime.so.1").symlink_to(library)
    build(
        folder, "-DCMAKE_DISABLE_FIND_PACKAGE_OpenVINO=ON", f"-D{INCLUDE}={include}", f"-DONNXRUNTIME_LIBRARY={library}"
    )
    return folder / "hrnet_onnxruntime", os.environ | {"LD_LIBRARY_PATH": str(folder)}


def compare(words, form, image_file, result, name, tmp_path, backend="onnxruntime", environment=None):
    done = run(words, form(name), image_file(name, ".ppm"), tmp_path / "mask.pgm", environment=environment)
    assert done.returncode == 0, done.stderr
    if name.startswith("photos"):
        check_lines(done.stdout, result(name, backend))
    else:
        check_mask(tmp_path / "mask.pgm", result(name, backend))


@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("photos", "onnxruntime"),
        ("photos-fp16", "onnxruntime"),
        ("photos-int8", "openvino"),
        ("photos-opset17", "onnxruntime"),
        ("photos-opset26", "onnxruntime"),
        ("photos-crop", "onnxruntime"),
        ("street", "onnxruntime"),
        ("street-fp16", "onnxruntime"),
        ("street-int8", "openvino"),
    ],
)
def test_openvino_in_cpp_predicts_the_same(openvino_program, form, image_file, result, tmp_path, name, backend):
    """INT8 arithmetic is that of the engine; FP32 and FP16 agree across engines."""
    compare(openvino_program, form, image_file, result, name, tmp_path, backend)


@pytest.mark.parametrize("name", ["photos", "photos-fp16", "photos-int8", "street", "street-fp16", "street-int8"])
def test_onnxruntime_in_cpp_predicts_the_same(onnxruntime_program, form, image_file, result, tmp_path, name):
    words, environment = onnxruntime_program
    compare(words, form, image_file, result, name, tmp_path, environment=environment)


@pytest.mark.parametrize(
    ("name", "image", "reason"),
    [
        ("photos-plain", ".ppm", "pixels_in"),
        ("photos", ".png", "image must be a whole PPM file"),
        ("photos", "", "image must be a whole PPM file"),
    ],
)
def test_what_cpp_cannot_read_is_one_line(openvino_program, form, image_file, name, image, reason):
    path = image_file(name, image) if image else "missing.ppm"
    done = run(openvino_program, form(name), path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert reason in done.stderr


def test_sources_are_short():
    for path in CPP.glob("*.[ch]pp"):
        assert len(path.read_text().splitlines()) < MAX_LINES, path.name


def test_the_table_names_this_openvino():
    (row,) = (row for row in runtime_table() if row.name == "OpenVINO")
    assert row.version == version("openvino").split("-")[0]
