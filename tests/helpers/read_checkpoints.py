"""Child process: loads each checkpoint that it is given, with 2 GiB of memory, and prints what became of it as JSON."""

import json
import logging
import resource
import sys
import time
from pathlib import Path

from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.models.checkpoints.load import load_checkpoint

_LIMIT_BYTES = 2 << 30


def _peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _load(path):
    before, start = _peak_bytes(), time.process_time()
    try:
        load_checkpoint(path)
        message = ""
    except HrnetDeployError as error:
        message = str(error)
    return {"message": message, "seconds": time.process_time() - start, "bytes": _peak_bytes() - before}


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))
    sys.stdout.write(json.dumps({path: _load(Path(path)) for path in sys.argv[1:]}))
