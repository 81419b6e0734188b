"""An ONNX file as the start of an export: a float32 graph, made here or elsewhere."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.graph_check import check_external_files, check_graph
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.errors import ArtifactError, DeviceError, UsageError
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import CHECKPOINT_ONLY, DEFAULT_THRESHOLD, ModelInfo, read_card, refuse_options
from hrnet_deploy.export.verify import pad_batch
from hrnet_deploy.exporters import import_onnx, onnx_file
from hrnet_deploy.exporters.graph_edit import copy_of
from hrnet_deploy.exporters.opset import MIN_OPSET, convert, has_old_resize, written
from hrnet_deploy.feature_names import block_of, usual_name
from hrnet_deploy.protocols import Engine
from hrnet_deploy.spec import Interpolation, ModelCard, OutputKind, Precision, Preprocessing, Resize, ShapeRange, Task

_LOG = logging.getLogger(__name__)
_RANKS = {Task.CLASSIFICATION: 2, Task.SEGMENTATION: 4}
_SUM_TOLERANCE = 1e-3


class OnnxSource:
    """A graph with one image input (N, 3, H, W) and classes in dimension 1 of its output."""

    def __init__(self, path: Path, options: ExportOptions) -> None:
        refuse_options(options, CHECKPOINT_ONLY, path.name, "is a graph")
        card = read_card(path)
        if card is not None:
            _check_plain(card, path)
            if card.variant != "foreign":
                reason = f"was traced with align_corners {card.align_corners}"
                refuse_options(options, ("align_corners",), path.name, reason)
        check_external_files(path, path.name, read_header(path))
        self._model = model = onnx_file.read(path)
        _check_memory(model, path.name)
        self._name = path.name
        features = _features(options, card, path.name)
        own = () if card is None else tuple(spec.name for spec in card.features)
        import_onnx.drop_outputs(model, set(own) - set(features))
        import_onnx.keep_outputs(model, options.graph_output, features, path.name)
        headless = len(model.graph.output) == len(features)
        task = _task(options.task, card, path.name)
        import_onnx.check_input(model, path.name)
        if headless:
            self._engine, output = _session(model, path.name), None
        else:
            self._engine, output = _opened(model, path.name, task)
        found = import_onnx.examine(model, path.name, headless=headless)
        if not found.normalized and output is not None and _sums_to_one(output):
            found = dataclasses.replace(found, normalized=True)
            _LOG.warning("%s: its scores add up to 1, so they are taken for probabilities", path.name)
        if options.num_classes is not None and options.num_classes != found.num_classes:
            raise UsageError(
                f"--num-classes must be what {path.name} has, {found.num_classes}, got {options.num_classes}."
            )
        (entry,), outputs = onnx_file.describe(model)
        if len(outputs[0].shape) != _RANKS[task] and not headless:
            raise ArtifactError(
                f"a {task.value} model must compute {_RANKS[task]} dimensions, got {outputs[0].shape} from "
                f"{path.name}. Give the other --task."
            )
        if task is not Task.SEGMENTATION:
            refuse_options(options, ("align_corners",), path.name, "is no segmentation model")
        info = dataclasses.replace(_foreign_info(path, task, found, options, written(model)), features=features)
        self.info = info if card is None else _with_card(info, card, options)
        self._input, self._outputs = entry.name, tuple(spec.name for spec in outputs)

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the file's own outputs by name on ONNX Runtime's CPU provider."""
        feed = pad_batch(batch, self._engine.inputs[0])
        try:
            found = self._engine.run({self._input: feed})
        except DeviceError as error:
            raise self._refused(feed, str(error)) from error
        outputs = {name: found[name].astype(np.float32) for name in self._outputs}
        channels = self.info.num_classes if self.info.threshold is None else 1
        first = next(iter(outputs.values())).shape
        if first[:1] != (len(feed),) or (not self.info.headless and first[1:2] != (channels,)):
            raise self._refused(feed, f"an output of {first} to {len(feed)} images")
        return {name: output[: len(batch)] for name, output in outputs.items()}

    def to_onnx(self, shapes: ShapeRange, opset: int | None) -> onnx.ModelProto:
        """Return the file's graph at that opset, with those sizes where the file leaves them open."""
        model = copy_of(self._model)
        return import_onnx.reshape(convert(model, opset or max(written(model), MIN_OPSET)), shapes)

    def _refused(self, feed: NDArray[np.float32], reason: str) -> UsageError:
        """Explain a refused batch: a graph may hold a constant size where its input is declared open."""
        height, width = feed.shape[2:]
        alone = False
        if len(feed) > 1:
            with contextlib.suppress(DeviceError):
                alone = len(self._engine.run({self._input: feed[:1]})[self._outputs[0]]) == 1
        if alone:
            return UsageError(
                f"{self._name} leaves its batch open but takes one image only, got {len(feed)} ({reason}). "
                "Give --batch 1, or export it again with a batch that is open throughout."
            )
        return UsageError(
            f"{self._name} must take {len(feed)} images of {height}x{width}, got: {reason}. "
            "Give the --imgsz and --batch it was made for, or export it again with open sizes."
        )


def _check_memory(model: onnx.ModelProto, name: str) -> None:
    """Refuse a graph that needs too much memory, at the usual size where its own is open."""
    content = model.SerializeToString()
    check_graph(content, name, read_header(content))


def _opened(model: onnx.ModelProto, name: str, task: Task) -> tuple[Engine, NDArray[np.float64] | None]:
    """Open the graph and run it once on noise; what that run shows of the output is written into the graph."""
    if has_old_resize(model):
        _LOG.warning(
            "%s: opset %d resizes otherwise than PyTorch's interpolate (asymmetric), so its outputs may be worse than "
            "its model's; they are kept as they are. Export it again with opset 11 or newer", name, written(model),
        )  # fmt: skip
    engine = _session(model, name)
    shape = engine.inputs[0].shape
    sizes = [size if isinstance(size, int) else default for size, default in zip(shape, (1, 3, 224, 224), strict=True)]
    image = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    output = None
    with contextlib.suppress(DeviceError):  # it may refuse that size
        output = np.asarray(engine.run({engine.inputs[0].name: image})[engine.outputs[0].name], np.float64)
    if task is Task.CLASSIFICATION and import_onnx.flatten_scores(model, None if output is None else output.shape):
        engine = _session(model, name)
    elif output is not None:
        import_onnx.declare_classes(model, output.shape)
    return engine, output


def _session(model: onnx.ModelProto, name: str) -> Engine:
    """Open a foreign graph on the CPU; name operators that ONNX Runtime does not have."""
    try:
        return open_engine(model.SerializeToString(), device="cpu", backend="onnxruntime")
    except ArtifactError as error:
        domains = sorted({node.domain for node in model.graph.node} - {"", "ai.onnx"})
        about = f"It has operators of {', '.join(domains)}: export it without them" if domains else "Export it again"
        reason = str(error).partition(", got: ")[2] or str(error)
        raise ArtifactError(f"{name} must be a graph that ONNX Runtime runs, got: {reason}. {about}.") from error


def _sums_to_one(output: NDArray[np.float64]) -> bool:
    """Check whether the scores of two or more classes add up to 1 at every position."""
    several = output.ndim > 1 and output.shape[1] > 1
    return several and bool(output.min() >= 0 and np.abs(output.sum(axis=1) - 1).max() < _SUM_TOLERANCE)


def _task(given: str | None, card: ModelCard | None, name: str) -> Task:
    if given is None:
        if card is None:
            raise UsageError(f"a foreign .onnx needs --task classification or segmentation, got none for {name}.")
        return card.task
    try:
        task = Task(given)
    except ValueError as error:
        raise UsageError(f"task must be classification or segmentation, got '{given}'. Choose one.") from error
    if card is not None and task is not card.task:
        raise UsageError(f"--task must be that of {name}, {card.task.value}, got {given}. Leave it out.")
    return task


def _foreign_info(path: Path, task: Task, found: import_onnx.Findings, options: ExportOptions, opset: int) -> ModelInfo:
    """Return what a graph without a card states, with usual preprocessing."""
    hw = found.fixed_hw or (224, 224)
    classifier = task is Task.CLASSIFICATION
    name = path.name.encode(errors="surrogateescape").decode(errors="replace")  # a card is UTF-8
    lineage = {"graph": name, "graph_sha256": sha256_file(path)}
    return ModelInfo(
        task=task,
        variant="foreign",
        num_classes=max(found.num_classes, 2) if found.num_classes else 0,
        threshold=DEFAULT_THRESHOLD if found.num_classes == 1 else None,
        preprocessing=Preprocessing(
            resize=Resize.SHORT_SIDE if classifier else Resize.SQUASH,
            size_hw=hw,
            interpolation=Interpolation.BILINEAR if classifier else Interpolation.OPENCV_LINEAR,
        ),
        native_hw=hw,
        fixed_hw=found.fixed_hw,
        fixed_batch=found.fixed_batch,
        opset=opset,
        output_kind=_kind(found),
        align_corners=bool(options.align_corners),
        lineage=lineage if options.graph_output is None else {**lineage, "graph_output": options.graph_output},
    )


def _kind(found: import_onnx.Findings) -> OutputKind:
    if not found.num_classes:
        return OutputKind.FEATURES
    return OutputKind.PROBABILITIES if found.normalized else OutputKind.LOGITS


def _features(options: ExportOptions, card: ModelCard | None, name: str) -> tuple[str, ...]:
    """Return the outputs that hold features: those the user names, else all that a graph made here has."""
    if card is None:
        return tuple(options.features)
    own = tuple(spec.name for spec in card.features)
    given = tuple(map(usual_name, options.features))
    for wanted in given:
        if wanted not in own and wanted not in map(block_of, own):
            have = ", ".join(own) or "none"
            raise UsageError(f"--features must be those of {name}, {have}, got {wanted}. Start from the checkpoint.")
    chosen = tuple(one for one in own if one in given or block_of(one) in given)
    return chosen or own


def _with_card(info: ModelInfo, card: ModelCard, options: ExportOptions) -> ModelInfo:
    """Return what is known of a graph that was made here."""
    return dataclasses.replace(
        info,
        variant=card.variant,
        preprocessing=card.preprocessing,
        native_hw=card.shapes.opt_nhw[1:],
        classes=card.classes,
        align_corners=card.align_corners if options.align_corners is None else options.align_corners,
        threshold=card.threshold or info.threshold,
        palette=card.palette,
        lineage={**card.lineage, **info.lineage},
    )


def _check_plain(card: ModelCard, path: Path) -> None:
    """Refuse a graph of this package that is not float32 or has another input or output than the model."""
    plain = card.precision is Precision.FP32 and not card.pixels_in
    if not plain or card.output_kind not in {OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.FEATURES}:
        ends = [name for name, there in (("pixels-in", card.pixels_in), ("labels-out", plain)) if there]
        raise UsageError(
            f"an export must start from a plain FP32 graph, got {path.name} in {card.precision.value}"
            f"{' with ' + ', '.join(ends) if ends else ''}. Start from the checkpoint, or compile it as it is with "
            "-o NAME.engine alone."
        )
