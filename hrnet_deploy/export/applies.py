"""Every option of an export: what type its value has, and to which exports it applies.

An option that would do nothing is an error, from Python and from the command line alike.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from hrnet_deploy.color_scale import three_numbers
from hrnet_deploy.errors import UsageError
from hrnet_deploy.export import option_values
from hrnet_deploy.export.info import ModelInfo
from hrnet_deploy.export.wishes import Wishes
from hrnet_deploy.spec import Preprocessing, Resize, Task

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass(frozen=True, kw_only=True)
class Case:
    """What decides which options apply.

    Attributes:
        precision: of the artefact.
        engine: whether it is a TensorRT engine.
        as_is: whether an .onnx file made here is compiled without a change.
        graph: whether the export starts from an .onnx file.
        random: whether the weights are random.
        images: whether calibration images are named, by the user or by the environment.
        given: names of the options that were given.
    """

    precision: str
    engine: bool
    as_is: bool
    graph: bool
    random: bool
    images: bool
    given: frozenset[str]

    def __str__(self) -> str:
        """As "an fp16 .onnx file"."""
        article = "an" if self.precision[0] in "aeiof" else "a"  # "an fp16", "an int8"
        kind = "engine" if self.engine else ".onnx file"
        origin = " of random weights" if self.random else " from an .onnx file" if self.graph else ""
        return f"{article} {self.precision} {kind}{' compiled as it is' if self.as_is else origin}"


@dataclass(frozen=True)
class Need:
    """A condition under which an option applies.

    Attributes:
        text: completes "applies to ...".
        met: whether it holds.
    """

    text: str
    met: Callable[[Case], bool]


_NEW = Need("exports that write a new graph", lambda case: not case.as_is)
_GRAPH = Need("a foreign .onnx file", lambda case: case.graph and not case.as_is)
_CHECKPOINT = Need("a checkpoint", lambda case: not case.graph and not case.random)
_INT8 = Need("--precision int8", lambda case: case.precision == "int8" and not case.as_is)
_LOWER = Need("--precision fp16 or int8", lambda case: case.precision != "fp32" and not case.as_is)
_IMAGES = Need(
    "--precision int8, or fp16 with --calib-data",
    lambda case: _INT8.met(case) or (_LOWER.met(case) and case.images),
)
_ENGINE = Need("an .engine output", lambda case: case.engine)
_INT8_ENGINE = Need("an int8 .engine output", lambda case: case.engine and _INT8.met(case))
_FEEDS = Need("--precision fp16 or int8, and to engines", lambda case: _LOWER.met(case) or case.engine)
_JUDGES = Need(
    "--precision fp16 or int8, to engines, and with --max-drop or --waterfall",
    lambda case: _FEEDS.met(case) or not case.given.isdisjoint({"max_drop", "waterfall"}),
)
_OVERLAP = Need("--precision int8 with --eval-data", lambda case: _INT8.met(case) and "eval_data" in case.given)
_ANY = Need("all exports", lambda _case: True)


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        kind: completes "must be ...".
        normal: the value in its normal form; raises ValueError or TypeError for another type.
        need: where it applies.
    """

    kind: str
    normal: Callable[[Any], Any]
    need: Need = _ANY


_PATH = ("a path", option_values.path)
_TEXT = ("a text", option_values.text)
_SWITCH = ("True or False", option_values.switch)
_WHOLE = ("a whole number", option_values.whole_number)
_NUMBER = ("a number", option_values.number)
_COLORS = ("three numbers", lambda value: three_numbers("it", value))

OPTIONS: Mapping[str, Option] = {
    "model": Option(*_PATH),
    "weights": Option(*_PATH),
    "precision": Option(*_TEXT),
    "output": Option(*_PATH),
    "graph_output": Option(*_TEXT, _GRAPH),
    "format": Option(*_TEXT),
    "imgsz": Option("a number, a text or a pair of numbers", option_values.image_size),
    "batch": Option("a number or a text", option_values.batch),
    "opset": Option(*_WHOLE, _NEW),
    "simplify": Option(*_SWITCH, _NEW),
    "pixels_in": Option("True, False, 'bgr' or 'rgb'", option_values.mode, _NEW),
    "labels_out": Option("True, False, 'topk' or 'softmax'", option_values.mode, _NEW),
    "align_corners": Option(*_SWITCH, _NEW),
    "num_classes": Option(*_WHOLE, _NEW),
    "classes": Option("a path or a list of texts", option_values.class_names, _NEW),
    "threshold": Option(*_NUMBER, _NEW),
    "task": Option(*_TEXT, _GRAPH),
    "ema": Option(*_SWITCH, _CHECKPOINT),
    "weights_key": Option(*_TEXT, _CHECKPOINT),
    "inplace_abn": Option(*_SWITCH, _CHECKPOINT),
    "preprocessing": Option(*_PATH, _NEW),
    "resize": Option(*_TEXT, _NEW),
    "crop_pct": Option(*_NUMBER, _NEW),
    "interpolation": Option(*_TEXT, _NEW),
    "mean": Option(*_COLORS, _NEW),
    "std": Option(*_COLORS, _NEW),
    "calib_data": Option(*_PATH, _FEEDS),
    "calib_images": Option(*_WHOLE, _IMAGES),
    "calib_method": Option(*_TEXT, _INT8),
    "calib_cache": Option(*_PATH, _INT8),
    "qdq_target": Option(*_TEXT, _INT8),
    "residual": Option(*_TEXT, _INT8),
    "keep_fp": Option("a list of texts", option_values.names, _INT8),
    "remainder": Option(*_TEXT, _INT8),
    "per_tensor": Option(*_SWITCH, _INT8),
    "allow_val": Option(*_SWITCH, _IMAGES),
    "eval_data": Option(*_PATH, _JUDGES),
    "allow_overlap": Option(*_SWITCH, _OVERLAP),
    "eval_limit": Option(*_WHOLE),
    "max_drop": Option(*_NUMBER),
    "keep_rejected": Option(*_SWITCH, _NEW),
    "waterfall": Option(*_SWITCH),
    "sensitivity": Option(*_SWITCH, _INT8),
    "trt_cache": Option(*_TEXT, _INT8),
    "backend": Option(*_TEXT, _ENGINE),
    "device": Option(*_TEXT, _ENGINE),
    "target": Option(*_TEXT, _ENGINE),
    "int8_path": Option(*_TEXT, _INT8_ENGINE),
    "timing_cache": Option(*_PATH, _ENGINE),
    "workspace": Option(*_NUMBER, _ENGINE),
    "opt_level": Option(*_WHOLE, _ENGINE),
    "aux_streams": Option(*_WHOLE, _ENGINE),
    "tf32": Option(*_SWITCH, _ENGINE),
}
"""By keyword of `export_artifact`; `budget` has more rules for max_drop, eval_limit, keep_rejected and waterfall."""


def flag(name: str, value: Any = None) -> str:
    """How an option is written on the command line.

    Args:
        name: keyword.
        value: a switch that is on by default is turned off by another flag.

    Returns:
        As "--calib-data"; the argument's name for the one without a flag.
    """
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}" if name != "model" else "MODEL"


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Bring every value to its normal form.

    Args:
        values: by keyword; None where nothing was given.

    Returns:
        Texts, numbers, booleans and tuples of them.

    Raises:
        UsageError: a value of another type.
    """
    result: dict[str, Any] = {}
    for name, value in values.items():
        option = OPTIONS[name]
        try:
            result[name] = value if value is None else option.normal(value)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"{flag(name)} must be {option.kind}, got {value!r:.80}. Correct it or leave it out."
            ) from error
    return result


def typed_call(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function see every option in its normal form.

    Args:
        function: its parameters are keys of `OPTIONS`.

    Returns:
        The same function; an option of another type is a UsageError.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: _P.args, **options: _P.kwargs) -> _R:
        bound = signature.bind(*args, **options)
        normal = typed(bound.arguments)
        # None means "not given" of every option.
        bound.arguments.update({n: signature.parameters[n].default if v is None else v for n, v in normal.items()})
        return function(*bound.args, **bound.kwargs)

    return call


def given_names(values: Mapping[str, Any], function: Callable[..., Any]) -> frozenset[str]:
    """Options that differ from their default.

    Args:
        values: from `typed`.
        function: whose defaults count.

    Returns:
        Their keywords.
    """
    defaults = {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
    return frozenset(
        name for name, value in values.items() if value is not None and value != () and value != defaults[name]
    )


def check_applies(values: Mapping[str, Any], case: Case) -> None:
    """Refuse options that would do nothing.

    Args:
        values: from `typed`.
        case: what is exported.

    Raises:
        UsageError: it names the first such flag.
    """
    for name, option in OPTIONS.items():
        if name in case.given and not option.need.met(case):
            raise UsageError(
                f"{flag(name, values[name])} applies to {option.need.text} only, got {case}. Leave it out."
            )


def check_resolved(wishes: Wishes, facts: ModelInfo, preprocessing: Preprocessing) -> None:
    """Refuse options that this net's task, or the way its images are resized, leaves without effect.

    Args:
        wishes: from the user.
        facts: of the net.
        preprocessing: as it will be.

    Raises:
        UsageError: it names the first such flag.
    """
    resize = preprocessing.resize
    if wishes.resize is not None and wishes.resize != resize.value:
        raise UsageError(
            f"--resize must be {_possible(facts.task, preprocessing)} with this --imgsz, got {wishes.resize}. "
            "Leave it out, or choose another --imgsz."
        )
    if wishes.crop_pct is not None and resize is not Resize.SHORT_SIDE:
        raise UsageError(f"--crop-pct applies to --resize short-side only, got {resize.value}. Leave it out.")
    if wishes.interpolation is not None and resize is Resize.NONE:
        raise UsageError("--interpolation applies where images are resized, got --resize none. Leave it out.")


def _possible(task: Task, preprocessing: Preprocessing) -> str:
    if preprocessing.resize is Resize.NONE and task is Task.SEGMENTATION:
        return "none or long-side"
    return "short-side or squash"
