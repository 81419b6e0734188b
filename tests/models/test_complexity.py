"""Parameters and multiply-adds against every published row (HRNET.md, e)."""

from dataclasses import replace

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.complexity import count_macs, count_parameters
from hrnet_deploy.models.variants import find_variant

# name, parameters, parameters without head bias, GMAC, official column (MAC / 1024^3)
CLASSIFIERS = [
    ("hrnet_w18_small_v1", 13_187_464, None, 1.6015, 1.49),
    ("hrnet_w18_small_v2", 15_597_464, None, 2.5957, 2.42),
    ("hrnet_w18", 21_299_004, 21_295_164, 4.2835, 3.99),
    ("hrnet_w30", 37_712_220, 37_708_380, 8.1058, 7.55),
    ("hrnet_w32", 41_232_680, 41_228_840, 8.9211, 8.31),
    ("hrnet_w40", 57_557_160, 57_553_320, 12.6920, 11.8),
    ("hrnet_w44", 67_064_984, 67_061_144, 14.8831, 13.9),
    ("hrnet_w48", 77_469_864, 77_466_024, 17.2780, 16.1),
    ("hrnet_w64", 128_059_944, 128_056_104, 28.8954, 26.9),
]
# name, parameters, GMAC at 1024x2048, 512x512, 512x1024
SEGMENTERS = [
    ("hrnetv2_w18_small_v1", 1_540_819, 33.391, 4.174, 8.348),
    ("hrnetv2_w18_small_v2", 3_939_579, 76.857, 9.607, 19.214),
    ("hrnetv2_w48", 65_859_379, 747.513, 93.439, 186.878),
]


@pytest.mark.parametrize(("name", "params", "without_bias", "gmac", "official"), CLASSIFIERS)
def test_classifiers(name, params, without_bias, gmac, official):
    variant = find_variant(name)
    assert count_parameters(variant) == params
    if without_bias:
        assert count_parameters(replace(variant, head_bias=False)) == without_bias
    macs = count_macs(variant)
    assert macs / 1e9 == pytest.approx(gmac, abs=6e-5)
    assert macs / 1024**3 == pytest.approx(official, abs=0.05 if official > 10 else 0.005)


def test_squeeze_excitation():
    variant = find_variant("se_hrnet_w64")
    assert count_parameters(variant) == 128_991_264
    assert count_macs(variant) / 1e9 == pytest.approx(28.90, abs=0.005)


@pytest.mark.parametrize(("name", "params", "whole", "square", "half"), SEGMENTERS)
def test_segmenters(name, params, whole, square, half):
    variant = find_variant(name)
    assert count_parameters(variant) == params
    for size, gmac in (((1024, 2048), whole), ((512, 512), square), ((512, 1024), half)):
        assert count_macs(variant, size) / 1e9 == pytest.approx(gmac, abs=6e-4)


def test_classes_change_the_head_only():
    variant = find_variant("hrnet_w18_small_v1")
    assert count_parameters(variant) - count_parameters(variant, 10) == 990 * 2049


def test_classification_size_must_fit():
    with pytest.raises(UsageError, match=r"multiples of 32, got 224x200"):
        count_macs(find_variant("hrnet_w18_small_v1"), (224, 200))
