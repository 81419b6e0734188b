"""FP16: which nodes must stay in float32 is measured, not guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hrnet_deploy.engines.load import open_engine
from hrnet_deploy.export.filling import filled
from hrnet_deploy.export.quantize.similarity import Scorer, ranked

if TYPE_CHECKING:
    import onnx

    from hrnet_deploy.exporters.fp16 import Fp16Graph


class Fp16Converter:
    """Makes FP16 graphs of one net, with any blocks kept in float32."""

    def __init__(
        self,
        graph: onnx.ModelProto,
        batches: Iterable[NDArray[np.float32]],
        judging: Iterable[NDArray[np.float32]],
        cut: float | None = None,
    ) -> None:
        """Measure which nodes half precision cannot hold.

        Args:
            graph: float32, left as it is.
            batches: network inputs to measure on, float32 (N, 3, H, W).
            judging: re-iterable network inputs that say which blocks lose most, float32 (1, 3, H, W) each; read when
                asked for.
            cut: as for `Scorer`.
        """
        from hrnet_deploy.calibration.blocks import blocks

        self._graph = graph
        self._judging = judging
        self._cut = cut
        self._beyond = fp16_unsafe_nodes(graph, batches)
        self._blocks = blocks(graph)
        self._order: tuple[str, ...] | None = None

    def kept(self) -> tuple[str, ...]:
        """Blocks kept as the user asked: none, --keep-fp is for INT8."""
        return ()

    def order(self) -> tuple[str, ...]:
        """Blocks that may be kept in float32, most sensitive first, as long as one is left in half; measured once.

        Returns:
            Their names.
        """
        if self._order is not None:
            return self._order
        convolutions = {node.name or node.output[0] for node in self._graph.graph.node if node.op_type == "Conv"}
        computing = [block for block, nodes in self._blocks.items() if nodes & convolutions]
        scorer = Scorer(self._graph, self._judging, cut=self._cut)
        self._order = tuple(ranked(computing, self._alone, scorer))[:-1]
        return self._order

    def likeness(self, model: onnx.ModelProto, images: Iterable[NDArray[np.float32]]) -> tuple[float, int]:
        """Compare a graph's answers with those of the float32 graph.

        Args:
            model: with the same input and output.
            images: network inputs, float32 (1, 3, H, W) each.

        Returns:
            Share of equal answers, 0..1, and the number of images.
        """
        scorer = Scorer(self._graph, images, cut=self._cut)
        return scorer.score(model).agreement, scorer.count

    def make(self, kept: tuple[str, ...]) -> Fp16Graph:
        """Convert the graph.

        Args:
            kept: blocks to leave in float32.

        Returns:
            The FP16 graph and what the conversion did to its weights.
        """
        return self._half(frozenset().union(*(self._blocks[block] for block in kept)))

    def render(self, kept: tuple[str, ...]) -> onnx.ModelProto:
        """Convert the graph and forget the rest.

        Args:
            kept: as for `make`.

        Returns:
            The FP16 graph.
        """
        return self.make(kept).model

    def _alone(self, block: str) -> onnx.ModelProto:
        others = (nodes for name, nodes in self._blocks.items() if name != block)
        return self._half(frozenset().union(*others)).model

    def _half(self, kept: frozenset[str]) -> Fp16Graph:
        from hrnet_deploy.exporters.fp16 import to_fp16

        return to_fp16(self._graph, self._beyond | kept)


def fp16_unsafe_nodes(graph: onnx.ModelProto, batches: Iterable[NDArray[np.float32]]) -> frozenset[str]:
    """Run a float32 graph and find the nodes whose values half precision cannot hold.

    Args:
        graph: left as it is.
        batches: network inputs, float32 (N, 3, H, W).

    Returns:
        Names of nodes to keep in float32.
    """
    from hrnet_deploy.exporters.fp16_range import expose_absmax, fp16_overflows

    tapped, taps = expose_absmax(graph)
    engine = open_engine(tapped, device="cpu", backend="onnxruntime", in_order=True)
    del tapped
    spec = engine.inputs[0]
    absmax = dict.fromkeys(taps.values(), 0.0)
    for batch in batches:
        for tap, value in engine.run({spec.name: filled(batch, spec)}).items():
            absmax[taps[tap]] = max(absmax[taps[tap]], float(np.float64(value)))
    engine.close()
    return fp16_overflows(graph, absmax)
