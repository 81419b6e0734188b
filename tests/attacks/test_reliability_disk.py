"""Disks that are full, limited, read-only or of other names: one line, no half file under a name, nothing hidden."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("needs Linux: forked children, tmpfs and resource limits", allow_module_level=True)

from helpers.forked_command import run
from helpers.toy_runs import check_whole, commands, fresh, hidden, write_inputs

pytestmark = pytest.mark.slow

NAMES = ("fp32", "int8", "triton", "report", "save", "jsonl", "masks")
DISK_BYTES = 8 << 20
FILE_LIMITS = (1, 700, 3000)
LEFT_BYTES = (0, 4096, 16384, 1 << 20)
KEPT = {".journal"}
"""Hidden folder that a failed report leaves on purpose: the next run continues from it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Inputs of all commands."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def check_refused(ended, folder, words=("must be writable",)):
    """One line and its exit code; whole files under their names, and nothing hidden."""
    assert ended.code in {1, 2}, ended.err
    assert "Traceback" not in ended.err, ended.err
    last = ended.err.replace("\r", "\n").strip().splitlines()[-1]
    assert last.startswith("hrnet-"), ended.err
    assert any(word in last for word in words), last
    left = [each for each in hidden(folder) if not KEPT & set(each.split("/"))]
    assert left == []
    check_whole(folder / "out")


@pytest.mark.parametrize("left", LEFT_BYTES)
@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_line_and_leaves_no_half_file(root, small_disk, tmp_path, name, left):
    (small_disk / "out").mkdir()
    with (small_disk / "filler").open("wb") as filler:
        filler.write(bytes(DISK_BYTES - left))
    environment = {"HRNET_DEPLOY_CACHE": str(tmp_path / "cache")}
    ended = run(commands(root)[name], small_disk, environment=environment)
    if not ended.code:  # it needs less than there was
        assert left
        assert (hidden(small_disk), check_whole(small_disk / "out") > 0) == ([], True)
        return
    check_refused(ended, small_disk, ("must be writable", "video must hold"))
    (small_disk / "filler").unlink()
    ended = run(commands(root)[name], small_disk, environment=environment)
    assert (ended.code, hidden(small_disk)) == (0, []), ended.err


@pytest.mark.parametrize("limit", FILE_LIMITS)
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_of_file_sizes_is_one_line(root, tmp_path, name, limit):
    folder = fresh(tmp_path, "limited")
    ended = run(
        commands(root)[name], folder, file_bytes=limit, environment={"HRNET_DEPLOY_CACHE": str(folder / "cache")}
    )
    if not ended.code:  # its files are smaller
        assert check_whole(folder / "out")
        return
    check_refused(ended, folder, ("must be writable", "video must hold"))


def test_a_full_disk_of_the_cache_stops_no_run(root, small_disk, tmp_path):
    with (small_disk / "filler").open("wb") as filler:
        filler.write(bytes(DISK_BYTES - 8192))
    for backend in ("onnxruntime", "openvino"):
        words = ("predict", root / "int8.onnx", root / "data/val", "--device", "cpu", "--backend", backend)
        ended = run(words, tmp_path, environment={"HRNET_DEPLOY_CACHE": str(small_disk)})
        assert ended.code == 0, ended.err
        assert hidden(small_disk) == []


@pytest.mark.parametrize("cache", ["file", "missing home"])
def test_without_a_cache_everything_runs(root, tmp_path, cache):
    (tmp_path / "file").touch()
    environment = {"HRNET_DEPLOY_CACHE": str(tmp_path / "file/cache")}
    if cache == "missing home":
        environment = {"HRNET_DEPLOY_CACHE": None, "XDG_CACHE_HOME": None, "HOME": "/proc/nonexistent"}
    for backend in ("onnxruntime", "openvino"):
        words = ("predict", root / "int8.onnx", root / "data/val", "--device", "cpu", "--backend", backend)
        ended = run(words, tmp_path, environment=environment)
        assert ended.code == 0, ended.err
        assert "Traceback" not in ended.err


BAD = {
    "device": lambda _: "/dev/full",
    "long name": lambda _: "x" * 252 + ".onnx",
    "long path": lambda _: "/".join(["x" * 200] * 25) + "/x.onnx",
    "below a file": lambda folder: folder / "file/x.onnx",
    "dangling folder": lambda folder: folder / "dangling/x.onnx",
    "loop": lambda folder: folder / "loop/x.onnx",
    "pipe": lambda folder: folder / "pipe.onnx",
    "read-only kernel folder": lambda _: "/proc/x.onnx",
}


def refused_words(root, place):
    """Every command whose output is that place."""
    place = str(place)
    suffixed = {
        "bench": ("bench", root / "fp32.onnx", "--seconds", "0.05", "--batch", "1", "--device", "cpu", "--out",
                  place if place == "/dev/full" else place.removesuffix(".onnx") + ".json"),
    }  # fmt: skip
    return {
        "fp32": (*commands(root)["fp32"][:-1], place),
        "int8": (*commands(root)["int8"], "--calib-cache", place),
        "triton": (*commands(root)["fp32"], "--triton", place),
        "report": ("report", root / "fp32.onnx", root / "int8.onnx", "--data", root / "data", "--seconds", "0.01",
                   "--device", "cpu", "--out", place),
        "save": ("predict", root / "fp32.onnx", root / "data/val", "--save", place),
        "rows": ("predict", root / "fp32.onnx", root / "data/val", "--out", place),
        **suffixed,
    }  # fmt: skip


@pytest.mark.parametrize("command", ["fp32", "int8", "triton", "report", "save", "rows", "bench"])
@pytest.mark.parametrize("kind", BAD)
def test_a_place_that_takes_no_output_is_one_line(root, tmp_path, kind, command):
    folder = fresh(tmp_path, "bad")
    (folder / "file").touch()
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe.onnx")
    before = sorted(folder.rglob("*"))
    environment = {"HRNET_DEPLOY_CACHE": str(tmp_path / "elsewhere")}
    ended = run(refused_words(root, BAD[kind](folder))[command], folder, environment=environment)
    if ended.code == 0:
        assert (kind, command) in {("long name", "bench"), ("pipe", "bench")}  # another suffix, another name
        return
    check_refused(ended, folder, ("output must", "must be a folder", "needs a folder", "must end in"))
    assert Path("/dev/full").is_char_device()  # still the device
    if command != "triton":
        assert sorted(folder.rglob("*")) == before


def test_an_output_never_replaces_an_input(root, tmp_path):
    folder = fresh(tmp_path, "same")
    shutil.copytree(root, folder / "in")
    inner = folder / "in"
    image = next((inner / "data/val").rglob("*.png"))
    cases = [
        ("export", inner / "source.onnx", "--task", "classification", "--imgsz", "32", "-o", inner / "source.onnx"),
        (*commands(inner)["int8"], "--calib-cache", inner / "source.onnx"),
        ("predict", inner / "fp32.onnx", image, "--save", image.parent),
        ("predict", inner / "masks.onnx", image, "--save", image.parent),
    ]
    for words in cases:
        before = {path: path.read_bytes() for path in inner.rglob("*") if path.is_file()}
        check_refused(run(words, folder), folder, ("must be another file than the inputs",))
        assert {path: path.read_bytes() for path in inner.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="root may write anywhere")
def test_permissions_bind_and_are_one_line(root, tmp_path):
    """A folder without the right to write, and one without the right to enter."""
    # Root without these capabilities is bound by the permissions of its files.
    bound = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    for mode in (0o500, 0o600, 0o000):
        folder = fresh(tmp_path, f"mode{mode:o}")
        (folder / "out").chmod(mode)
        for name in ("fp32", "save"):
            words = [sys.executable, "-m", "hrnet_deploy", *map(str, commands(root)[name])]
            ended = subprocess.run([*bound, *words], cwd=folder, capture_output=True, text=True, check=False)
            (folder / "out").chmod(0o700)
            lines = ended.stderr.replace("\r", "\n").strip().splitlines()
            assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr
            assert "output must be writable, got 'Permission denied'" in lines[-1]
            assert list((folder / "out").iterdir()) == []
            (folder / "out").chmod(mode)
        (folder / "out").chmod(0o700)
