"""Flags, file names and the environment."""

import os
from random import Random

from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.mutators import HOSTILE_TEXTS

_NUMBERS = (
    *"0 -1 1 4294967296 9223372036854775808 1e9 nan -inf 0x10 \uff11 1_000".split(),
    "1" + "0" * 400,
    "",
)
_PATHS = (
    *"a.png model.onnx classes.txt nowhere . .. fifo socket zero full dangling loop locked locked/x.onnx".split(),
    *"/dev/full/x new/sub/x ~nobody/x \udcff.png out\x1b[31m.onnx @fifo @zero @classes.txt".split(),
    "n" * 300,
)
_SIZES = "8 8x8 0 1000000000 8x-8 32:64:128 64:32:8 dynamic 8x8x8 \uff11".split()
_CHOICES = (
    "cpu cuda cuda:99999999999 auto onnxruntime openvino tensorrt fp32 fp16 int8 jsonl masks parquet processes:0 "
    "processes:99999999999 processes:x entropy sm86 v100 topk rgb"
).split()
_FLAGS = {
    "predict": "--topk --batch --device --backend --threads --card --token-file --save --out --format --chunk --column "
    "--root --executor",
    "inspect": "--device --card --token-file --verify --layers --runtimes --json",
    "bench": "--batch --device --backend --threads --card --token-file --streams --image --out",
    "report": "--data --labels --split --limit --label-values --ignore-label --out --batch --waterfall --window "
    "--device --threads --executor",
    "export": "--weights --weights-key --num-classes --task --graph-output --output --format --precision --imgsz "
    "--batch --opset --classes --calib-data --calib-table --keep-fp --calib-images --size-limit --threads",
    "doctor": "--target --json",
    "models": "--json",
    "serve": "--token-file --allow-host --device --backend --threads --streams --queue --max-body --port --max-pixels "
    "--max-images --max-batch --max-connections --timeout --read-timeout --batch-wait-ms",
}
_OPERANDS = {
    "predict": ("model.onnx", "a.png"), "inspect": ("model.onnx",), "bench": ("model.onnx",), "doctor": (),
    "report": ("model.onnx", "model.onnx"), "export": ("float.onnx",), "models": ("w18",), "serve": ("model.onnx",),
}  # fmt: skip
_SWITCHES = {"--verify", "--layers", "--runtimes", "--json"}


def _value(random: Random) -> str:
    text = random.choice(random.choice((_NUMBERS, _PATHS, _SIZES, _CHOICES, HOSTILE_TEXTS)))
    return text.replace("\0", "")  # no argument of a program holds it


def _files() -> dict[str, bytes]:
    special = {one.partition(":")[2]: one.encode() for one in SPECIALS}
    models = {"model.onnx": seeds.model(), "float.onnx": seeds.float_model(with_card=False)}
    return {**models, "a.png": seeds.images()["png"], "classes.txt": b"cat\ndog\nfrog\n", **special}


def flags(random: Random) -> Case:
    """Command lines from a grammar, with hostile values."""
    command = random.choice(list(_FLAGS))
    known = _FLAGS[command].split()
    chosen = random.sample(known, random.randint(0, min(3, len(known))))
    words = [flag if flag in _SWITCHES else f"{flag}={_value(random)}" for flag in chosen]
    for operand in _OPERANDS[command]:
        hostile = random.choice(("", "./")) + _value(random)
        words.append(operand if random.random() < 0.75 else hostile)
    if command in {"bench", "report"}:
        words += ["--seconds", random.choice(("0.01", "0", "-1", "nan", "1e-9"))]
    if command == "export" and not any(word.startswith("--output") for word in words):
        words += ["-o", "new.onnx"]
    if command == "serve":
        words.append("nowhere.onnx")  # so that it ends where all else is right
    return Case(words=(command, *words), files=_files())


_NAMES = (
    b"\xff\xfe.png", b"\x1b[31mred.png", b"a\nhrnet-predict: forged.png", "\u202egnp.exe.png".encode(), b" .png",
    b"-rf.png",
    b"n" * 251 + b".png", b"--out.png", b"\x07\x08.png", "\x9b31m.png".encode(), "\u2028.png".encode(), b"%s.png",
    b"a\rb.png", b"@x.png", b"[a].png", b"'\"$(x)`.png", b"\xe9.png",
)  # fmt: skip


def names(random: Random) -> Case:
    """Hostile names of files."""
    name = os.fsdecode(random.choice(_NAMES))
    content = random.choice((b"", b"no image", *map(str.encode, SPECIALS)))
    if random.random() < 0.7:
        content = seeds.images()["png"]
    source = random.choice((f"./{name}", name, ".", "*.png", "sub", f"sub/{name}"))
    extra = random.choice(
        ("", "--json", "--save saved", "--out results", "--skip-bad", "--out results --format masks")
    ).split()
    model = os.fsdecode(random.choice(_NAMES))[:-5] + ".onnx" if random.random() < 0.2 else "model.onnx"
    files = {
        model: seeds.model(random.choice(("classification", "segmentation"))),
        name: content,
        f"sub/{name}": content,
    }
    if random.random() < 0.2:
        return Case(
            words=("inspect", f"./{random.choice((model, name))}", *random.choice(((), ("--json",)))), files=files
        )
    words = ("predict", f"./{model}", source, "--threads", "1", "--backend", "onnxruntime", *extra)
    return Case(words=words, files=files)


_VARIABLES = (
    "HRNET_DEPLOY_CACHE HRNET_DEPLOY_CACHE HOME XDG_CACHE_HOME TMPDIR LANG COLUMNS TQDM_DISABLE OMP_NUM_THREADS "
    "HRNET_DEPLOY_ALLOW_SPECIAL"
).split()


def environments(random: Random) -> Case:
    """Hostile environment variables."""
    predict = ("predict", "model.onnx", "a.png", "--threads", "1", "--backend")
    commands = (("doctor",), ("models",), ("inspect", "model.onnx"), (*predict, "openvino"), (*predict, "onnxruntime"))
    environment = {}
    for _ in range(random.randint(1, 2)):
        value = random.choice((*_PATHS, *_NUMBERS, *HOSTILE_TEXTS)).replace("\0", "")
        handler = "surrogateescape" if "\udcff" in value else "replace"
        environment[random.choice(_VARIABLES)] = os.fsdecode(value.encode("utf-8", handler))
    return Case(words=random.choice(commands), files=_files(), environment=environment)
