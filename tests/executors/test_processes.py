"""Processes of a pool: they end with their driver, however it ends."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hrnet_deploy.executors import open_executor

DRIVER = """
import os, time
from hrnet_deploy.executors import open_executor
if __name__ == "__main__":
    with open_executor("processes:2") as pool:
        found = {pool.submit(os.getpid).result() for _ in range(8)}
        print(*found, *(process.pid for process in pool._processes.values()), flush=True)
        time.sleep(60)
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.slow
def test_no_process_outlives_a_driver_that_is_killed(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    driver = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    pids = set(map(int, driver.stdout.readline().split()))
    assert pids
    assert all(map(is_running, pids))
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait(10)
    driver.stdout.close()
    end = time.monotonic() + 20
    while any(map(is_running, pids)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(is_running, pids))


def _warn(text: str) -> None:
    logging.getLogger("hrnet_deploy.imaging").warning("%s has damaged data", text)


def test_warnings_of_the_processes_reach_the_log_of_the_driver(caplog):
    with open_executor("processes:1") as pool, caplog.at_level(logging.WARNING):
        pool.submit(_warn, "a.png").result()
    assert "a.png has damaged data" in caplog.messages
