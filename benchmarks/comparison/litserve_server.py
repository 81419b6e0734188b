"""A LitServe server of one artifact, for benchmarks/serving.py; its environment has litserve and this package.

LitServe reads annotations as objects, so this file does not postpone them.

python litserve_server.py ARTIFACT PORT THREADS WORKERS
"""

import sys
from typing import Any

import litserve
from fastapi import UploadFile

from hrnet_deploy import Predictor


class Classifier(litserve.LitAPI):  # type: ignore[misc]
    """JPEG bytes of a form field to `to_dict()`."""

    def __init__(self, artifact: str, threads: int) -> None:
        super().__init__()
        self._artifact, self._threads = artifact, threads

    def setup(self, device: str) -> None:
        """Open the artifact in the worker process."""
        self._predictor = Predictor(self._artifact, device=device, threads=self._threads)

    def decode_request(self, request: UploadFile) -> bytes:
        """Read the file of the form."""
        content: bytes = request.file.read()
        return content

    def predict(self, x: bytes) -> Any:
        """Classify."""
        return self._predictor.predict(x)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Convert to JSON values."""
        record: dict[str, Any] = output.to_dict()
        return record


if __name__ == "__main__":
    artifact, port, threads, workers = sys.argv[1], *map(int, sys.argv[2:])
    server = litserve.LitServer(Classifier(artifact, threads), accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="error")
