"""Functions of the API that no cheap command reaches, each run as a command runs them."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hrnet_deploy.cli.console import launch


def _launched(function: Callable[..., Any]) -> Callable[..., int]:
    """Wrap a function like a command: its errors become one line and an exit code."""

    def run(*words: str) -> int:
        def body(_: argparse.Namespace) -> int:
            function(*words)
            return 0

        return launch("hrnet-fuzz", lambda _: argparse.Namespace(verbose=False, quiet=False, json=False), body)

    return run


def _card():
    from attacks.seeds import card

    return card()


def load_checkpoint(path: str) -> None:
    from hrnet_deploy.models.checkpoints.load import load_checkpoint

    load_checkpoint(Path(path))


def read_sidecar(path: str) -> None:
    from hrnet_deploy.artifact.engine_sidecar import read_sidecar

    read_sidecar(Path(path))


def read_plan(path: str) -> None:
    from hrnet_deploy.artifact.plan_file import read_plan

    read_plan(Path(path))


def read_table(path: str) -> None:
    from hrnet_deploy.calibration.table import CalibrationTable

    CalibrationTable.load(Path(path))


def restore_calibration(path: str) -> None:
    from hrnet_deploy.calibration.collector import _Progress

    _Progress(["a", "b"], Path(path), "key")


def read_classes(path: str) -> None:
    from hrnet_deploy.imaging.class_names import read_classes

    read_classes(path)


def read_label(path: str) -> None:
    from hrnet_deploy.evaluation.datasets.cityscapes import read_label

    read_label(Path(path), 3)


def read_journal(path: str) -> None:
    from hrnet_deploy.evaluation.journal import Journal

    journal = Journal(Path(path).parent, {})
    Path(path).rename(journal.path)
    list(journal.read(4, 1, 3))
    journal.open()


def find_dataset(*words: str) -> None:
    from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset

    data = find_dataset(words[0], _card(), labels=words[1] if len(words) > 1 else None)
    from hrnet_deploy.imaging.sources import read_frame

    for sample in data.samples[:5]:
        read_frame(sample.path)


CALLS = {
    function.__name__: _launched(function)
    for function in (
        load_checkpoint,
        read_sidecar,
        read_plan,
        read_table,
        restore_calibration,
        read_classes,
        read_label,
        read_journal,
        find_dataset,
    )
}
