"""Batch prediction on a Dask cluster that loses a worker: the bytes of one process."""

import pytest
from helpers.cluster_peer import run_with_cluster

from hrnet_deploy import predict_dataset

SCRIPT = """
import json, os, signal, sys, threading, time
from pathlib import Path
from distributed import LocalCluster
from hrnet_deploy import predict_dataset

def kill_one(cluster, progress):
    while not progress.exists() or progress.read_bytes().count(b"\\n") < 3:
        time.sleep(0.01)
    os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)

if __name__ == "__main__":
    artifact, source, out = sys.argv[1:]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        threading.Thread(target=kill_one, args=(cluster, Path(out, "_progress.jsonl")), daemon=True).start()
        name = cluster.scheduler_address.replace("tcp", "dask")
        done = predict_dataset(artifact, source, out, chunk=10, executor=name, device="cpu", backend="onnxruntime")
        print(json.dumps([done.images, done.errors, done.parts]))
"""


@pytest.mark.slow
def test_a_lost_dask_worker_changes_nothing(photos_onnx, images, tmp_path, tree_digest):
    files = sorted(str(path.relative_to(tmp_path)) for path in images.rglob("*") if path.is_file())
    (tmp_path / "list.txt").write_text("\n".join(files * 25))
    (tmp_path / "script.py").write_text(SCRIPT)
    source = f"@{tmp_path / 'list.txt'}"
    found = run_with_cluster("dask", tmp_path / "script.py", photos_onnx, source, tmp_path / "dask")
    assert found == [300, 25, 30]
    predict_dataset(photos_onnx, source, tmp_path / "one", chunk=10, device="cpu", backend="onnxruntime")
    assert tree_digest(tmp_path / "dask") == tree_digest(tmp_path / "one")
