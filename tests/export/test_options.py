"""Options: each has a type and a use, or is an error that names its flag."""

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest

from hrnet_deploy import UsageError, export
from hrnet_deploy.cli.export import main, parse_args
from hrnet_deploy.export.graph_io import check_modes
from hrnet_deploy.export.option_declaration import ExportKind, flag
from hrnet_deploy.export.options import ExportOptions, declarations
from hrnet_deploy.export.options_text import options_text
from hrnet_deploy.spec import Precision


def case(precision="fp32", *, engine=False, as_is=False, graph=False, random=False, images=False, given=()):
    return ExportKind(
        precision=precision, engine=engine, as_is=as_is, graph=graph, random=random, images=images,
        given=frozenset(given),
    )  # fmt: skip


DEFAULTS = {field.name: field.default for field, _ in declarations()}
DECLARED = {field.name: declared for field, declared in declarations()}


def test_the_function_takes_every_option():
    parameters = inspect.signature(export).parameters
    assert list(parameters) == list(DECLARED)
    kinds = [parameter.kind for parameter in parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}
    assert {name: parameter.default for name, parameter in parameters.items()} == vars(ExportOptions())


@pytest.mark.parametrize("name", DECLARED)
def test_an_option_is_described_in_the_docstring_and_in_help(name, capsys):
    assert f"\n    {name}" in export.__doc__
    assert f"\n    {name}" in f"\n{options_text()}"
    with pytest.raises(SystemExit):
        parse_args(["--help"])
    shown = capsys.readouterr().out
    assert (flag(name, DEFAULTS[name] is not True) if name != "model" else "MODEL|FILE.onnx") in shown


@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_a_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse_args(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"labels_out": 1}, "--labels-out must be True, False, 'topk' or 'softmax', got 1"),
        ({"labels_out": ["topk"]}, "--labels-out must be"),
        ({"pixels_in": {}}, "--pixels-in must be"),
        ({"simplify": "no"}, "--simplify must be True or False"),
        ({"ema": 1}, "--ema must be True or False"),
        ({"calib_images": "12"}, "--calib-images must be a whole number"),
        ({"calib_images": True}, "--calib-images must be a whole number"),
        ({"opset": 20.0}, "--opset must be a whole number"),
        ({"max_drop": "1"}, "--max-drop must be a number"),
        ({"mean": 0.5}, "--mean must be three numbers"),
        ({"mean": "0.5 0.5 0.5"}, "--mean must be three numbers"),
        ({"std": [0.5, 0.5]}, "--std must be three numbers"),
        ({"imgsz": 64.0}, "--imgsz must be"),
        ({"imgsz": (64, 64, 64)}, "--imgsz must be"),
        ({"batch": [1]}, "--batch must be"),
        ({"precision": ["int8"]}, "--precision must be a text"),
        ({"weights": b"w.pth"}, "--weights must be a path"),
        ({"output": 3}, "--output must be a path"),
        ({"classes": {"cat", "dog"}}, "--classes must be"),
        ({"classes": ["cat", 3]}, "--classes must be"),
        ({"keep_fp": [None]}, "--keep-fp must be a list of texts"),
        ({"model": 18}, "MODEL must be a path"),
    ],
)
def test_a_value_of_another_type_is_one_line_that_names_it(options, named):
    with pytest.raises(UsageError) as caught:
        export(**options)
    assert str(caught.value).startswith(named)
    assert "\n" not in str(caught.value)


def test_values_reach_their_normal_form():
    options = ExportOptions(
        precision=Precision.INT8, output=Path("a/b.onnx"), imgsz=[np.int64(32), 64], keep_fp="a, b",
        calib_images=np.int32(4), crop_pct=np.float32(0.5), simplify=np.bool_(False), task=None, tf32=None,
    )  # fmt: skip
    assert options == ExportOptions(
        precision="int8", output="a/b.onnx", imgsz="32x64", keep_fp=("a", "b"), calib_images=4, crop_pct=0.5,
        simplify=False,
    )  # fmt: skip
    assert type(options.calib_images) is int
    assert type(options.simplify) is bool
    assert options.tf32 is True


INT8_ONLY = (
    "calib_method", "calib_cache", "qdq_target", "keep_fp", "remainder", "per_tensor", "sensitivity", "trt_cache",
)  # fmt: skip
ENGINE_ONLY = ("backend", "device", "target", "timing_cache", "workspace", "opt_level", "aux_streams", "tf32")


@pytest.mark.parametrize(
    ("names", "fits", "fails"),
    [
        (INT8_ONLY, case("int8"), (case(), case("fp16", images=True), case("int8", engine=True, as_is=True))),
        (ENGINE_ONLY, case(engine=True), (case(), case("int8"))),
        (("int8_path",), case("int8", engine=True), (case("int8"), case("fp16", engine=True))),
        (("calib_images", "allow_val"), case("fp16", images=True), (case("fp16"), case())),
        (("calib_data",), case("fp16"), (case(),)),
        (("eval_data",), case("fp16"), (case(),)),
        (("eval_data",), case(given=("waterfall",)), (case(given=("eval_limit",)),)),
        (("allow_overlap",), case("int8", given=("eval_data",)), (case("int8"), case("fp16", given=("eval_data",)))),
        (("keep_rejected",), case("fp16"), (case("fp16", engine=True, as_is=True),)),
        (("graph_output", "task"), case(graph=True), (case(), case(graph=True, engine=True, as_is=True))),
        (("triton_delay_us", "images"), case(given=("triton",)), (case(), case(engine=True))),
        (("ema",), case(), (case(graph=True), case(random=True))),
        (("opset", "simplify", "pixels_in", "labels_out", "align_corners", "num_classes", "classes", "preprocessing",
          "resize", "crop_pct", "interpolation", "mean", "std"), case(), (case(engine=True, as_is=True),)),
    ],
)  # fmt: skip
def test_an_option_applies_or_is_an_error_that_names_its_flag(names, fits, fails):
    for name in names:
        options = ExportOptions()
        options.check_applies(with_given(fits, name))
        for other in fails:
            with pytest.raises(UsageError) as caught:
                options.check_applies(with_given(other, name))
            assert str(caught.value).startswith(f"{flag(name, DEFAULTS[name])} applies to ")


def with_given(known, name):
    return dataclasses.replace(known, given=known.given | {name})


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--precision", "fp16", "--keep-fp", "stage4"), "--keep-fp applies to --precision int8 only"),
        (("--precision", "fp16", "--calib-method", "nonsense"), "--calib-method applies to --precision int8 only"),
        (("--calib-method", "entropy"), "--calib-method applies"),  # its own default, said aloud
        (("--opt-level", "3"), "--opt-level applies to an .engine output only"),
        (("--device", "auto"), "--device applies to an .engine output only"),
        (("--no-tf32",), "--no-tf32 applies to an .engine output only"),
        (("--keep-rejected",), "--keep-rejected goes with --max-drop, fp16 or int8"),
        (("--precision", "int4"), "precision must be one of"),
    ],
)
def test_the_command_line_says_so_too(words, named, monkeypatch, capsys, tmp_path):
    target = tmp_path / "x.onnx"
    monkeypatch.setattr("sys.argv", ["hrnet-export", "--weights", "random", "-o", str(target), *words])
    assert main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--resize", "squash", "--crop-pct", "0.9"), "--crop-pct applies to --resize short-side only"),
        (("--resize", "none"), "--resize must be short-side or squash with this --imgsz, got none"),
        (("--resize", "long-side"), "--resize must be short-side or squash with this --imgsz, got long-side"),
        (("--align-corners",), "--align-corners is for segmentation models"),
    ],
)
def test_what_this_net_leaves_without_effect_is_an_error(words, named, monkeypatch, capsys, tmp_path):
    argv = ["hrnet-export", "hrnet_w18_small_v1", "--weights", "random", "--num-classes", "3", "--imgsz", "32"]
    monkeypatch.setattr("sys.argv", [*argv, "-o", str(tmp_path / "x.onnx"), *words])
    assert main() == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_keep_fp_does_not_swallow_the_model():
    args = parse_args(["--keep-fp", "auto", "hrnet_w48"])
    assert (args.keep_fp, args.model) == (["auto"], "hrnet_w48")
    args = parse_args(["--keep-fp", "stage4.fuse, head", "hrnet_w48", "--keep-fp", "none"])
    assert (args.keep_fp, args.model) == (["stage4.fuse", "head", "none"], "hrnet_w48")


def test_no_flag_of_any_command_takes_as_many_words_as_there_are():
    from hrnet_deploy.cli import bench, export, inspect, models, predict, report

    for module in (bench, export, inspect, models, predict, report):
        for action in actions_of(module):
            if action.option_strings:
                assert action.nargs not in {"+", "*"}, (module.__name__, action.option_strings)


def actions_of(module):
    """Every argument of a command, as its parser has them when it begins to parse."""
    import argparse
    from unittest import mock

    seen = []

    def stop(parser, *_):
        seen.extend(parser._actions)
        raise SystemExit

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop), pytest.raises(SystemExit):
        module.parse_args([])
    assert seen
    return seen


@pytest.mark.parametrize("name", ["num_classes", "calib_images", "eval_limit", "aux_streams"])
@pytest.mark.parametrize("value", [10**12, -1])
def test_a_number_beyond_its_limits_names_the_flag(name, value):
    with pytest.raises(UsageError, match=rf"^--{name.replace('_', '-')} must be \d+ to \d+, got {value}\. Correct it"):
        ExportOptions(**{name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 65536}, "--batch must be at most 4096, got '65536'"),
        ({"batch": "1:8:999999999"}, "--batch must be at most 4096"),
        ({"imgsz": 999999999}, "--imgsz must be at most 32768 pixels a side, got '999999999'"),
        ({"imgsz": "64:128:64x99999"}, "--imgsz must be at most 32768"),
    ],
)
def test_a_shape_beyond_its_limits_names_the_flag(options, message):
    with pytest.raises(UsageError, match=message):
        check_modes(ExportOptions(**options))
