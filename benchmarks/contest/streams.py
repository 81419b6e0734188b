"""A folder of JPEGs, streamed and by hrnet-predict, against the engine alone on as many images."""

from __future__ import annotations

import contextlib
import functools
import io
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from contest import peers
from contest.section import Key, Record, Records
from contest.setting import NETS, Setting, say
from contest.table import Table
from contest.turns import Call, Times, in_turns, ratio
from hrnet_deploy import Predictor
from hrnet_deploy.cli import predict as predict_command

STREAMED = ("JPEG bytes, predict(stream=True), lanes=None", "folder, predict(stream=True), lanes=None")
COMMAND = "hrnet-predict, opening included"
_ENGINE = "engine alone"
"""How names begin of ways to keep the engine busy with what is ready; streams are held against the fastest."""
_BATCH = 8
_IMAGES = "-images"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """(net, precision, N-images), of nets that classify."""
    count = f"{16 if quick else 200}{_IMAGES}"
    chosen = [name for name in names if NETS[name][0] == NETS[name][1]]
    return [(name, precision, count) for name in chosen for precision in ("fp32", "int8")]


def measure(setting: Setting, key: Key) -> Record:
    """One net and precision on the backend that `auto` picks, in batches of 8."""
    name, precision, count = key[0], key[1], int(key[2].removesuffix(_IMAGES))
    folder = setting.photos(count)
    contents = [file.read_bytes() for file in sorted(folder.iterdir())]
    path = setting.artefact(name, precision, NETS[name], peers.checkpoint(name, setting.folder))
    array = np.stack([peers.by_pillow(content, NETS[name]) for content in contents[:_BATCH]])
    words = [str(path), str(folder), "--batch", str(_BATCH), "--device", "cpu", "-q"]
    say(f"streams {' '.join(key)}: opens both predictors")
    with Predictor(path, device="cpu") as single, Predictor(path, device="cpu", streams=None) as several:
        for predictor in (single, several):
            _streamed(predictor, contents[: _BATCH * predictor.streams])
        with ThreadPoolExecutor(several.streams) as pool:
            calls: dict[str, Call] = {
                f"{_ENGINE}, one lane": functools.partial(_infer, single, array, count // _BATCH),
                f"{_ENGINE}, {several.streams} lanes": functools.partial(_side_by_side, pool, several, array, count),
                "folder, predict(stream=True), one lane": functools.partial(_streamed, single, folder),
                STREAMED[0]: functools.partial(_streamed, several, contents),
                STREAMED[1]: functools.partial(_streamed, several, folder),
                COMMAND: functools.partial(_command, words),
            }
            say(f"streams {' '.join(key)}: measures {len(calls)} ways")
            times = in_turns(calls, seconds=setting.seconds, least=setting.rounds)
        return {"times": times, "backend": single.backend, "notes": []}


def table(records: Records) -> Table:
    """A line a way."""
    head = ("net", "precision", "images", "way", "ms an image", "over the fastest engine alone", "rounds")
    lines = Table("Streams", head)
    for (name, precision, images), record in records.items():
        count = images.removesuffix(_IMAGES)
        times: Times = record["times"]
        for way, taken in times.items():
            over = f"{ratio(taken, times[engine(times)]):.3f}"
            each = f"{1e3 * statistics.median(taken) / int(count):.2f}"
            lines.rows.append((name, precision, count, f"{way} ({record['backend']})", each, over, str(len(taken))))
        lines.notes += record["notes"]
    return lines


def engine(times: Times) -> str:
    """The fastest way to keep the engine busy with arrays that are ready."""
    ways = [way for way in times if way.startswith(_ENGINE)]
    return min(ways, key=lambda way: statistics.median(times[way]))


def _infer(predictor: Predictor, array: peers.Floats, count: int) -> None:
    for _ in range(count):
        predictor.infer(array)


def _side_by_side(pool: ThreadPoolExecutor, predictor: Predictor, array: peers.Floats, images: int) -> None:
    batches = images // _BATCH
    shares = [batches // predictor.streams + (lane < batches % predictor.streams) for lane in range(predictor.streams)]
    list(pool.map(functools.partial(_infer, predictor, array), shares))


def _streamed(predictor: Predictor, source: Any) -> None:
    for _ in predictor.predict(source, stream=True, batch=_BATCH):
        pass


def _command(words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        predict_command.run(predict_command.parse_args(words))
