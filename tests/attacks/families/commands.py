"""Flags, file names and the environment."""

import os
from random import Random

from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.mutators import HOSTILE_TEXTS

_NUMBERS = ("0", "-1", "1", "4294967296", "9223372036854775808", "1" + "0" * 400, "1e9", "nan", "-inf", "0x10", "１", "1_000", "")
_PATHS = ("a.png", "model.onnx", "classes.txt", "nowhere", ".", "..", "fifo", "socket", "zero", "full", "dangling", "loop", "locked",
          "locked/x.onnx", "n" * 300, "/dev/full/x", "new/sub/x", "~nobody/x", "\udcff.png", "out\x1b[31m.onnx", "@fifo", "@zero", "@classes.txt")  # fmt: skip
_SIZES = ("8", "8x8", "0", "1000000000", "8x-8", "32:64:128", "64:32:8", "dynamic", "8x8x8", "１")
_CHOICES = ("cpu", "cuda", "cuda:99999999999", "auto", "onnxruntime", "openvino", "tensorrt", "fp32", "fp16", "int8", "jsonl", "masks",
            "parquet", "processes:0", "processes:99999999999", "processes:x", "entropy", "sm86", "v100", "topk", "rgb")  # fmt: skip
_FLAGS = {
    "predict": "--topk --batch --device --backend --threads --card --token-file --save --out --format --chunk --column --root --executor",
    "inspect": "--device --card --token-file --verify --layers --runtimes --json",
    "bench": "--batch --device --backend --threads --card --token-file --streams --image --out",
    "report": "--data --labels --split --limit --label-values --ignore-label --out --batch --waterfall --window --device --threads --executor",
    "export": "--weights --weights-key --num-classes --task --graph-output --output --format --precision --imgsz --batch --opset --classes "
    "--calib-data --calib-table --keep-fp --calib-images --size-limit --threads",
    "doctor": "--target --json",
    "models": "--json",
}  # fmt: skip
_SWITCHES = {"--verify", "--layers", "--runtimes", "--json"}


def _value(random: Random) -> str:
    text = random.choice(random.choice((_NUMBERS, _PATHS, _SIZES, _CHOICES, HOSTILE_TEXTS)))
    return text.replace("\0", "")  # no argument of a program holds it


def _files() -> dict[str, bytes]:
    special = {one.partition(":")[2]: one.encode() for one in SPECIALS}
    return {"model.onnx": seeds.model(), "float.onnx": seeds.float_model(with_card=False), "a.png": seeds.images()["png"],
            "classes.txt": b"cat\ndog\nfrog\n", **special}  # fmt: skip


def flags(random: Random) -> Case:
    """Command lines from a grammar, with hostile values."""
    command = random.choice(list(_FLAGS))
    words = []
    for flag in random.sample(_FLAGS[command].split(), random.randint(0, min(3, len(_FLAGS[command].split())))):
        words += [flag] if flag in _SWITCHES else [f"{flag}={_value(random)}"]
    operands = {"predict": 2, "inspect": 1, "bench": 1, "report": 2, "export": 1, "doctor": 0, "models": 1}[command]
    for number in range(operands):
        good = ("model.onnx", "a.png")[number] if command == "predict" else "float.onnx" if command == "export" else "model.onnx"
        words.append(good if random.random() < 0.75 else "./" + _value(random) if random.random() < 0.3 else _value(random))
    if command in {"bench", "report"}:
        words += ["--seconds", random.choice(("0.01", "0", "-1", "nan", "1e-9"))]
    if command == "export" and not any(word.startswith("--output") for word in words):
        words += ["-o", "new.onnx"]
    return Case(words=(command, *words), files=_files())


_NAMES = (b"\xff\xfe.png", b"\x1b[31mred.png", b"a\nhrnet-predict: forged.png", "\u202egnp.exe.png".encode(), b"n" * 251 + b".png", b" .png",
          b"-rf.png", b"--out.png", b"\x07\x08.png", "\x9b31m.png".encode(), "\u2028.png".encode(), b"%s.png", b"a\rb.png", b"@x.png", b"[a].png",
          b"'\"$(x)`.png", "é".encode("latin1") + b".png")  # fmt: skip


def names(random: Random) -> Case:
    """Hostile names of files."""
    name = os.fsdecode(random.choice(_NAMES))
    content = seeds.images()["png"] if random.random() < 0.7 else random.choice((b"", b"no image", *map(str.encode, SPECIALS)))
    source = random.choice((f"./{name}", name, ".", "*.png", "sub", f"sub/{name}"))
    extra = random.choice(((), ("--json",), ("--save", "saved"), ("--out", "results"), ("--skip-bad",), ("--out", "results", "--format", "masks")))
    model = os.fsdecode(random.choice(_NAMES))[:-5] + ".onnx" if random.random() < 0.2 else "model.onnx"
    files = {model: seeds.model(random.choice(("classification", "segmentation"))), name: content, f"sub/{name}": content}
    if random.random() < 0.2:
        return Case(words=("inspect", f"./{random.choice((model, name))}", *random.choice(((), ("--json",)))), files=files)
    words = ("predict", f"./{model}", source, "--threads", "1", "--backend", "onnxruntime", *extra)
    return Case(words=words, files=files)


_VARIABLES = ("HRNET_DEPLOY_CACHE", "HRNET_DEPLOY_CACHE", "HOME", "XDG_CACHE_HOME", "TMPDIR", "LANG", "COLUMNS", "TQDM_DISABLE", "OMP_NUM_THREADS",
              "HRNET_DEPLOY_ALLOW_SPECIAL")  # fmt: skip


def environments(random: Random) -> Case:
    """Hostile environment variables."""
    words = random.choice((
        ("predict", "model.onnx", "a.png", "--backend", "openvino", "--threads", "1"), ("doctor",), ("inspect", "model.onnx"),
        ("models",), ("predict", "model.onnx", "a.png", "--backend", "onnxruntime", "--threads", "1", "--out", "results"),
    ))  # fmt: skip
    values = (*_PATHS, *_NUMBERS, *HOSTILE_TEXTS)
    environment = {random.choice(_VARIABLES): random.choice(values).replace("\0", "") for _ in range(random.randint(1, 2))}
    environment = {name: os.fsdecode(value.encode("utf-8", "surrogateescape" if "\udcff" in value else "replace")) for name, value in environment.items()}
    return Case(words=words, files=_files(), environment=environment)
