"""The float32 graph that every conversion starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.export.agreement import Agreement, floor_for
from hrnet_deploy.export.plan import ExportPlan
from hrnet_deploy.export.quantize.calibrate import input_batches
from hrnet_deploy.export.source import RANDOM, ModelInfo
from hrnet_deploy.export.verify import ReferenceBatch
from hrnet_deploy.processing.two_classes import cut_of
from hrnet_deploy.spec import OutputKind, Task

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.image_selection import CalibrationImage

_TOPK = 5


@dataclass(frozen=True)
class FloatGraph:
    """A simplified float32 graph, and the export it belongs to.

    Attributes:
        model: the graph as the model outputs it, without the uint8 input and the output head of the plan.
        batches: inputs and outputs of the original.
    """

    model: onnx.ModelProto
    plan: ExportPlan
    batches: Sequence[ReferenceBatch] = ()

    @property
    def info(self) -> ModelInfo:
        """What is known of the original."""
        return self.plan.info

    @property
    def threshold(self) -> float | None:
        """Score above which the single output channel means the second class; None for a channel per class."""
        return cut_of(self.plan.threshold, self.info.output_kind)

    @property
    def flags_set_precision(self) -> bool:
        """Whether the engine's precision comes from builder flags instead of the graph."""
        return self.plan.engine is not None and self.plan.engine.flags_set_precision

    def copy(self) -> onnx.ModelProto:
        """Copy the graph."""
        copy = type(self.model)()
        copy.CopyFrom(self.model)
        return copy

    def inputs(self, images: tuple[CalibrationImage, ...]) -> Iterable[NDArray[np.float32]]:
        """Preprocess images to network inputs, float32 (1, 3, H, W) each; re-iterable."""
        return input_batches(images, self.plan.preprocessing) if images else ()

    def agreement(self, share: float, images: int) -> Agreement | None:
        """Compare an agreement with its floor; None for random weights, whose outputs any noise changes."""
        if self.info.lineage.get("weights") == RANDOM:
            return None
        floor = floor_for(self.info.task, images)
        return Agreement(precision=self.plan.precision, share=share, images=images, floor=floor)

    def with_ends(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Add the output head and the uint8 input of the plan to a converted graph, in place."""
        from hrnet_deploy.exporters import output_head, uint8_input

        plan, info, cut = self.plan, self.info, self.threshold
        if plan.output_kind is not info.output_kind:
            if info.task is Task.SEGMENTATION:
                output_head.add_argmax(graph, align_corners=plan.info.align_corners, cut=cut)
            elif cut is not None:
                output_head.add_two_classes(graph, cut if plan.output_kind is OutputKind.TOPK else None)
            elif plan.output_kind is OutputKind.TOPK:
                output_head.add_topk(graph, min(_TOPK, info.num_classes))
            else:
                output_head.add_softmax(graph)
        if plan.pixels is not None:
            own = plan.preprocessing
            uint8_input.add_uint8_input(graph, own.mean, own.std, swap=plan.pixels is not own.channel_order)
        return graph
