"""The example files of docs/guides/serving.md: options that exist, manifests that validate, and a proxy that works."""

import contextlib
import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from helpers.http_server import http_server
from helpers.peer_environment import peer_python

from hrnet_deploy.cli.serve import parse_args

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples" / "serving"
VALIDATE = """
import sys, yaml, kubernetes_validate
for path in sys.argv[1:]:
    for document in yaml.safe_load_all(open(path)):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        print(document["kind"])
"""


def test_the_unit_and_the_pod_start_the_server_with_options_that_exist():
    unit = re.search(r"^ExecStart=\S*/(hrnet-serve .*)$", (EXAMPLES / "hrnet-serve.service").read_text(), re.MULTILINE)
    assert parse_args(shlex.split(unit[1])[1:]).host == "127.0.0.1"
    pod = re.search(r"args: \[(.*)\]", (EXAMPLES / "kubernetes.yaml").read_text())
    words = [word.strip().strip('"') for word in pod[1].split(",")]
    args = parse_args(words)
    assert (args.port, args.threads, args.token_file) == (8000, 4, "/run/hrnet/token")


@pytest.mark.slow
def test_manifests_validate_with_the_published_schemas(tmp_path):
    python = peer_python("kubernetes", "kubernetes-validate", "pyyaml")
    files = [EXAMPLES / "kubernetes.yaml", EXAMPLES / "triton.yaml"]
    done = subprocess.run([python, "-c", VALIDATE, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split().count("Deployment") == 2
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("containerPort", "containerPorts", 1))
    assert subprocess.run([python, "-c", VALIDATE, wrong], capture_output=True, check=False).returncode != 0


def request(port, method, path, body=None):
    """(status, body) of one request."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()


@contextlib.contextmanager
def nginx_before(port, folder):
    """Port of an nginx with the example's rules, over plain HTTP, because a certificate is not at hand."""
    nginx = shutil.which("nginx") or pytest.skip("not installed: nginx (apt-get install nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        own_port = probe.getsockname()[1]
    rules = (EXAMPLES / "nginx.conf").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    rules = re.sub(r" *ssl_certificate.*\n", "", rules).replace("listen 443 ssl", f"listen 127.0.0.1:{own_port}")
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""  # else its workers cannot write below `folder`
    config.write_text(
        f"{user}pid {folder}/pid; daemon off; error_log stderr; events {{}} http {{ access_log off; {places} {rules} }}"
    )
    process = subprocess.Popen([nginx, "-c", config, "-p", folder])
    try:
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", own_port)):
                break
            time.sleep(0.05)
        yield own_port
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.slow
def test_nginx_passes_images_and_keeps_the_metrics_to_itself(photos_onnx, jpegs, tmp_path):
    with http_server(tmp_path, f"photos={photos_onnx}") as server, nginx_before(server.port, tmp_path) as port:
        status, content = request(port, "POST", "/predict", jpegs[0])
        assert (status, b"pred_class" in content) == (200, True)
        assert request(port, "GET", "/v2/health/ready")[0] == 200
        assert request(server.port, "GET", "/metrics")[0] == 200
        assert request(port, "GET", "/metrics")[0] == 404
        assert request(port, "POST", "/predict", b"0" * 21_000_000)[0] == 413
