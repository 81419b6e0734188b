"""A small V2 server over `http.server`, whose every part a test may replace by a broken one."""

import contextlib
import http.server
import json
import ssl
import threading
from urllib.parse import unquote

import numpy as np

from hrnet_deploy.artifact.card import card_metadata
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, Resize, ShapeRange, Task, TensorSpec
from hrnet_deploy.v2_tensors import HEADER_LENGTH, V2_DTYPES, read_message, write_message

SHA256 = "ab" * 32


class V2Server:
    """A running server of one model.

    Attributes:
        url: of the model.
        requests: (method, path, headers) of each request.
        connections: number of connections that clients opened.
        replies: by path, such as "/v2/models/m/infer", a function of the handler that replaces the proper response.
        infer: {input: array} to {output: array}.
        extensions: of the server's metadata.
        batches: sizes of the batches that ran.
    """

    def __init__(self, engine, card, *, name="m", binary_output=True):
        self.engine, self.card, self.name = engine, card, name
        self.binary_output = binary_output
        self.requests, self.replies, self.batches = [], {}, []
        self.connections = 0
        self.infer = engine.run
        self.parameters = {**card_metadata(card), "hrnet_deploy.sha256": SHA256}
        self.extensions = ["binary_tensor_data"]
        self.url = ""

    def metadata(self):
        """The model's metadata; an open size is -1."""

        def tensors(specs):
            return [
                {
                    "name": one.name,
                    "datatype": V2_DTYPES[one.dtype],
                    "shape": [size if isinstance(size, int) else -1 for size in one.shape],
                }
                for one in specs
            ]

        inputs, outputs = tensors(self.card.inputs), tensors(self.card.outputs)
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": inputs,
            "outputs": outputs,
        }

    def get(self, path):
        """JSON of a GET, or None."""
        base = f"/v2/models/{self.name}"
        return {
            "/v2": {"name": "toy", "version": "1.0", "extensions": self.extensions},
            base: self.metadata(),
            f"{base}/versions/1": self.metadata(),
            f"{base}/ready": {},
            f"{base}/versions/1/ready": {},
            f"{base}/config": {"parameters": {key: {"string_value": text} for key, text in self.parameters.items()}},
            f"{base}/versions/1/config": {},
        }.get(path)

    def run(self, headers, body):
        """Headers and body of the response to an inference."""
        length = headers.get(HEADER_LENGTH)
        message, tensors = read_message(body, None if length is None else int(length), "inputs")
        self.batches.append(len(next(iter(tensors.values()))))
        outputs = self.infer(tensors)
        fields = {"model_name": self.name, "id": message.get("id", "")}
        text, binary = write_message(fields, "outputs", outputs, as_json=() if self.binary_output else tuple(outputs))
        return ({HEADER_LENGTH: str(len(text))} if binary else {}), b"".join([text, *binary])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        self.v2 = self.server.v2
        self.v2.connections += 1
        super().setup()

    def log_message(self, *_):
        pass

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, sentence, headers=()):
        self.reply(status, json.dumps({"error": sentence}).encode(), headers)

    def do_GET(self):
        path = unquote(self.path)
        self.v2.requests.append((self.command, path, dict(self.headers)))
        if path in self.v2.replies:
            self.v2.replies[path](self)
            return
        if self.command == "POST" and path.endswith("/infer"):
            headers, body = self.v2.run(self.headers, self.read_body())
            self.reply(200, body, headers)
            return
        found = self.v2.get(path)
        if found is None:
            self.error(404, f"unknown: {path}")
        else:
            self.reply(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    do_POST = do_GET  # noqa: N815

    def read_body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # clients of these tests leave


@contextlib.contextmanager
def serving(engine, card, *, context: ssl.SSLContext | None = None, **options):
    """Serve an engine until the block ends; `context` is for TLS."""
    v2 = V2Server(engine, card, **options)
    server = _Server(("127.0.0.1", 0), Handler)
    server.v2 = v2
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if context is None else "https"
    host = "127.0.0.1" if context is None else "localhost"
    v2.url = f"{scheme}://{host}:{server.server_port}/v2/models/{v2.name}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield v2
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def toy_card(**changes):
    """Card of a classifier of 8x8 images with four classes."""
    return ModelCard(
        **{
            "task": Task.CLASSIFICATION,
            "variant": "toy",
            "classes": ("a", "b", "c", "d"),
            "preprocessing": Preprocessing(resize=Resize.SQUASH, size_hw=(8, 8)),
            "precision": Precision.FP32,
            "inputs": (TensorSpec("input", "float32", ("batch", 3, 8, 8)),),
            "outputs": (TensorSpec("logits", "float32", ("batch", 4)),),
            "shapes": ShapeRange((1, 8, 8), (1, 8, 8), (16, 8, 8)),
            **changes,
        }
    )


class Scorer:
    """An engine that computes without a runtime: class scores from the mean of each channel."""

    device, backend, arithmetic, streams = "cpu", "toy", "float32", 1

    def __init__(self, card):
        self.inputs, self.outputs, self.metadata = card.inputs, card.outputs, {}

    def run(self, feed):
        (array,) = feed.values()
        weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
        return {self.outputs[0].name: array.mean(axis=(2, 3), dtype=np.float32) @ weights}

    def close(self):
        pass
