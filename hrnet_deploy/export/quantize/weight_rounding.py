"""Weights rounded to INT8 by the second moments of their inputs on calibration images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from hrnet_deploy.calibration.gptq import round_columns
from hrnet_deploy.calibration.second_moments import SecondMoment, Window
from hrnet_deploy.export.verify import run_on_cpu
from hrnet_deploy.exporters.intermediate_outputs import expose_tensors
from hrnet_deploy.exporters.qdq import weight_scales
from hrnet_deploy.qdq_plan import name_of, stored_tensors
from hrnet_deploy.system.progress import bar

Readers = dict[Window, list[tuple[str, NDArray[np.float32]]]]
"""Name and weights of every convolution that reads a window."""

ENOUGH_IMAGES = 32
"""Four rounded the person model as well, sixteen the photo model."""
_ROOM = 128_000_000
"""Values of moments in memory (512 MB); a model with more takes another pass over the images."""


def round_weights(
    graph: onnx.ModelProto, nodes: frozenset[str], images: Iterable[NDArray[np.float32]], *, per_channel: bool
) -> dict[str, NDArray[np.int8]]:
    """Round weights of convolutions to INT8 levels by name; images are network inputs, float32 (1, 3, H, W) each."""
    readers = _readers(graph, nodes)
    levels = {}
    with bar(total=sum(map(len, readers.values())), unit="layer", desc="rounding weights") as progress:
        for group in _groups(readers):
            for window, moments in _moments(graph, group, images):
                for name, weights in readers[window]:
                    levels[name] = round_columns(weights, weight_scales(weights, per_channel=per_channel), moments)
                    progress.update()
    return levels


def _readers(graph: onnx.ModelProto, nodes: frozenset[str]) -> Readers:

    tensors = stored_tensors(graph)
    wanted = [n for n in graph.graph.node if n.op_type == "Conv" and name_of(n) in nodes]
    shared = Counter(node.input[1] for node in wanted)  # the best levels for one reader may be the worst for another
    readers: Readers = {}
    for node in wanted:
        weights = numpy_helper.to_array(tensors[node.input[1]])
        window = Window.of(node, weights)
        if window is not None and shared[node.input[1]] == 1:
            readers.setdefault(window, []).append((node.input[1], weights))
    return readers


def _groups(readers: Readers) -> Iterator[dict[Window, int]]:
    """Group windows whose moments fit into memory together, with their sizes."""
    group: dict[Window, int] = {}
    held = 0
    for window, ((_, weights), *_) in readers.items():
        size = weights[0].size
        if group and held + size**2 > _ROOM:
            yield group
            group, held = {}, 0
        group[window] = size
        held += size**2
    if group:
        yield group


def _moments(
    graph: onnx.ModelProto, sizes: dict[Window, int], images: Iterable[NDArray[np.float32]]
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """Measure the second moments of some windows; each leaves memory once it was used."""
    moments = {window: SecondMoment(window, size) for window, size in sizes.items()}
    tapped, taps = expose_tensors(graph, dict.fromkeys(window.value for window in moments))
    shown = {value: tap for tap, value in taps.items()}
    for _, values in run_on_cpu(tapped, images):
        for window, moment in moments.items():
            moment.add(np.asarray(values[shown[window.value]], np.float32))
    while moments:
        window = next(iter(moments))
        yield window, moments.pop(window).mean()
