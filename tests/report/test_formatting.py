"""Figures are written one way."""

import pytest

from hrnet_deploy.report.formatting import interval, join_words, megabytes, milliseconds, percent, points, ratio


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (percent(0.71234), "71.23%"),
        (percent(None), "-"),
        (points(0.333), "0.33"),
        (points(-0.333), "\N{MINUS SIGN}0.33"),
        (points(-0.001), "0.00"),
        (points(None), "-"),
        (interval(-0.5, 1), "\N{MINUS SIGN}0.50 to 1.00"),
        (interval(None, None), "-"),
        (milliseconds(0.1234), "0.12"),
        (milliseconds(12.34), "12.3"),
        (milliseconds(1234.5), "1234"),
        (milliseconds(None), "-"),
        (megabytes(44_700_000), "44.7"),
        (ratio(1.999), "2.00\N{MULTIPLICATION SIGN}"),
        (ratio(None), "-"),
        (join_words(["a", "b", "c"]), "a, b and c"),
        (join_words(["a"]), "a"),
    ],
)
def test_figures(text, expected):
    assert text == expected
