"""hrnet-serve: names, addresses, tokens and signals."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from helpers.http_server import HttpServer, http_server

from hrnet_deploy.cli.serve import _allowed_hosts, _bind, _models, _token, parse_args, run
from hrnet_deploy.errors import HrnetDeployError, MissingFileError, UsageError


@pytest.fixture
def artifacts(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.onnx", "b.onnx", "sub/a.onnx", "lr=1.onnx"):
        (tmp_path / name).touch()
    return tmp_path


def test_names_are_those_of_the_files_or_given(artifacts):
    given = [artifacts / "a.onnx", f"x={artifacts / 'b.onnx'}", artifacts / "lr=1.onnx"]
    assert _models([str(one) for one in given]) == {
        "a": artifacts / "a.onnx",
        "x": artifacts / "b.onnx",
        "lr=1": artifacts / "lr=1.onnx",
    }


def test_two_models_of_one_name_are_refused(artifacts):
    with pytest.raises(UsageError, match=r"'a' for .*a\.onnx and .*sub/a\.onnx"):
        _models([str(artifacts / "a.onnx"), str(artifacts / "sub/a.onnx")])
    with pytest.raises(MissingFileError, match=r"c\.onnx"):
        _models([f"c={artifacts / 'c.onnx'}"])


@pytest.mark.parametrize("content", ["", "two words", "é", "a\nb"])
def test_a_token_is_one_word(tmp_path, content):
    path = tmp_path / "token"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="--token-file"):
        _token(path)
    path.write_text(" s3cret \n")
    assert _token(path) == "s3cret"
    with pytest.raises(MissingFileError):
        _token(tmp_path / "none")


@pytest.mark.parametrize(
    ("host", "more", "allowed"),
    [
        ("127.0.0.1", [], {"localhost", "127.0.0.1", "[::1]"}),
        ("127.0.0.2", ["box"], {"localhost", "127.0.0.1", "[::1]", "127.0.0.2", "box"}),
        ("::1", [], {"localhost", "127.0.0.1", "[::1]"}),
        ("localhost", [], {"localhost", "127.0.0.1", "[::1]"}),
        ("0.0.0.0", [], None),  # noqa: S104
        ("", [], None),
        ("192.168.1.2", ["vision.example"], {"vision.example"}),
    ],
)
def test_a_server_on_this_machine_alone_allows_its_own_names(host, more, allowed):
    assert _allowed_hosts(host, more) == allowed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "192.0.2.1"], "address 192.0.2.1:8000 must be free"),
        (["--max-body", "0"], "limit 'body_bytes'"),
        (["--device", "cpu", "--backend", "nothing", "--port", "0"], "backend must be one of"),
    ],
)
def test_what_cannot_be_used_is_one_line(artifacts, words, sentence):
    with pytest.raises(HrnetDeployError, match=sentence):
        run(parse_args([str(artifacts / "a.onnx"), *words]))


@pytest.mark.parametrize(
    "words",
    [
        ["--port", "70000"],
        ["--queue", "0"],
        ["--queue", str(2**32)],
        ["--max-body", "-1"],
        ["--max-body", "inf"],
        ["--max-connections", "0"],
        ["--max-pixels", str(10**12)],
        ["--timeout", "nan"],
        ["--streams", str(2**32)],
    ],
)
def test_a_number_beyond_its_limits_is_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(["a.onnx", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"argument {words[0]}: must be a " in line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_the_socket_is_one_of_tcp(host):
    """For other sockets asyncio leaves TCP_NODELAY out, and each response waits 40 ms."""
    with _bind(host, 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
        with socket.create_connection(("localhost", listener.getsockname()[1])):
            accepted, _ = listener.accept()
            assert accepted.proto == socket.IPPROTO_TCP
            accepted.close()


@pytest.mark.slow
def test_a_port_in_use_is_reported(artifacts):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(HrnetDeployError, match="Choose another"):
        run(parse_args([str(artifacts / "a.onnx"), "--port", str(taken.getsockname()[1])]))


@pytest.mark.slow
def test_it_prints_its_address_and_the_next_command(photos_onnx, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")
    with http_server(tmp_path, photos_onnx, "--token-file", token) as server:
        assert server.announced == {
            "url": f"http://127.0.0.1:{server.port}",
            "host": "127.0.0.1",
            "port": server.port,
            "models": ["photos"],
        }
        assert f"Serving photos on http://127.0.0.1:{server.port}" in server.log
        assert "Next: curl" in server.log
        assert "s3cret" not in server.log
        assert server.request("GET", "/models")[0] == 401
        assert server.request("GET", "/models", headers={"Authorization": "Bearer s3cret"})[0] == 200
        assert server.request("GET", "/", headers={"Host": "evil.example"})[0] == 400
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.slow
def test_an_open_door_is_announced(photos_onnx, tmp_path):
    with http_server(tmp_path, photos_onnx, "--host", "0.0.0.0") as server:  # noqa: S104
        assert "everyone who reaches" in server.log
        assert "--token-file" in server.log


@pytest.mark.slow
def test_quiet_prints_nothing_but_the_address(photos_onnx, tmp_path):
    with http_server(tmp_path, photos_onnx, "-q") as server:
        assert server.get_json("/v2/health/ready") == {"ready": True}
        server.request("GET", "/nothing")
        assert server.stop() == 0
    assert server.log == ""


@pytest.mark.slow
def test_sigterm_loses_no_request_in_flight(street_onnx, tmp_path, jpegs):
    """Twenty requests wait for one stream; the signal comes, and each gets its prediction."""
    with http_server(tmp_path, f"city={street_onnx}", "--streams", 1) as server:
        results = []

        def ask(content):
            results.append(server.post("/predict", content)[0])

        clients = [threading.Thread(target=ask, args=(jpegs[index % len(jpegs)],)) for index in range(20)]
        for client in clients:
            client.start()
        deadline = time.monotonic() + 30
        accepted = 0
        while accepted + len(results) < 20:
            assert time.monotonic() < deadline
            text = server.request("GET", "/metrics")[2].decode()
            accepted = int(
                next(line for line in text.splitlines() if line.startswith("hrnet_images_in_use{")).split()[1]
            )
        assert accepted > 3
        assert server.stop() == 0
        for client in clients:
            client.join()
    assert results == [200] * 20
    assert "Traceback" not in server.log


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(street_onnx, tmp_path, jpegs):
    server = HttpServer(tmp_path, f"city={street_onnx}", "--streams", 1)
    body = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as waiting:
        waiting.sendall(body)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        assert server.stop(timeout=10) == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_broken_artifact_is_one_line(tmp_path):
    (tmp_path / "w.onnx").write_bytes(b"no model")
    command = [sys.executable, "-m", "hrnet_deploy", "serve", str(tmp_path / "w.onnx"), "--port", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
