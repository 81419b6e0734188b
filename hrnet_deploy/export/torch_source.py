"""A PyTorch checkpoint as the start of an export."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from hrnet_deploy.errors import UsageError
from hrnet_deploy.export.entry_point import export_extra
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import (
    CHECKPOINT_ONLY,
    DEFAULT_THRESHOLD,
    RANDOM,
    ModelInfo,
    checkpoint_lineage,
    refuse_options,
)
from hrnet_deploy.exporters.onnx_file import check_size
from hrnet_deploy.exporters.opset import DEFAULT_OPSET
from hrnet_deploy.feature_names import blocks_named
from hrnet_deploy.models.variants import Variant, find_variant
from hrnet_deploy.models.weights import resolve_weights, web_address, zoo_entry
from hrnet_deploy.spec import Interpolation, OutputKind, Preprocessing, Resize, ShapeRange, Task

if TYPE_CHECKING:
    from hrnet_deploy.models.checkpoints.class_info import ClassInfo

_LOG = logging.getLogger(__name__)
_DEFAULT_VARIANT = "hrnet_w18"
_SEED = 0
_MMSEG_THRESHOLD = 0.3
"""Source: mmseg, models/decode_heads/decode_head.py, for out_channels=1."""


class TorchSource:
    """A checkpoint in one of the known dialects, or random weights."""

    def __init__(self, variant: Variant | None, weights: str, options: ExportOptions) -> None:
        with export_extra():
            import torch

            read = _random_weights(variant, options) if weights == RANDOM else _checkpoint(variant, weights, options)
            from hrnet_deploy.models.feature_network import FeatureNetwork

        self._torch, (network, info) = torch, read
        self._network = network = FeatureNetwork(network, blocks_named(options.features))
        self._channels = info.preprocessing.channel_order.channels
        kind = info.output_kind if info.num_classes else OutputKind.FEATURES
        self.info = dataclasses.replace(info, features=network.features, output_kind=kind)

    def run(self, batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the network's outputs by name, computed one image at a time to bound memory."""
        with self._torch.inference_mode():
            rows = [self._network(self._torch.from_numpy(image[None])) for image in batch]
        columns = zip(*rows, strict=True)
        return {
            name: np.concatenate([row.numpy() for row in column])
            for name, column in zip(self._network.outputs, columns, strict=True)
        }

    def to_onnx(self, shapes: ShapeRange, opset: int | None) -> onnx.ModelProto:
        """Trace the network."""
        from hrnet_deploy.exporters.trace import trace

        return trace(
            self._network, shapes, opset or DEFAULT_OPSET, channels=self._channels, outputs=self._network.outputs
        )


def _random_weights(variant: Variant | None, options: ExportOptions) -> tuple[Any, ModelInfo]:
    import torch

    from hrnet_deploy.models.checkpoints.class_info import ClassInfo
    from hrnet_deploy.models.network import build_network

    variant = variant or find_variant(_DEFAULT_VARIANT)
    classifier = variant.task is Task.CLASSIFICATION
    count = options.num_classes or (1000 if classifier else 19)
    refuse_options(options, CHECKPOINT_ONLY, "random weights", "have none of that")
    if options.align_corners is not None:
        if classifier:
            raise UsageError(f"--align-corners is for segmentation models, got {variant.name}. Leave it out.")
        aligned = options.align_corners
        variant = dataclasses.replace(variant, align_corners=aligned, align_corners_fuse=aligned)
    torch.manual_seed(_SEED)
    check_size(_float_bytes(build_network(variant, count, device="meta")), variant.name)
    whole = Preprocessing(resize=Resize.NONE, size_hw=None, interpolation=Interpolation.OPENCV_LINEAR)
    preprocessing = Preprocessing() if classifier else whole
    info = _info(variant, count, preprocessing, ClassInfo(), DEFAULT_THRESHOLD, {"weights": RANDOM})
    return build_network(variant, count).eval(), info


def _checkpoint(variant: Variant | None, weights: str, options: ExportOptions) -> tuple[Any, ModelInfo]:
    from hrnet_deploy.models.checkpoints.class_info import ClassInfo
    from hrnet_deploy.models.checkpoints.dialects import MMSEG
    from hrnet_deploy.models.checkpoints.load import load_checkpoint

    entry, path = zoo_entry(weights), resolve_weights(weights)
    align_corners = options.align_corners
    if align_corners is None and entry is not None and entry.task is Task.SEGMENTATION:
        align_corners = False  # the zoo's weights are of the branch pytorch-v1.1
    found = load_checkpoint(
        path,
        variant=variant.name if variant else None,
        num_classes=options.num_classes,
        ema=options.ema,
        weights_key=options.weights_key,
        align_corners=align_corners,
        inplace_abn=options.inplace_abn,
        features=bool(options.features),
    )
    check_size(_float_bytes(found.network), path.name)
    lineage = {"weights": path.name, "weights_sha256": found.sha256, "dialect": found.dialect}
    lineage |= checkpoint_lineage(options, align_corners=found.variant.align_corners)
    preprocessing, classes = found.preprocessing, found.classes
    threshold = classes.threshold or _MMSEG_THRESHOLD if found.dialect == MMSEG.name else DEFAULT_THRESHOLD
    if entry is not None:  # its classes are known, whatever spelling the file has
        lineage["zoo"] = entry.name
        preprocessing, classes = entry.preprocessing, ClassInfo()
    if (address := web_address(weights)) is not None:
        lineage["weights_url"] = address
    return found.network, _info(found.variant, found.num_classes, preprocessing, classes, threshold, lineage)


def _info(
    variant: Variant,
    count: int,
    preprocessing: Preprocessing,
    classes: ClassInfo,
    threshold: float,
    lineage: dict[str, str],
) -> ModelInfo:
    """Describe a network with this number of output channels."""
    if variant.in_channels != 3:
        preprocessing = preprocessing.for_channels(variant.in_channels)
        mean, std = (" ".join(f"{value:g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
        found = (variant.in_channels, preprocessing.channel_order.value, mean, std)
        _LOG.warning("the model takes %d channel(s): taken as %s with mean %s and std %s. See --mean and --std", *found)
    native_hw = preprocessing.size_hw if variant.task is Task.CLASSIFICATION else None
    palette, num_classes = classes.palette, max(count, 2) if count else 0
    if palette is not None and len(palette) != num_classes:
        _LOG.warning("palette: the %d colors in the file are not used: there are %d classes", len(palette), num_classes)
        palette = None
    return ModelInfo(
        task=variant.task,
        variant=variant.name,
        num_classes=num_classes,
        threshold=threshold if count == 1 else None,
        classes=classes.names,
        palette=palette,
        preprocessing=preprocessing,
        native_hw=native_hw or variant.default_input_hw,
        align_corners=variant.align_corners,
        lineage=lineage,
    )


def _float_bytes(network: Any) -> int:
    """Return the size of a network's weights as float32."""
    return 4 * sum(int(tensor.numel()) for tensor in network.state_dict().values())
