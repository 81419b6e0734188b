import shlex

import pytest

from hrnet_deploy.cli.export import parse_args
from hrnet_deploy.export.options import ExportOptions, declarations

NAMES = {field.name for field, _ in declarations()}


def words_of(**values):
    return shlex.split(ExportOptions(**values).command_line())[1:]


def parsed(words):
    """The options that a command line gives."""
    args = vars(parse_args(words))
    return ExportOptions(**{name: args[name] for name in NAMES})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "hrnet-export"),
        ({"model": "hrnet_w18", "precision": "int8"}, "hrnet-export hrnet_w18 --precision int8"),
        ({"imgsz": (512, 1024)}, "hrnet-export --imgsz 512x1024"),
        ({"imgsz": "64:128:256"}, "hrnet-export --imgsz 64:128:256"),
        ({"simplify": False, "tf32": False}, "hrnet-export --no-simplify --no-tf32"),
        ({"pixels_in": True, "labels_out": "softmax"}, "hrnet-export --pixels-in --labels-out softmax"),
        ({"keep_fp": ("stage4.fuse", "head")}, "hrnet-export --keep-fp stage4.fuse --keep-fp head"),
        ({"features": "pooled,maps"}, "hrnet-export --features pooled --features maps"),
        ({"mean": (0.5, 0.5, 0.5)}, "hrnet-export --mean 0.5 0.5 0.5"),
        ({"mean": (0.5,)}, "hrnet-export --mean 0.5 0.5 0.5"),
        (
            {"weights": "my net.pth", "output": "a b.engine"},
            "hrnet-export --weights 'my net.pth' --output 'a b.engine'",
        ),
    ],
)
def test_a_call_reads_as_a_command(values, expected):
    assert ExportOptions(**values).command_line() == expected


def test_the_command_makes_the_same_call():
    values = {"precision": "int8", "weights": "w.pth", "keep_fp": ["auto"], "batch": "1:8:16", "workspace": 2.5}
    args = vars(parse_args(words_of(**values)))
    assert {name: args[name] for name in values} == values


def test_every_keyword_is_a_flag():
    assert set(vars(parse_args([]))) - {"json", "verbose", "quiet", "allow_special", "strict"} == NAMES


EVERY = {
    "model": "-odd name.onnx",
    "weights": "-w.pth",
    "precision": "int8",
    "output": "a b.engine",
    "graph_output": "out,1",
    "format": "engine",
    "imgsz": (512, 1024),
    "batch": "1:8:16",
    "opset": 19,
    "simplify": False,
    "pixels_in": "rgb",
    "features": ["pooled", "maps"],
    "labels_out": True,
    "align_corners": True,
    "num_classes": 3,
    "classes": ("tench, Tinca tinca", "it's", "貓"),
    "task": "segmentation",
    "threshold": 0.25,
    "ema": True,
    "weights_key": "state_dict.student",
    "inplace_abn": True,
    "preprocessing": "paddle",
    "resize": "squash",
    "crop_pct": 0.9,
    "interpolation": "bicubic",
    "mean": (0.1, 0.25, 1 / 3),
    "std": (0.5, 0.5, 0.5),
    "calib_data": "my images",
    "calib_images": 7,
    "calib_method": "mse",
    "calib_cache": "t.json",
    "qdq_target": "tensorrt",
    "residual": "int8",
    "keep_fp": ("stage4.fuse", "-x", "none"),
    "remainder": "fp16",
    "per_tensor": True,
    "allow_val": True,
    "eval_data": "other",
    "allow_overlap": True,
    "eval_limit": 5,
    "max_drop": 0.5,
    "executor": "processes:2",
    "keep_rejected": True,
    "waterfall": True,
    "sensitivity": True,
    "trt_cache": "8.6.1",
    "triton": "my models",
    "triton_delay_us": 500,
    "images": True,
    "backend": "tensorrt",
    "device": "cuda:1",
    "target": "sm86,sm89",
    "int8_path": "qdq",
    "timing_cache": "t.cache",
    "workspace": 2.5,
    "opt_level": 5,
    "aux_streams": 0,
    "tf32": False,
}
"""Every option with a value of its own; together they would make no sense."""


def test_every_option_has_a_value_here():
    assert set(EVERY) <= NAMES
    missing = NAMES - set(EVERY)
    assert not missing, f"give {missing} a value in EVERY"


@pytest.mark.parametrize("name", [*EVERY, "all"])
def test_a_recorded_command_makes_the_same_call(name):
    values = EVERY if name == "all" else {name: EVERY[name]}
    assert parsed(words_of(**values)) == ExportOptions(**values)
    assert ExportOptions(**values).given() == set(values)
