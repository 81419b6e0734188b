"""The table of variants and the names by which they are found."""

import subprocess
import sys

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.models.variants import VARIANTS, find_variant
from hrnet_deploy.spec import Task

WIDTHS = (18, 30, 32, 40, 44, 48, 64)


def test_table_is_complete():
    named = {"hrnet_w18_small_v1", "hrnet_w18_small_v2", "hrnetv2_w18_small_v1", "hrnetv2_w18_small_v2"}
    named |= {f"hrnet_w{w}" for w in WIDTHS} | {f"se_hrnet_w{w}" for w in WIDTHS} | {"hrnetv2_w18", "hrnetv2_w48"}
    assert set(VARIANTS) == named
    assert all(name == variant.name for name, variant in VARIANTS.items())


def test_sizes_follow_the_task():
    assert find_variant("hrnet_w18").default_input_hw == (224, 224)
    assert find_variant("hrnetv2_w48").default_input_hw == (1024, 2048)
    assert find_variant("hrnetv2_w48").task is Task.SEGMENTATION


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hrnet_w18_small", "hrnet_w18_small_v1"),
        ("hrnet_w18_small_v2", "hrnet_w18_small_v2"),
        ("HRNet_W18_C", "hrnet_w18"),
        ("SE_HRNet_W64_C", "se_hrnet_w64"),
        ("hrnet-w48", "hrnet_w48"),
    ],
)
def test_publishers_names_are_found(name, found):
    assert find_variant(name) is VARIANTS[found]


def test_ssld_has_no_head_bias():
    ssld = find_variant("hrnet_w18_ssld")
    assert not ssld.head_bias
    assert ssld.same_graph(find_variant("hrnet_w18"))


def test_unknown_name_gets_the_closest():
    with pytest.raises(UsageError, match=r"got 'hrnet_w84'\. Closest: .*hrnet_w48"):
        find_variant("hrnet_w84")
    with pytest.raises(UsageError, match=r"Closest: .*hrnet_w18"):
        find_variant("zzz")


def test_variants_load_without_torch():
    code = "import sys, hrnet_deploy.models.variants; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
