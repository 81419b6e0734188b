"""An evaluation on a Dask or a Ray cluster that loses one of two workers on the way; prints what came out, as JSON."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from hrnet_deploy.evaluation import Evaluation, evaluate


def records(journal: Path) -> list[int]:
    """Indices of the images in the journal, in the order written; the first line is its header."""
    lines = [line for path in journal.glob("*.jsonl") for line in path.read_text().splitlines()[1:]]
    return [json.loads(line)["index"] for line in lines if line.endswith("}")]


def digest(found: Evaluation) -> str:
    """Digest of everything that does not depend on how it ran."""
    content = {name: value for name, value in found.to_dict().items() if name not in {"run", "inference_s"}}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


Cluster = tuple[str, Callable[[], object], Callable[[], int]]
"""Name of the executor, a function that takes a worker away, and one that counts the first workers that are left."""


@contextlib.contextmanager
def dask() -> Iterator[Cluster]:
    """Two worker processes, of which one is killed; its nanny starts another one, at another address."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        pid = next(iter(cluster.workers.values())).pid
        first = set(cluster.scheduler_info["workers"])
        yield (
            f"dask://{cluster.scheduler_address.removeprefix('tcp://')}",
            lambda: os.kill(pid, signal.SIGKILL),
            lambda: len(first & set(cluster.scheduler_info["workers"])),
        )


@contextlib.contextmanager
def ray() -> Iterator[Cluster]:
    """Two nodes of one CPU; the one without the head is removed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as RayCluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 1, "include_dashboard": False, "ray_client_server_port": port}
    cluster = RayCluster(initialize_head=True, head_node_args=head)
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield (
            f"ray://127.0.0.1:{port}",
            lambda: cluster.remove_node(node, allow_graceful=False),
            lambda: len(cluster.list_all_nodes()),
        )
    finally:
        cluster.shutdown()


def main(engine: str, artifact: str, data: str, journal: str) -> None:
    """Evaluate in one process, and on a cluster from which a worker goes after the first records."""
    whole = evaluate(artifact, data)
    with {"dask": dask, "ray": ray}[engine]() as (executor, take_away, count):
        seen = {"workers_before": count()}

        def lose() -> None:
            while not (done := len(records(Path(journal)))):
                time.sleep(0.01)
            take_away()
            seen["records_at_loss"] = done

        thread = threading.Thread(target=lose, daemon=True)
        thread.start()
        found = evaluate(artifact, data, executor=executor, journal=journal)
        thread.join(60)
        seen["workers_after"] = count()
    result = seen | {
        "lines": sorted(records(Path(journal))),
        "computed": found.run.computed,
        "digest": digest(found),
        "digest_of_one_process": digest(whole),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
