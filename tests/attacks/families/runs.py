"""Long commands on small data: reports, and exports in INT8, with a hostile file each."""

from random import Random

from attacks import seeds
from attacks.case import SPECIALS, Case
from attacks.families.images import claiming_png, large_header
from attacks.mutators import mutate

_REPORT = ("report", "model.onnx", "other.onnx", "--data", "data", "--out", "report", "--seconds", "0.01")
_EXPORT = (*"export float.onnx --task classification --classes classes.txt --imgsz 8 --precision int8".split(), "-o")


def runs(random: Random) -> Case:
    """Reports, and exports in INT8, whose data set or graph holds one hostile file."""
    known = seeds.images()
    names = [f"data/val/{name}/{number}.png" for name in seeds.CLASSES for number in range(2)]
    files = dict.fromkeys(names, known["png"])
    files |= {"model.onnx": seeds.model(), "other.onnx": seeds.model(), "classes.txt": b"cat\ndog\nfrog\n"}
    files["float.onnx"] = seeds.float_model(with_card=False, convolutions=4)
    is_report = random.random() < 0.6
    deed = random.random()
    if deed < 0.6:
        hostile = (mutate(random, known["png"]), claiming_png(random), large_header(random), *map(str.encode, SPECIALS))
        files[random.choice(names)] = random.choice((hostile[0], *hostile))
    elif deed < 0.8:
        files[random.choice(("data/val/\x1b[31m/a.png", "data/val/cat/a\nb.png", "data/val/x/\u202e.png"))] = known[
            "png"
        ]
    else:
        name = "other.onnx" if is_report else "float.onnx"
        files[name] = mutate(random, files[name])
    if is_report:
        return Case(words=(*_REPORT, "--limit", "6", "--threads", "1"), files=files)
    return Case(
        words=(*_EXPORT, "out.onnx", "--calib-data", "data", "--calib-images", "4", "--allow-val"),
        files=files,
        output="out.onnx",
    )
