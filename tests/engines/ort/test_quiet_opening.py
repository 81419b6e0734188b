"""Nothing is printed while a runtime opens, and nobody else's stdout is touched."""

import io
import sys
import threading

import pytest
from onnx import TensorProto, helper

from hrnet_deploy.engines.ort.engine import OrtEngine
from hrnet_deploy.engines.ort.libraries import call_unprinted
from hrnet_deploy.errors import DeviceError


def toy():
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "toy",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def loud(text="a word"):
    print(text)  # noqa: T201
    return text


def test_a_function_is_called_without_its_print(capsys):
    assert call_unprinted(loud) == "a word"
    assert capsys.readouterr().out == ""
    loud()
    assert capsys.readouterr().out == "a word\n"
    assert call_unprinted(dict) == {}


def test_many_threads_open_sessions_while_another_prints(monkeypatch):
    model, screen, over, seen = toy(), io.StringIO(), threading.Event(), set()
    monkeypatch.setattr(sys, "stdout", screen)

    def watch():
        while not over.is_set():
            seen.add(id(sys.stdout))

    def work():
        for _ in range(25):
            OrtEngine(model, device="cpu", threads=1).close()
            call_unprinted(loud)

    threads = [threading.Thread(target=work) for _ in range(8)]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    watcher.join()
    assert seen == {id(screen)}
    print("still here")  # noqa: T201
    assert screen.getvalue() == "still here\n"


def test_a_closed_engine_says_so(tmp_path):
    path = tmp_path / "toy.onnx"
    path.write_bytes(toy())
    engine = OrtEngine(path, device="cpu")
    engine.close()
    engine.close()
    with pytest.raises(DeviceError, match=r"^toy.onnx must be open to run, got a closed engine\. Open it again\.$"):
        engine.run({"x": None})
