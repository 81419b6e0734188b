"""Sidecars, plans, tables, lists, shards, journals, manifests and compiled caches."""

import functools
import hashlib
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.families.graphs import card_text
from attacks.mutators import HOSTILE_TEXTS, json_bytes, mutate, mutate_json

from hrnet_deploy.calibration.histogram import BINS

_PREDICT = ("predict", "model.onnx", "--threads", "1", "--backend", "onnxruntime")


def special(random: Random, content: bytes, share: float = 0.03) -> bytes:
    """Return a content, or in a small share of cases what stands for a special file."""
    return random.choice(SPECIALS).encode() if random.random() < share else content


@functools.cache
def _plan(tag: bytes = b"vtrt") -> bytes:
    return struct.pack("<4sIQQ4B", tag, 0, 0, 200, 1, 7, 1, 116) + bytes(168)


def _sidecar() -> dict[str, Any]:
    digest = hashlib.sha256(_plan()).hexdigest()
    return {
        "schema": 1, "card": json.loads(card_text()), "flavour": "tensorrt-rtx", "version": "1.7.1.116",
        "capabilities": ["sm75"], "gpu": "Tesla T4", "plan_sha256": digest, "plan_bytes": len(_plan()),
        "graph_sha256": digest, "precision": "fp16", "profile": {"input": [[1, 8, 8, 3], [1, 8, 8, 3], [4, 8, 8, 3]]},
        "rebuild": "hrnet-export a.onnx -o a.engine", "options": {"opt": "3"}, "convolutions": {"total": 3},
    }  # fmt: skip


def sidecars(random: Random) -> Case:
    """Engine sidecars beside a sound plan."""
    content = special(random, json_bytes(random, mutate_json(random, _sidecar())))
    words = random.choice(
        (
            ("inspect", "a.engine"),
            ("inspect", "a.engine", "--json"),
            ("inspect", "a.engine", "--verify"),
            ("predict", "a.engine", "a.png"),
            ("call:read_sidecar", "a.engine.json"),
        )
    )
    return Case(words=words, files={"a.engine": _plan(), "a.engine.json": content, "a.png": seeds.images()["png"]})


def plans(random: Random) -> Case:
    """TensorRT plans, plain and behind Ultralytics' header."""
    header = json_bytes(
        random,
        mutate_json(random, {"task": "classify", "names": {"0": "cat"}, "imgsz": [8, 8], "batch": 1, "args": {}}),
    )
    claimed = random.choice((len(header),) * 5 + (0, 2**31 - 1, 2**32 - 1, len(header) + 9))
    content = random.choice((_plan(), _plan(b"ftrt"), struct.pack("<I", claimed) + header + _plan(b"ftrt")))
    content = mutate(random, content, (_plan(),)) if random.random() < 0.8 else content
    words = random.choice((("inspect", "a.engine"), ("inspect", "a.engine", "--json"), ("call:read_plan", "a.engine")))
    return Case(words=words, files={"a.engine": special(random, content)})


def _table() -> dict[str, Any]:
    tensor = {
        "low": -1.0,
        "high": 2.0,
        "amax": {"entropy": 1.5, "max": 2.0},
        "count": 9,
        "zeros": 1,
        "quantiles": [0.1] * 16,
    }
    provenance = {
        "graph_sha256": "0" * 64,
        "image_list_sha256": "1" * 64,
        "images": 4,
        "preprocessing": {},
        "versions": {},
    }
    return {
        "kind": "hrnet-deploy calibration table",
        "schema": 1,
        "tensors": {"a": tensor, "b": tensor},
        "method": "entropy",
        "provenance": provenance,
        "scores": {"entropy": 0.9},
    }


def tables(random: Random) -> Case:
    """Calibration tables, of which half have a right digest, and states of interrupted calibrations."""
    if random.random() < 0.4:
        return Case(
            words=("call:restore_calibration", "t.partial"), files={"t.partial": special(random, _state(random))}
        )
    content = mutate_json(random, _table())
    if isinstance(content, dict) and random.random() < 0.8:
        try:
            canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        except (TypeError, ValueError):
            canonical = ""
        content = {**content, "digest": hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()}
    data = json.dumps(content).encode() if random.random() < 0.8 else json_bytes(random, content)
    return Case(words=("call:read_table", "t.json"), files={"t.json": special(random, data)})


def _state(random: Random) -> bytes:
    stream = io.BytesIO()
    counts = np.zeros((2, BINS), np.int64)
    fields: dict[str, Any] = {
        "key": np.array("key"), "tensors": np.array(["a", "b"]), "done": np.array([1, 4]), "counts": counts,
        "ranges": np.array([(1.0, 0.0, 1.0, 0.0)] * 2),
    }  # fmt: skip
    if random.random() < 0.6:
        wrong = (
            np.array(0.0),
            np.zeros((2, 0)),
            np.full((2, 4), np.nan),
            np.array(["a"]),
            np.array([object()]),
            np.full(2, -1),
            np.full(2, 1e300),
        )
        fields[random.choice(list(fields))] = random.choice(wrong)
    np.savez_compressed(stream, **fields)
    return mutate(random, stream.getvalue()) if random.random() < 0.6 else stream.getvalue()


def lists(random: Random) -> Case:
    """Class files, label files and lists of images."""
    paths = (
        "a.png",
        "b.jpg",
        "../outside/secret.png",
        "/etc/passwd",
        "/dev/zero",
        "sub/../a.png",
        "nowhere.png",
        "a.png\0x",
        "http://127.0.0.1:9/a.png",
    )
    names = [random.choice((*paths, *HOSTILE_TEXTS)) for _ in range(random.randint(1, 6))]
    good = random.choice(
        (
            "cat\ndog\nfrog\n",
            "0,cat\n1,dog\n",
            '["cat","dog"]',
            '{"0": "cat", "1": ["n01440764", "dog"]}',
            "n01440764 cat\n",
        )
    )
    files = {"a.png": seeds.images()["png"], "b.jpg": seeds.images()["jpg"], "model.onnx": seeds.model()}
    deed = random.randrange(4)
    if deed == 0:
        text = mutate(random, random.choice((good, "\n".join(names))).encode("utf-8", "surrogatepass"))
        return Case(words=("call:read_classes", "c.txt"), files={"c.txt": special(random, text)})
    if deed == 1:
        text = json_bytes(
            random, mutate_json(random, random.choice(({"0": "cat"}, ["cat", "dog"], {"a": ["n01440764", "b"]})))
        )
        return Case(words=("call:read_classes", "c.json"), files={"c.json": special(random, text)})
    lines = [
        name + random.choice((" 0", ",1", "\tdog", " 99999999999999999999", "", " -1", " \x1b[31m")) for name in names
    ]
    text = "\n".join(names if deed == 3 else lines).encode("utf-8", "surrogatepass")
    text = special(random, mutate(random, text) if random.random() < 0.4 else text)
    if deed == 2:
        listed = random.choice((("images/val.txt",), ("images", "images/val.txt")))
        return Case(
            words=("call:find_dataset", *listed),
            files={"images/val.txt": text, **{f"images/{k}": v for k, v in files.items()}},
        )
    return Case(words=(*_PREDICT, "@l.txt", "--out", "results"), files={"l.txt": text, **files})


def shards(random: Random) -> Case:
    """Tar and Parquet shards of images."""
    stream = io.BytesIO()
    kinds = (tarfile.REGTYPE,) * 5 + (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    )
    with tarfile.open(
        fileobj=stream, mode="w", format=random.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    ) as archive:
        for number in range(random.randint(1, 3)):
            content = seeds.images()[random.choice(("png", "jpg"))]
            member = tarfile.TarInfo(
                random.choice(
                    (
                        f"{number}.png",
                        f"{number}.jpg",
                        "../outside/x.png",
                        "/abs.png",
                        "\x1b[31m.png",
                        "a\nb.png",
                        "n" * 300 + ".png",
                    )
                )
            )
            member.type, member.linkname = (
                random.choice(kinds),
                random.choice(("0.png", "../outside/secret.png", "/etc/passwd")),
            )
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue()
    name, column = ("s.tar", ()) if random.random() < 0.9 else ("s.parquet", ("--column", "image"))
    content = mutate(random, content) if random.random() < 0.7 else content
    files = {"model.onnx": seeds.model(), name: special(random, content)}
    return Case(words=(*_PREDICT, name, "--out", "results", *column), files=files)


@functools.cache
def _run(*words: str, environment: tuple[tuple[str, str], ...] = ()) -> dict[str, bytes]:
    """Run a command on the toy model, and return all files that it leaves."""
    program = "import sys; from attacks.child import call; sys.exit(call(tuple(sys.argv[1:])))"
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"model.onnx": seeds.model(), "a.png": seeds.images()["png"]}.items():
            Path(folder, name).write_bytes(content)
        paths = ":".join(sys.path)
        environ = {
            "PYTHONPATH": paths,
            "PATH": "/usr/bin:/bin",
            "HOME": folder,
            "HRNET_DEPLOY_CACHE": "own_cache",
            **dict(environment),
        }
        subprocess.run(
            [sys.executable, "-c", program, *words], cwd=folder, env=environ, check=True, capture_output=True
        )
        return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def journals(random: Random) -> Case:
    """Journals of evaluations, and manifests of batch predictions."""
    if random.random() < 0.5:
        key = hashlib.sha256(b"{}").hexdigest()
        records = [
            {"index": n, "content": "0" * 64, "answers": [{"top": [0, 1], "scores": [0.9, 0.1]}]} for n in range(3)
        ]
        records.append(
            {"index": 3, "content": "", "answers": [{"confusion": [[0, 5]], "moves": [[0, 5]], "lost": 0, "gained": 0}]}
        )
        place = random.randrange(4)
        records[place] = mutate_json(random, records[place])
        lines = [json.dumps({"schema": 1, "key": key}).encode(), *(json.dumps(one).encode() for one in records)]
        content = b"\n".join(lines) + b"\n"
        content = mutate(random, content) if random.random() < 0.5 else content
        return Case(words=("call:read_journal", "j.jsonl"), files={"j.jsonl": content})
    files = dict(_run(*_PREDICT, "a.png", "--out", "results"))
    name = random.choice([name for name in files if name.startswith("results/_")])
    value = json.loads(files[name])
    files[name] = special(random, json_bytes(random, mutate_json(random, value)))
    if random.random() < 0.3:
        files["results/_progress.jsonl"] = mutate(
            random, json.dumps({"number": 0, "file": "../../outside/secret.bin"}).encode()
        )
    return Case(words=(*_PREDICT, "a.png", "--out", "results"), files=files)


def caches(random: Random) -> Case:
    """Compiled graphs in the cache; a damaged one must not change the prediction."""
    words = ("predict", "model.onnx", "a.png", "--threads", "1", "--backend", "openvino", "-q")
    files = dict(_run(*words))
    cached = [name for name in files if name.startswith("own_cache")]
    name = random.choice(cached)
    files[name] = special(random, mutate(random, files[name], rounds=3), 0.1)
    sums = next(one for one in cached if one.endswith("digests.json"))
    if random.random() < 0.4 and name != sums:
        files[sums] = f"{hashlib.sha256(files[name]).hexdigest()}  {Path(name).name}\n".encode()
    elif random.random() < 0.2:
        files[sums] = (
            b"0" * 64 + b"  " + random.choice((b"/dev/zero", b"../../../../outside/secret.bin", b"\x1b[31m")) + b"\n"
        )
    return Case(words=words, files=files, environment={"HRNET_DEPLOY_CACHE": "own_cache"}, expected="dog 0.576")
