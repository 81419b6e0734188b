"""Where an export starts: a PyTorch checkpoint, or someone else's ONNX file."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.artifact.card import CARD_KEY, card_from_metadata
from hrnet_deploy.artifact.files import sha256_file
from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.errors import ArtifactError, DeviceError, MissingDependencyError, MissingFileError, UsageError
from hrnet_deploy.export import foreign_session
from hrnet_deploy.export.info import RANDOM, ModelInfo
from hrnet_deploy.export.reading import AS_STORED, Reading
from hrnet_deploy.export.verify import pad_batch
from hrnet_deploy.models.variants import VARIANTS, Variant, find_variant
from hrnet_deploy.models.weights import resolve_weights, web_address, zoo_entry
from hrnet_deploy.models.zoo import default_entry, find_entry, list_models, named_entry
from hrnet_deploy.spec import (
    Interpolation,
    ModelCard,
    OutputKind,
    Precision,
    Preprocessing,
    Resize,
    ShapeRange,
    Task,
)

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.models.checkpoints.names import Palette

_LOG = logging.getLogger(__name__)

_DEFAULT_VARIANT = "hrnet_w18"
_SEED = 0
_THRESHOLD = 0.5
"""Where a sigmoid divides two classes unless somebody says otherwise."""
_MMSEG_THRESHOLD = 0.3
"""Source: mmseg, models/decode_heads/decode_head.py, for out_channels=1."""


class SourceModel(Protocol):
    """A net that can be run for reference and turned into a graph."""

    facts: ModelInfo

    def reference(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The original's own answer to float32 (N, 3, H, W)."""
        ...

    def graph(self, shapes: ShapeRange, opset: int | None) -> onnx.ModelProto:
        """A float32 graph with those shapes and that opset (None: the origin's own choice)."""
        ...


def open_source(
    model: str | None,
    weights: str | Path | None,
    *,
    task: str | None,
    num_classes: int | None,
    opset: int | None,
    graph_output: str | None = None,
    reading: Reading = AS_STORED,
) -> SourceModel:
    """Find out what the user means and load it.

    Args:
        model: a variant, a zoo name, an .onnx file, or None for what the weights hold.
        weights: a file, URL, zoo name or "random"; None for the zoo weights that the model names.
        task: of a foreign .onnx.
        num_classes: classes of random weights, or a check of what the file holds.
        opset: that will be asked for; refused here, before any work, if it cannot be written.
        graph_output: the output of a foreign .onnx that holds the scores, where it has more than one.
        reading: how the weights are to be understood.

    Returns:
        The origin.

    Raises:
        UsageError: an unknown model, or arguments that contradict each other.
        MissingDependencyError: the export extra is not installed.
        HrnetDeployError: whatever loading raises.
    """
    if opset is not None:
        _check_opset(opset)
    if model is not None and model.endswith(".onnx"):
        if weights is not None:
            raise UsageError(f"an .onnx file brings its weights, got --weights {weights} too. Leave one out.")
        return OnnxSource(Path(model), task, num_classes, reading, graph_output)
    if task is not None:
        raise UsageError(f"--task is for foreign .onnx files, got it with {model or 'a checkpoint'}. Leave it out.")
    if model is None and weights is None:
        raise UsageError(
            "an export needs a model or weights, got neither. Name one that hrnet-models lists, or give --weights FILE."
        )
    if weights is None:
        weights = weights_named(str(model))
    variant = None if model is None else _variant_named(model, str(weights))
    return TorchSource(variant, str(weights), num_classes, reading)


class TorchSource:
    """A checkpoint in one of the known dialects, or random weights."""

    def __init__(self, variant: Variant | None, weights: str, num_classes: int | None, reading: Reading) -> None:
        try:
            import torch

            from hrnet_deploy.exporters.onnx_file import check_size
            from hrnet_deploy.models.checkpoints.dialects import MMSEG
            from hrnet_deploy.models.checkpoints.load import load_checkpoint
            from hrnet_deploy.models.checkpoints.names import ClassInfo
            from hrnet_deploy.models.network import build_network
        except ImportError as error:
            raise _extra_missing(error) from error
        self._torch = torch
        if weights == RANDOM:
            variant = variant or find_variant(_DEFAULT_VARIANT)
            count = num_classes or (1000 if variant.task is Task.CLASSIFICATION else 19)
            reading.refuse_for_graph("random weights", "have none of that")
            if reading.align_corners is not None:
                variant = _aligned(variant, align_corners=reading.align_corners)
            torch.manual_seed(_SEED)
            check_size(_float_bytes(build_network(variant, count, device="meta")), variant.name)
            self._network: Any = build_network(variant, count).eval()
            preprocessing, lineage = _default_preprocessing(variant), {"weights": RANDOM}
            classes, threshold = ClassInfo(), _THRESHOLD
        else:
            entry, path = zoo_entry(weights), resolve_weights(weights)
            asked = reading.align_corners
            if asked is None and entry is not None and entry.task is Task.SEGMENTATION:
                asked = False  # the zoo's are of the branch pytorch-v1.1
            loaded = load_checkpoint(
                path,
                variant=variant.name if variant else None,
                num_classes=num_classes,
                ema=reading.ema,
                weights_key=reading.weights_key,
                align_corners=asked,
                inplace_abn=reading.inplace_abn,
            )
            self._network, variant, count = loaded.network, loaded.variant, loaded.num_classes
            check_size(_float_bytes(self._network), path.name)
            lineage = {"weights": path.name, "weights_sha256": loaded.sha256, "dialect": loaded.dialect}
            lineage |= reading.lineage(align_corners=variant.align_corners)
            preprocessing, classes = loaded.preprocessing, loaded.classes
            threshold = _THRESHOLD if loaded.dialect != MMSEG.name else classes.threshold or _MMSEG_THRESHOLD
            if entry is not None:  # what its classes are is known, whatever spelling the file has
                lineage["zoo"] = entry.name
                preprocessing, classes = entry.preprocessing, ClassInfo()
            if (address := web_address(weights)) is not None:
                lineage["weights_url"] = address
        native = preprocessing.size_hw if variant.task is Task.CLASSIFICATION else None
        self.facts = ModelInfo(
            task=variant.task,
            variant=variant.name,
            num_classes=max(count, 2),
            threshold=threshold if count == 1 else None,
            classes=classes.names,
            palette=_colours(classes.palette, max(count, 2)),
            preprocessing=preprocessing,
            native_hw=native or variant.default_input_hw,
            align_corners=variant.align_corners,
            lineage=lineage,
        )

    def reference(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's logits, one image at a time to bound memory."""
        with self._torch.inference_mode():
            answers = [self._network(self._torch.from_numpy(image[None])).numpy() for image in batch]
        return np.concatenate(answers)

    def graph(self, shapes: ShapeRange, opset: int | None) -> onnx.ModelProto:
        """Trace the network."""
        from hrnet_deploy.exporters.opset import DEFAULT_OPSET
        from hrnet_deploy.exporters.trace import trace

        return trace(self._network, shapes, opset or DEFAULT_OPSET)


class OnnxSource:
    """A float32 graph, made here or elsewhere: one image input (N, 3, H, W), classes in dimension 1 of the output."""

    def __init__(
        self, path: Path, task: str | None, num_classes: int | None, reading: Reading, graph_output: str | None = None
    ) -> None:
        try:
            from hrnet_deploy.exporters import import_onnx, onnx_file
            from hrnet_deploy.exporters.foreign_outputs import declare_classes, flatten_scores, keep_output
            from hrnet_deploy.exporters.opset import written
        except ImportError as error:
            raise _extra_missing(error) from error
        reading.refuse_for_graph(path.name, "is a graph")
        card = read_card(path)
        if card is not None:
            _check_untouched(card, path)
            if card.variant != "foreign":
                reading.refuse_for(path.name, f"was traced with align_corners {card.align_corners}")
        self._model = onnx_file.read(path)
        self._name = path.name
        keep_output(self._model, graph_output, path.name)
        if task is not None:
            kind = _task(task)
            if card is not None and kind is not card.task:
                raise UsageError(f"--task must be that of {path.name}, {card.task.value}, got {task}. Leave it out.")
        elif card is not None:
            kind = card.task
        else:
            raise UsageError(f"a foreign .onnx needs --task classification or segmentation, got none for {path.name}.")
        import_onnx.check_input(self._model, path.name)
        self._engine = foreign_session.opened(self._model, path.name)
        answer = foreign_session.tried(self._engine)
        if kind is Task.CLASSIFICATION and flatten_scores(self._model, None if answer is None else answer.shape):
            self._engine = foreign_session.opened(self._model, path.name)
        elif answer is not None:
            declare_classes(self._model, answer.shape)
        found = import_onnx.examine(self._model, path.name)
        (entry,), outputs = onnx_file.describe(self._model)
        normalised = found.normalized or (answer is not None and foreign_session.sums_to_one(answer))
        if normalised and not found.normalized:
            _LOG.warning("%s: its scores add up to 1, so they are taken for probabilities", path.name)
        if num_classes is not None and num_classes != found.num_classes:
            raise UsageError(f"--num-classes must be what {path.name} has, {found.num_classes}, got {num_classes}.")
        ranks = {Task.CLASSIFICATION: 2, Task.SEGMENTATION: 4}
        if len(outputs[0].shape) != ranks[kind]:
            raise ArtifactError(
                f"a {kind.value} net must answer with {ranks[kind]} dimensions, got {outputs[0].shape} from "
                f"{path.name}. Give the other --task."
            )
        if kind is not Task.SEGMENTATION:
            reading.refuse_for(path.name, "is no segmentation net")
        hw = found.fixed_hw or (224, 224)
        resize = Resize.SHORT_SIDE if kind is Task.CLASSIFICATION else Resize.SQUASH
        interpolation = Interpolation.BILINEAR if kind is Task.CLASSIFICATION else Interpolation.OPENCV_LINEAR
        self.facts = ModelInfo(
            task=kind,
            variant="foreign",
            num_classes=max(found.num_classes, 2),
            threshold=_THRESHOLD if found.num_classes == 1 else None,
            preprocessing=Preprocessing(resize=resize, size_hw=hw, interpolation=interpolation),
            native_hw=hw,
            fixed_hw=found.fixed_hw,
            fixed_batch=found.fixed_batch,
            opset=written(self._model),
            output_kind=OutputKind.PROBABILITIES if normalised else OutputKind.LOGITS,
            align_corners=bool(reading.align_corners),
            lineage={"graph": path.name, "graph_sha256": sha256_file(path)}
            | ({} if graph_output is None else {"graph_output": graph_output}),
        )
        if card is not None:
            self.facts = dataclasses.replace(
                self.facts,
                variant=card.variant,
                preprocessing=card.preprocessing,
                native_hw=card.shapes.opt_nhw[1:],
                classes=card.classes,
                align_corners=card.align_corners if reading.align_corners is None else reading.align_corners,
                threshold=card.threshold or self.facts.threshold,
                palette=card.palette,
                lineage={**card.lineage, **self.facts.lineage},
            )
        self._input = entry.name
        self._output = outputs[0].name

    def reference(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The file's own answer on ONNX Runtime's CPU provider.

        Raises:
            UsageError: it leaves its batch or its size open, but does not take this one.
        """
        feed = pad_batch(batch, self._engine.inputs[0])
        try:
            answer = self._engine.run({self._input: feed})[self._output].astype(np.float32)
        except DeviceError as error:
            raise self._refused(feed, str(error)) from error
        channels = self.facts.num_classes if self.facts.threshold is None else 1
        if answer.shape[:2] != (len(feed), channels):
            raise self._refused(feed, f"an answer of {answer.shape} to {len(feed)} images")
        return answer[: len(batch)]

    def _refused(self, feed: NDArray[np.float32], reason: str) -> UsageError:
        """Why a batch is not taken: a graph may hold a number of its own where its input says that it is open."""
        height, width = feed.shape[2:]
        alone = False
        if len(feed) > 1:
            with contextlib.suppress(DeviceError):
                alone = len(self._engine.run({self._input: feed[:1]})[self._output]) == 1
        if alone:
            return UsageError(
                f"{self._name} leaves its batch open but takes one image only, got {len(feed)} ({reason}). "
                "Give --batch 1, or export it again with a batch that is open throughout."
            )
        return UsageError(
            f"{self._name} must take {len(feed)} images of {height}x{width}, got: {reason}. "
            "Give the --imgsz and --batch it was made for, or export it again with open sizes."
        )

    def graph(self, shapes: ShapeRange, opset: int | None) -> onnx.ModelProto:
        """The file's graph, at that opset, with the sizes asked for where it leaves them open."""
        from hrnet_deploy.exporters import import_onnx
        from hrnet_deploy.exporters.opset import MIN_OPSET, convert, written

        model = type(self._model)()
        model.CopyFrom(self._model)
        return import_onnx.reshape(convert(model, opset or max(written(model), MIN_OPSET)), shapes)


def _float_bytes(network: Any) -> int:
    """Room that a network's weights take as float32."""
    return 4 * sum(int(tensor.numel()) for tensor in network.state_dict().values())


def read_card(path: Path) -> ModelCard | None:
    """The card in an .onnx file, read without its weights.

    Args:
        path: the file.

    Returns:
        None where somebody else made it, or it is damaged, as reading it whole will tell.

    Raises:
        MissingFileError: there is no such file.
        ArtifactError: its card is damaged.
    """
    if not path.is_file():
        raise MissingFileError(f"ONNX file must exist, got {path}. Check the path.")
    metadata = read_header(path).metadata
    return card_from_metadata(metadata, path.name) if CARD_KEY in metadata else None


def _colours(palette: Palette | None, count: int) -> Palette | None:
    """A file's palette where it has a colour for each class."""
    if palette is not None and len(palette) != count:
        _LOG.warning("palette: the %d colours in the file are not used, for there are %d classes", len(palette), count)
        return None
    return palette


def _check_untouched(card: ModelCard, path: Path) -> None:
    """Only a float32 graph with logits and a float input can be given another precision or other ends."""
    plain = card.precision is Precision.FP32 and not card.pixels_in
    if not plain or card.output_kind not in {OutputKind.LOGITS, OutputKind.PROBABILITIES}:
        ends = [name for name, there in (("pixels-in", card.pixels_in), ("labels-out", plain)) if there]
        raise UsageError(
            f"an export must start from a plain FP32 graph, got {path.name} in {card.precision.value}"
            f"{' with ' + ', '.join(ends) if ends else ''}. Start from the checkpoint, or compile it as it is with "
            "-o NAME.engine alone."
        )


def _check_opset(opset: int) -> None:
    try:
        from hrnet_deploy.exporters.opset import check
    except ImportError as error:
        raise _extra_missing(error) from error
    check(opset)


def _extra_missing(error: ImportError) -> MissingDependencyError:
    return MissingDependencyError(
        f"exporting needs PyTorch and ONNX, got: {error}. pip install 'hrnet-deploy[export,cpu]'."
    )


def _task(text: str) -> Task:
    try:
        return Task(text)
    except ValueError as error:
        raise UsageError(f"task must be classification or segmentation, got '{text}'. Choose one.") from error


def _default_preprocessing(variant: Variant) -> Preprocessing:
    if variant.task is Task.CLASSIFICATION:
        return Preprocessing()
    return Preprocessing(resize=Resize.NONE, size_hw=None, interpolation=Interpolation.OPENCV_LINEAR)


def _aligned(variant: Variant, *, align_corners: bool) -> Variant:
    """The variant as the HRNet-OCR branch resizes, or not."""
    if variant.task is not Task.SEGMENTATION:
        raise UsageError(f"--align-corners is for segmentation models, got {variant.name}. Leave it out.")
    return dataclasses.replace(variant, align_corners=align_corners, align_corners_fuse=align_corners)


def weights_named(model: str) -> str:
    """The zoo row that a model's name stands for.

    Args:
        model: a zoo name, its publisher's, or a variant, which stands for the row to begin with.

    Returns:
        The row's own name.

    Raises:
        UsageError: no such row; the message names the closest, or those to be fetched by hand.
    """
    entry = named_entry(model)
    if entry is not None:
        return entry.name
    name = model.strip().lower().replace("-", "_")
    if name not in VARIANTS:
        return find_entry(model).name  # which refuses it and names the closest
    entry = default_entry(name)
    if entry is not None:
        return entry.name
    known = ", ".join(row.name for row in list_models(name))
    hint = f"The zoo knows {known}, to be fetched by hand. " if known else ""
    raise UsageError(f"{name} needs weights, got none. {hint}Give --weights FILE (or 'random' to measure speed).")


def _variant_named(model: str, weights: str) -> Variant:
    """The architecture a model's name stands for; a zoo name that asks for other zoo weights is refused."""
    entry, other = named_entry(model), zoo_entry(weights)
    if None not in (entry, other) and entry != other:
        raise UsageError(f"model and weights must be the same zoo row, got {model} and {weights}. Leave one out.")
    try:
        return find_variant(model)
    except UsageError:
        if entry is None:
            raise
        return find_variant(entry.variant)
