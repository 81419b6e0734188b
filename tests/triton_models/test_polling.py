"""A server that polls a repository never sees a half-written model, whenever its writer is killed."""

import subprocess
import sys
import time

import pytest
from helpers.triton_server import triton_server

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.triton.config_update import parameters_of, read_config

pytestmark = pytest.mark.slow

WRITER = """
import sys
from hrnet_deploy import write_triton_repository
print("ready", flush=True)
while True:
    write_triton_repository(*sys.argv[1:])
    print("written", flush=True)
"""
SIZE_BYTES = 16 << 20
"""Of an engine: its copy takes several milliseconds."""


def write_until_killed(path, repository, seconds):
    """Write one version after another, and kill the writer after a time; returns how many it finished."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, path, repository], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "ready\n"
        time.sleep(seconds)
        writer.kill()
        return writer.stdout.read().count("written")


def test_a_killed_writer_leaves_whole_versions_only(engine, tmp_path, tmp_path_factory):
    path = engine(name="w18", padding=SIZE_BYTES)
    repository = tmp_path / "models"
    repository.mkdir()
    options = ("--model-control-mode=poll", "--repository-poll-secs=1")
    with triton_server(repository, tmp_path_factory.mktemp("polling"), *options) as server:
        finished = sum(write_until_killed(path, repository, 0.02 + 0.045 * turn) for turn in range(8))
        versions = sorted(int(folder.name) for folder in (repository / "w18").glob("[0-9]*"))
        end = time.monotonic() + 60
        while not server.is_ready(f"w18/versions/{versions[-1]}") and time.monotonic() < end:
            time.sleep(0.2)
        index = server.get_index()
        log = server.log.read_text(errors="replace")
    assert versions == list(range(1, len(versions) + 1))
    assert finished <= len(versions) <= finished + 8  # a writer may be killed between the rename and its report
    for version in versions:
        assert sha256_file(repository / "w18" / str(version) / "model.plan") == sha256_file(path)
    assert parameters_of(read_config(repository / "w18" / "config.pbtxt"))["hrnet_deploy.sha256"] == sha256_file(path)
    assert {"name": "w18", "version": str(versions[-1]), "state": "READY"} in index
    assert [model["name"] for model in index if model["name"] != "w18"] == []
    assert not any(sentence in log for sentence in ("failed to load", "failed to poll", "Poll failed"))
