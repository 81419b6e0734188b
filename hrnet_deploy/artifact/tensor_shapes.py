"""The shape of every tensor of an ONNX graph at given input sizes, by one rule for each operator.

Only operators whose output sizes follow from shapes and stored numbers have a rule; a graph with others is refused.
Source: the operator specifications of ONNX (onnx.ai/onnx/operators).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hrnet_deploy.artifact import layout_shapes as layout
from hrnet_deploy.artifact.shape_call import Call, Shape, UnknownSizeError, broadcast

Rule = Callable[["Call"], Sequence[Shape]]


def output_shapes(call: Call) -> Sequence[Shape]:
    """Return the shapes of a node's outputs; UnknownSizeError where its operator has no rule, or a size is unknown."""
    node = call.node
    rule = _RULES.get(f"{node.domain}:{node.operator}" if node.domain else node.operator)
    if rule is None:
        raise UnknownSizeError("this operator has no place in an image model")
    return rule(call)


def _same(call: Call) -> list[Shape]:
    return [call.shape()] * len(call.node.outputs)


def _elementwise(call: Call) -> list[Shape]:
    return [broadcast(*(call.shape(i) for i in range(len(call.node.inputs)) if call.has(i)))]


def _qlinear_binary(call: Call) -> list[Shape]:
    return [broadcast(call.shape(0), call.shape(3))]


def _window(call: Call, kernel: Sequence[int]) -> Shape:
    """Return the spatial sizes after a convolution or pooling."""
    sizes = call.shape()[2:]
    rank = len(sizes)
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    pads, mode = call.get("pads", [0] * 2 * rank), call.get("auto_pad", "NOTSET")
    if min([*strides, *dilations, *kernel], default=1) < 1 or {len(strides), len(dilations), len(kernel)} != {rank}:
        raise UnknownSizeError("strides or kernel of other dimensions")
    if mode in {"SAME_UPPER", "SAME_LOWER"}:
        return tuple(-(-size // stride) for size, stride in zip(sizes, strides, strict=True))
    pads = [0] * 2 * rank if mode == "VALID" else pads
    if len(pads) != 2 * rank:
        raise UnknownSizeError("pads of other dimensions")
    found = []
    for axis, size in enumerate(sizes):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        room = size + pads[axis] + pads[axis + rank] - reach
        found.append(max((-(-room // strides[axis]) if call.get("ceil_mode", 0) else room // strides[axis]) + 1, 0))
    return tuple(found)


def _conv(call: Call, weights: int = 1) -> list[Shape]:
    filters = call.shape(weights)
    return [(call.shape()[0], filters[0], *_window(call, filters[2:]))]


def _conv_transpose(call: Call) -> list[Shape]:
    sizes, filters = call.shape()[2:], call.shape(1)
    rank = len(sizes)
    strides, dilations = call.get("strides", [1] * rank), call.get("dilations", [1] * rank)
    extra = call.get("output_padding", [0] * rank)
    wanted = call.get("output_shape", None) or [
        (size - 1) * strides[i] + extra[i] + (filters[2 + i] - 1) * dilations[i] + 1 for i, size in enumerate(sizes)
    ]
    return [(call.shape()[0], filters[1] * call.get("group", 1), *wanted[-rank:])]


def _pool(call: Call) -> list[Shape]:
    shape = call.shape()
    return [(*shape[:2], *_window(call, call.get("kernel_shape", ())))] * len(call.node.outputs)


def _global_pool(call: Call) -> list[Shape]:
    shape = call.shape()
    return [(*shape[:2], *[1] * (len(shape) - 2))]


def _matmul(call: Call, second: int = 1) -> list[Shape]:
    a, b = call.shape(0), call.shape(second)
    left, right = (a if len(a) > 1 else (1, *a)), (b if len(b) > 1 else (*b, 1))
    rows, columns = left[-2:-1] if len(a) > 1 else (), right[-1:] if len(b) > 1 else ()
    return [(*broadcast(left[:-2], right[:-2]), *rows, *columns)]


def _gemm(call: Call, second: int = 1) -> list[Shape]:
    a, b = call.shape(0), call.shape(second)
    return [(a[-1 if call.get("transA", 0) else 0], b[0 if call.get("transB", 0) else -1])]


def _depth_to_space(call: Call) -> list[Shape]:
    (n, c, h, w), b = call.shape(), call.get("blocksize", 1)
    return [(n, c // b**2, h * b, w * b)]


def _space_to_depth(call: Call) -> list[Shape]:
    (n, c, h, w), b = call.shape(), call.get("blocksize", 1)
    return [(n, c * b**2, h // b, w // b)]


def _dynamic_quantize(call: Call) -> list[Shape]:
    return [call.shape(), (), ()]


def _at(rule: Callable[..., Sequence[Shape]], index: int) -> Rule:
    return lambda call: rule(call, index)


_SAME = (
    "ScatterElements ScatterND "
    "Abs Acos Asin Atan BatchNormalization Cast Ceil Celu Clip Cos CumSum DequantizeLinear Dropout Elu "
    "Erf Exp Floor Gelu HardSigmoid HardSwish Hardmax Identity InstanceNormalization GroupNormalization "
    "IsInf IsNaN LRN LayerNormalization LeakyRelu Log LogSoftmax LpNormalization "
    "MeanVarianceNormalization Mish Neg Not QuantizeLinear Reciprocal Relu Round Selu Shrink Sigmoid Sign "
    "Sin Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu com.microsoft:Gelu "
    "com.microsoft:BiasGelu com.microsoft:QuantizeLinear com.microsoft:DequantizeLinear "
    "com.microsoft:QuickGelu com.microsoft:QLinearSigmoid com.microsoft:QLinearLeakyRelu "
    "com.microsoft:QLinearSoftmax "
)
_ELEMENTWISE = (
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor "
)
_REDUCED = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **{f"Reduce{name}": layout.reduce_shapes for name in _REDUCED.split()},
    **dict.fromkeys(("Conv", "ConvInteger", "com.microsoft:FusedConv"), _conv),
    **dict.fromkeys(("QLinearConv", "com.microsoft:QLinearConv"), _at(_conv, 3)),
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), _pool),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"), _global_pool),
    "com.microsoft:QLinearGlobalAveragePool": _global_pool,
    "com.microsoft:QLinearAveragePool": _pool,
    "com.microsoft:QLinearAdd": _qlinear_binary,
    "com.microsoft:QLinearMul": _qlinear_binary,
    "com.microsoft:QLinearConcat": layout.qlinear_concat_shapes,
    "com.microsoft:QGemm": _at(_gemm, 3),
    **dict.fromkeys(("MatMul", "MatMulInteger", "com.microsoft:FusedMatMul"), _matmul),
    "QLinearMatMul": _at(_matmul, 3),
    "Gemm": _gemm,
    "ConvTranspose": _conv_transpose,
    "Concat": layout.concat_shapes,
    "Split": layout.split_shapes,
    "Slice": layout.slice_shapes,
    "Gather": layout.gather_shapes,
    "GatherElements": lambda call: [call.shape(1)],
    "Reshape": layout.reshape_shapes,
    "Flatten": layout.flatten_shapes,
    "Transpose": layout.transpose_shapes,
    "Squeeze": layout.squeeze_shapes,
    "Unsqueeze": layout.unsqueeze_shapes,
    **dict.fromkeys(("ArgMax", "ArgMin"), layout.arg_shapes),
    "TopK": layout.top_k_shapes,
    **dict.fromkeys(("Resize", "Upsample"), layout.resize_shapes),
    "Pad": layout.pad_shapes,
    "Expand": layout.expand_shapes,
    "Tile": layout.tile_shapes,
    "OneHot": layout.one_hot_shapes,
    "ConstantOfShape": layout.constant_of_shape_shapes,
    "Range": layout.range_shapes,
    "Constant": layout.constant_shapes,
    "Shape": lambda call: [(len(call.shape()),)],
    "Size": lambda _call: [()],
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "DynamicQuantizeLinear": _dynamic_quantize,
}
