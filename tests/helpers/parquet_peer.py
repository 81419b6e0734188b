"""pyarrow, from its own environment where the tests' own has none."""

import contextlib
import importlib
import sys

from helpers.peer_environment import peer_python


@contextlib.contextmanager
def pyarrow_path():
    """Let this process, and those it spawns, import pyarrow; yields the folder that holds it."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pyarrow")
        yield None
        return
    environment = peer_python("parquet", "pyarrow>=16").parents[1]
    folder = next(environment.glob("lib/python*/site-packages"))
    sys.path.append(str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
