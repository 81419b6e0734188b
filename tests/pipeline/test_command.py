import shlex

import pytest

from hrnet_deploy.cli.export import parse_args
from hrnet_deploy.pipeline import export_artifact
from hrnet_deploy.pipeline.command import command_line


def given(**values):
    """What a call binds: every parameter of `export_artifact`, defaults where nothing is said."""
    import inspect

    defaults = {name: p.default for name, p in inspect.signature(export_artifact).parameters.items()}
    return defaults | values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "hrnet-export"),
        ({"model": "hrnet_w18", "precision": "int8"}, "hrnet-export hrnet_w18 --precision int8"),
        ({"imgsz": (512, 1024)}, "hrnet-export --imgsz 512x1024"),
        ({"imgsz": "64:128:256"}, "hrnet-export --imgsz 64:128:256"),
        ({"simplify": False, "tf32": False}, "hrnet-export --no-simplify --no-tf32"),
        ({"pixels_in": True, "labels_out": "softmax"}, "hrnet-export --pixels-in --labels-out softmax"),
        ({"keep_fp": ("stage4.fuse", "head")}, "hrnet-export --keep-fp stage4.fuse head"),
        ({"mean": [0.5, 0.5, 0.5]}, "hrnet-export --mean 0.5 0.5 0.5"),
        (
            {"weights": "my net.pth", "output": "a b.engine"},
            "hrnet-export --weights 'my net.pth' --output 'a b.engine'",
        ),
    ],
)
def test_a_call_reads_as_a_command(values, expected):
    assert command_line("hrnet-export", export_artifact, given(**values)) == expected


def test_the_command_makes_the_same_call():
    values = {"precision": "int8", "weights": "w.pth", "keep_fp": ["auto"], "batch": "1:8:16", "workspace": 2.5}
    words = shlex.split(command_line("hrnet-export", export_artifact, given(**values)))
    args = vars(parse_args(words[1:]))
    assert {name: args[name] for name in values} == values


def test_every_keyword_is_a_flag():
    names = set(vars(parse_args([]))) - {"json", "verbose", "quiet"}
    assert names == set(given())
