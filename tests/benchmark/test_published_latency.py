"""Published figures are those of the paper trail, each with its source."""

import re

import pytest

from hrnet_deploy.benchmark.published_latency import published_for, published_latencies
from hrnet_deploy.models.variants import VARIANTS
from hrnet_deploy.spec import Precision


@pytest.mark.parametrize(
    ("variant", "hardware", "precision", "batch", "latency"),
    [
        ("hrnet_w18", "Tesla V100", "fp32", 1, 6.66),
        ("hrnet_w18", "Tesla T4", "fp16", 8, 17.67),
        ("hrnet_w48", "Tesla T4", "fp32", 4, 34.44),
        ("se_hrnet_w64", "Tesla T4", "fp32", 8, 174.46),
    ],
)
def test_figures(variant, hardware, precision, batch, latency):
    (found,) = [row for row in published_for(variant, batch, (224, 224)) if row.setting == f"{hardware} {precision}"]
    assert found.latency_ms == latency


def test_every_row_is_in_the_notes_it_was_taken_from(shared):
    text = (shared / "HRNET.md").read_text()
    numbers = set(re.findall(r"\d+\.\d+", text[text.index("## (g)") :]))
    assert {f"{row.latency_ms:.2f}" for row in published_latencies()} <= numbers
    assert len(published_latencies()) == 69


def test_every_row_names_its_source():
    assert {row.variant for row in published_latencies()} <= VARIANTS.keys()
    assert all(row.source.startswith("PaddleClas docs/") and row.runtime == "TensorRT" for row in published_latencies())
    assert {row.precision for row in published_latencies()} == {Precision.FP32, Precision.FP16}


@pytest.mark.parametrize(
    "wanted", [("hrnet_w18", 2, (224, 224)), ("hrnet_w18", 1, (64, 64)), ("foreign", 1, (224, 224))]
)
def test_another_net_size_or_batch_has_none(wanted):
    assert published_for(*wanted) == ()
