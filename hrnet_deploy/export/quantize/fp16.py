"""Conversion to FP16; measured value ranges decide which nodes stay in float32."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.quantize.converted_graph import ConvertedGraph
from hrnet_deploy.export.quantize.float_graph import FloatGraph
from hrnet_deploy.export.quantize.similarity import SimilarityScorer, rank_by_sensitivity
from hrnet_deploy.export.verify import pad_batch

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.calibration.image_selection import CalibrationImage
    from hrnet_deploy.exporters.fp16 import Fp16Graph

RANGE_IMAGES = 32
"""Images on which value ranges and the sensitivity of blocks are measured."""
_VALIDATION_IMAGES = 64


class Fp16Converter:
    """Conversion to FP16 with any blocks kept in float32."""

    def __init__(self, source: FloatGraph) -> None:
        from hrnet_deploy.calibration.blocks import blocks

        self.source = source
        images = () if source.plan.images is None else source.plan.images.calibration[:RANGE_IMAGES]
        inputs = itertools.chain((batch.inputs for batch in source.batches), source.inputs(images))
        self._unsafe = fp16_unsafe_nodes(source.model, inputs)
        self._blocks = blocks(source.model)

    def kept(self) -> tuple[str, ...]:
        """Name no block: --keep-fp applies to INT8."""
        return ()

    def sensitivity_order(self) -> tuple[str, ...]:
        """Order all convolving blocks but the least sensitive one, which stays in FP16."""
        return self._order

    def graph(self, keep: tuple[str, ...]) -> onnx.ModelProto:
        """Convert without validation."""
        return self.source.with_ends(self._convert(keep).model)

    def convert(self, keep: tuple[str, ...]) -> ConvertedGraph:
        """Convert, and compare the outputs on validation images."""
        source, half, agreement = self.source, self._convert(keep), None
        images = self._validation_images()
        if images:
            scorer = SimilarityScorer(source.model, source.inputs(images), cut=source.threshold)
            agreement = source.agreement(scorer.score(half.model).agreement, scorer.count)
        return ConvertedGraph(
            graph=source.with_ends(half.model),
            batches=source.batches,
            kept_fp32=half.kept,
            underflowed=half.underflowed,
            untyped=source.with_ends(source.copy()) if source.flags_set_precision else None,
            agreement=agreement,
        )

    @functools.cached_property
    def _order(self) -> tuple[str, ...]:
        source, target = self.source, self.source.plan.accuracy
        convolutions = {node.name or node.output[0] for node in source.model.graph.node if node.op_type == "Conv"}
        convolving = [block for block, nodes in self._blocks.items() if nodes & convolutions]
        images = () if target is None else target.images(RANGE_IMAGES)
        scorer = SimilarityScorer(source.model, source.inputs(images), cut=source.threshold)
        return tuple(rank_by_sensitivity(convolving, self._alone, scorer))[:-1]

    def _alone(self, block: str) -> onnx.ModelProto:
        return self._convert(tuple(name for name in self._blocks if name != block)).model

    def _convert(self, keep: tuple[str, ...]) -> Fp16Graph:
        from hrnet_deploy.exporters.fp16 import to_fp16

        return to_fp16(self.source.model, self._unsafe.union(*(self._blocks[block] for block in keep)))

    def _validation_images(self) -> tuple[CalibrationImage, ...]:
        """Take those of the accuracy target, else the user's other images, else those set aside."""
        from hrnet_deploy.calibration.image_selection import choose

        plan = self.source.plan
        if plan.accuracy is not None:
            return plan.accuracy.images(_VALIDATION_IMAGES)
        if plan.evaluation is not None:
            return choose(plan.evaluation, _VALIDATION_IMAGES)
        return () if plan.images is None else plan.images.validation


def fp16_unsafe_nodes(graph: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> frozenset[str]:
    """Run a float32 graph and find the nodes whose values exceed half precision.

    Args:
        graph: Any float32 graph; left unchanged.
        batches: Network inputs, float32 (N, 3, H, W) each.

    Returns:
        Names of the nodes to keep in float32.
    """
    from hrnet_deploy.exporters.fp16_range import expose_absmax, fp16_overflows

    tapped, taps = expose_absmax(graph)
    engine = open_engine(tapped, device="cpu", backend="onnxruntime", in_order=True)
    del tapped
    spec = engine.inputs[0]
    absmax = dict.fromkeys(taps.values(), 0.0)
    for batch in batches:
        for tap, value in engine.run({spec.name: pad_batch(batch, spec)}).items():
            absmax[taps[tap]] = max(absmax[taps[tap]], float(np.float64(value)))
    engine.close()
    return fp16_overflows(graph, absmax)
