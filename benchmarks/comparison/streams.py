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

from comparison import baselines
from comparison.config import MODELS, Config, Key, Record, Records, log
from comparison.interleave import Call, Times, ratio, time_rounds
from comparison.table import Table
from hrnet_deploy import Predictor
from hrnet_deploy.cli import predict as predict_command

STREAMED = ("JPEG bytes, predict(stream=True), streams=None", "folder, predict(stream=True), streams=None")
COMMAND = "hrnet-predict, opening included"
_ENGINE = "engine alone"
"""Prefix of contenders that run the engine on a ready array; streams are compared with the fastest of them."""
_BATCH = 8
_IMAGES = "-images"


def keys(names: Sequence[str], *, quick: bool) -> list[Key]:
    """Return (model, precision, N-images) of models that classify."""
    count = f"{16 if quick else 200}{_IMAGES}"
    chosen = [name for name in names if MODELS[name][0] == MODELS[name][1]]
    return [(name, precision, count) for name in chosen for precision in ("fp32", "int8")]


def measure(config: Config, key: Key) -> Record:
    """Time one model and precision on the backend that `auto` picks, in batches of 8."""
    name, precision, count = key[0], key[1], int(key[2].removesuffix(_IMAGES))
    folder = config.photos(count)
    contents = [file.read_bytes() for file in sorted(folder.iterdir())]
    path = config.artifact(name, precision, MODELS[name], baselines.checkpoint(name, config.folder))
    array = np.stack([baselines.by_pillow(content, MODELS[name]) for content in contents[:_BATCH]])
    words = [str(path), str(folder), "--batch", str(_BATCH), "--device", "cpu", "-q"]
    log(f"streams {' '.join(key)}: opens both predictors")
    with Predictor(path, device="cpu") as single, Predictor(path, device="cpu", streams=None) as several:
        for predictor in (single, several):
            _streamed(predictor, contents[: _BATCH * predictor.streams])
        with ThreadPoolExecutor(several.streams) as pool:
            calls: dict[str, Call] = {
                f"{_ENGINE}, one stream": functools.partial(_infer, single, array, count // _BATCH),
                f"{_ENGINE}, {several.streams} streams": functools.partial(_side_by_side, pool, several, array, count),
                "folder, predict(stream=True), one stream": functools.partial(_streamed, single, folder),
                STREAMED[0]: functools.partial(_streamed, several, contents),
                STREAMED[1]: functools.partial(_streamed, several, folder),
                COMMAND: functools.partial(_command, words),
            }
            log(f"streams {' '.join(key)}: measures {len(calls)} ways")
            times = time_rounds(calls, seconds=config.seconds)
        return {"times": times, "backend": single.backend, "notes": []}


def table(records: Records) -> Table:
    """Tabulate one way a row."""
    head = ("model", "precision", "images", "way", "ms an image", "over the fastest engine alone", "rounds")
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
    """Return the fastest contender that runs the engine alone."""
    ways = [way for way in times if way.startswith(_ENGINE)]
    return min(ways, key=lambda way: statistics.median(times[way]))


def _infer(predictor: Predictor, array: baselines.Floats, count: int) -> None:
    for _ in range(count):
        predictor.infer(array)


def _side_by_side(pool: ThreadPoolExecutor, predictor: Predictor, array: baselines.Floats, images: int) -> None:
    batches, streams = images // _BATCH, predictor.streams
    shares = (batches // streams + (index < batches % streams) for index in range(streams))
    list(pool.map(functools.partial(_infer, predictor, array), shares))


def _streamed(predictor: Predictor, source: Any) -> None:
    for _ in predictor.predict(source, stream=True, batch=_BATCH):
        pass


def _command(words: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        predict_command.run(predict_command.parse_args(words))
