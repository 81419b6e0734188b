"""hrnet-serve as its users start it, and a client that sends what it is told to."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Client:
    """Requests with JSON, for whatever has `request`."""

    def get_json(self, path):
        return json.loads(self.request("GET", path)[2])

    def post(self, path, body, content_type="application/octet-stream", **headers):
        """(status, parsed JSON) of a POST."""
        status, _, content = self.request("POST", path, body, {"Content-Type": content_type, **headers})
        return status, json.loads(content)


class HttpServer(Client):
    """A running hrnet-serve; its log is everything that it printed on stderr."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.log_file = folder / "log.txt"
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", "hrnet_deploy", "serve", *map(str, words), "--port", "0", "--json"]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--device", "cpu", "--threads", "2"], stdout=subprocess.PIPE, stderr=log, env=environment
            )
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(30)
            raise RuntimeError(self.log)
        self.announced = json.loads(line)
        self.port = self.announced["port"]

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def rss_bytes(self) -> int:
        line = next(one for one in Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if "VmRSS" in one)
        return int(line.split()[1]) << 10

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, body) of one request."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def raw(self, *parts, wait_s=0.0, timeout=30):
        """Everything that comes back for these parts, sent one after the other, until the server closes."""
        received = b""
        with contextlib.closing(socket.create_connection(("127.0.0.1", self.port), timeout=timeout)) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(wait_s)
            except OSError:  # closed already: what it sent before is what counts
                pass
            with contextlib.suppress(OSError):
                while chunk := connection.recv(1 << 16):
                    received += chunk
        return received

    def stop(self, with_signal=signal.SIGTERM, timeout=60) -> int:
        """End it, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(timeout)
        finally:
            self.process.kill()
            self.process.stdout.close()


@contextlib.contextmanager
def http_server(folder, *words):
    """A server that is ended with the block."""
    server = HttpServer(folder, *words)
    try:
        yield server
    finally:
        server.stop()


def form(*files, boundary="b0undary"):
    """(body, content type) of a form with (field, file name, content) of each file."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for field, name, content in files
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
