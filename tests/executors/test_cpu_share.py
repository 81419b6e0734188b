"""The share of a worker: whole threads, at least one."""

import pytest

from hrnet_deploy.executors.cpu_share import CpuShare
from hrnet_deploy.system.cores import cores


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (CpuShare(), 1),
        (CpuShare(workers=1), cores()),
        (CpuShare(workers=10_000), 1),
        (CpuShare(workers=1, threads=3), 3),
    ],
)
def test_a_share_of_the_cores(share, expected):
    assert share.count() == expected
