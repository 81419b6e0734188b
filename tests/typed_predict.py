"""Calls of `predict` and `stream` whose static types tests/test_predict_types.py has mypy check."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

from hrnet_deploy import ImageError, Predictor
from hrnet_deploy.result_list import Results
from hrnet_deploy.results import Result


def skip(name: str, error: ImageError) -> None: ...


def check(predictor: Predictor, image: NDArray[np.uint8]) -> None:
    assert_type(Predictor("x.onnx").predict("a.jpg").label, str)
    assert_type(predictor.predict(Path("a.jpg")).mask, NDArray[np.uint8])
    assert_type(predictor.predict(image), Result)
    assert_type(predictor.predict(b"png").topk(5), list[tuple[str, float]])
    with Path("a.jpg").open("rb") as file:
        assert_type(predictor.predict(file), Result)
    assert_type(predictor.predict(["a.jpg", "b.jpg"], batch=8), Results)
    assert_type(predictor.predict([image, image]), Results)
    assert_type(predictor.predict(0), Results)
    assert_type(predictor.predict("a.jpg", on_error=skip), Results)
    assert_type(predictor.predict("folder", stream=True), Iterator[Result])
    assert_type(predictor.stream("folder", batch=2), Iterator[Result])
    for result in predictor.predict("folder"):  # a path may be a folder
        assert_type(result.score, float)
    predictor.predict("folder").to_df()
    _ = predictor.predict("a.jpg").lable  # type: ignore[attr-defined]  # a name that neither task has
    predictor.predict("a.jpg", bacth=8)  # type: ignore[call-overload]
