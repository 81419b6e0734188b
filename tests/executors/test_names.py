"""Names of executors: those that are known open, others are refused in one line."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from hrnet_deploy.errors import MissingDependencyError, UsageError
from hrnet_deploy.executors import check_executor, open_executor


@pytest.mark.parametrize(
    "name",
    [
        *("", "4", "threads:2", "processes", "processes:", "processes:x", "processes:-1", "processes:1.5"),
        *("processes:²", "processes://2", "ray", "ray:local", "ray://", "ray://head", "dask://", "dask://local"),
        "dask://h:1/x",
    ],
)
def test_unknown_names(name):
    with pytest.raises(UsageError, match=rf"^executor must be one of processes:N, .*, got '{name}'\. Choose one\.$"):
        open_executor(name).__enter__()


@pytest.mark.parametrize("count", ["0", "99999"])
def test_unusable_numbers_of_processes(count):
    with pytest.raises(UsageError, match=rf"^executor processes:N needs N from 1 to 1024, got 'processes:{count}'"):
        open_executor(f"processes:{count}").__enter__()


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("ray://local", "ray", "ray"), ("dask://127.0.0.1:1", "distributed", "dask")]
)
def test_missing_packages(name, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingDependencyError, match=rf"needs the extra {extra}, .* pip install 'hrnet-deploy\[{extra}\]'"
    ):
        open_executor(name).__enter__()


def test_known_names_are_checked_without_being_opened():
    for name in (None, "processes:2", "ray://local", "ray://head:10001", "ray://[::1]:10001", "dask://10.0.0.1:8786"):
        check_executor(name)
    with ThreadPoolExecutor(1) as pool:
        check_executor(pool)
