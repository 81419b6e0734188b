"""Real clusters of Dask and Ray: work and its errors come back, and clusters that would wait for ever are refused."""

import pytest
from helpers.cluster_peer import run_with_cluster

COMMON = """
import json, math, sys
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.executors import open_executor, run_chunks, worker_count, worker_threads

def failure(name, **options):
    try:
        with open_executor(name, **options):
            return ""
    except HrnetDeployError as error:
        return str(error)

def used(name):
    with open_executor(name) as executor:
        found = dict(run_chunks(executor, math.factorial, range(20)))
        try:
            list(run_chunks(executor, math.factorial, [-1]))
        except ValueError as error:
            return [found == {n: math.factorial(n) for n in range(20)}, worker_count(executor), str(error)]
"""
DASK = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        name = cluster.scheduler_address.replace("tcp", "dask")
        empty = failure(name)
        cluster.scale(2)
        cluster.wait_for_workers(2)
        print(json.dumps([empty, used(name), failure("dask://127.0.0.1:1")]))
"""
RAY = """
if __name__ == "__main__":
    import ray
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    print(json.dumps([failure("ray://local", threads=3), used("ray://local"), ray.is_initialized()]))
"""


@pytest.mark.slow
def test_dask(tmp_path):
    (tmp_path / "script.py").write_text(COMMON + DASK)
    empty, used, absent = run_with_cluster("dask", tmp_path / "script.py")
    assert empty == "a Dask scheduler must have workers, got none. Start some: dask worker HOST:PORT."
    assert used[0]
    assert used[1] >= 2
    assert used[2] == "factorial() not defined for negative values"
    assert absent.startswith("Dask scheduler dask://127.0.0.1:1 must be reachable, got: Timed out")
    assert "\n" not in absent


@pytest.mark.slow
def test_ray(tmp_path):
    (tmp_path / "script.py").write_text(COMMON + RAY)
    large, used, kept = run_with_cluster("ray", tmp_path / "script.py")
    assert large == "threads must be at most the 2 CPUs of a Ray node, got 3. Use fewer."
    assert used == [True, 2, "factorial() not defined for negative values"]
    assert kept, "a connection of the caller's stays open"
