"""Files in the user's cache that were damaged, replaced or cut: compiled graphs, sidecars and timing caches."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest

from hrnet_deploy.artifact.engine_sidecar import read_sidecar
from hrnet_deploy.artifact.plan_file import read_plan
from hrnet_deploy.engines.compiled_cache import open_cached
from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.errors import ArtifactError, MissingFileError
from hrnet_deploy.limits import JSON_FILE_BYTES

INT8 = onnx.parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 20]>\n'
    "g (float[N, 2] x) => (float[N, 2] y) <float s = {0.1}, int8 z = {0}, float[2] w = {3.0, 5.0}>"
    "{ m = Mul(x, w) q = QuantizeLinear(m, s, z) y = DequantizeLinear(q, s, z) }"
)
FEED = {"x": np.array([[0.5, 1.0]], np.float32)}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A graph and the folder of its compiled form."""
    monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(INT8.SerializeToString())
    wanted = OrtEngine(path, device="cpu", threads=1).run(FEED)["y"]
    (folder,) = (tmp_path / "cache" / "compiled").glob("*/optimized")
    return path, folder, wanted


def zeroed(content):
    """The compiled graph with weights of zero: a runtime opens it and computes something else."""
    for value in (3.0, 5.0):
        content = content.replace(np.float32(value).tobytes(), bytes(4))
    return content


@pytest.mark.parametrize("change", [zeroed, lambda c: c[:-1], lambda c: c + b"\0", lambda _: b""])
def test_a_changed_graph_is_compiled_again(kept, change):
    path, folder, wanted = kept
    file = folder / "net.onnx"
    before = file.read_bytes()
    file.write_bytes(change(before))
    assert file.read_bytes() != before
    np.testing.assert_array_equal(OrtEngine(path, device="cpu", threads=1).run(FEED)["y"], wanted)
    assert file.read_bytes() == before


def edited(change):
    def edit(folder):
        digests = folder / "digests.json"
        content = json.loads(digests.read_text())
        change(content)
        digests.write_text(json.dumps(content))

    return edit


@pytest.mark.parametrize(
    "change",
    [
        edited(lambda c: c.update(graph="another")),
        edited(lambda c: c.update(files={})),
        edited(lambda c: c.update(files={"../../../net.onnx": "0" * 64})),
        edited(lambda c: c.update(files=7)),
        edited(lambda c: c.pop("graph")),
        edited(lambda c: c["files"].update({"net.onnx": None})),
        lambda folder: (folder / "digests.json").unlink(),
        lambda folder: (folder / "digests.json").write_bytes(b"[" * 100_000),
        lambda folder: (folder / "more").write_bytes(b"more"),
        lambda folder: os.mkfifo(folder / "pipe"),
        lambda folder: ((folder / "net.onnx").rename(folder.parent / "n"), (folder / "net.onnx").symlink_to("../n")),
        lambda folder: ((folder / "net.onnx").unlink(), os.mkfifo(folder / "net.onnx")),
    ],
    ids=range(12),
)
def test_digests_that_do_not_fit_are_not_believed(kept, change):
    path, folder, wanted = kept
    change(folder)
    np.testing.assert_array_equal(OrtEngine(path, device="cpu", threads=1).run(FEED)["y"], wanted)
    assert {entry.name for entry in folder.iterdir()} == {"net.onnx", "digests.json"}


def test_what_was_checked_is_what_is_opened(tmp_path):
    folder = tmp_path / "key"
    folder.mkdir()

    def create(fresh):
        (fresh / "net").write_bytes(b"right")

    open_cached(folder, "kind", reopen=lambda _: pytest.fail("nothing is there"), create=create)

    def reopen(files):
        (folder / "kind" / "net").write_bytes(b"wrong")  # too late
        return files["net"].tobytes()

    assert open_cached(folder, "kind", reopen=reopen, create=create) == b"right"


CUTTER = """
import os, sys, threading
from pathlib import Path
from hrnet_deploy.engines.compiled_cache import open_cached
folder = Path(sys.argv[1])
def create(fresh):
    if fresh:
        (fresh / "net").write_bytes(bytes(1 << 22))
    return 0
def cut():
    for _ in range(200):
        try:
            os.truncate(folder / "kind" / "net", 0)
        except OSError:
            pass
thread = threading.Thread(target=cut)
open_cached(folder, "kind", reopen=None, create=create)
thread.start()
while thread.is_alive():
    open_cached(folder, "kind", reopen=lambda files: int(files["net"].sum()), create=create)
print("alive")
"""


def test_a_compiled_graph_that_is_cut_while_it_is_read_does_not_end_the_process(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CUTTER, tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "alive", "")


@pytest.mark.parametrize("kind", ["pipe", "device", "large"])
def test_special_and_large_sidecars_are_refused_without_waiting(tmp_path, kind):
    path = tmp_path / "net.engine.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
        os.truncate(path, JSON_FILE_BYTES + 1)
    with pytest.raises(ArtifactError, match=r"must (be a regular file|have at most)"):
        read_sidecar(path)


def test_engines_that_are_no_regular_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.engine")
    (tmp_path / "zero.engine").symlink_to("/dev/zero")
    for name in ("pipe.engine", "zero.engine"):
        with pytest.raises(ArtifactError, match="must be a regular file"):
            read_plan(tmp_path / name)
    with pytest.raises(MissingFileError):
        read_plan(tmp_path / "none.engine")
