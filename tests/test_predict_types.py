"""`predict` and `stream` have static types that editors and type checkers know."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.slow
def test_type_checkers_know_what_predict_returns(monkeypatch):
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(HERE.parent)
    output, errors, status = api.run(["tests/typed_predict.py"])
    assert status == 0, output + errors
