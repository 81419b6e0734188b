"""Names of features: blocks that users name, and outputs that hold them."""

import pytest

from hrnet_deploy.errors import UsageError
from hrnet_deploy.feature_names import BLOCKS, block_of, blocks_named, output_names, stride_of


def test_stage4_is_another_name_of_the_maps_and_each_block_comes_once():
    assert blocks_named(["stage4", "pooled", "maps"]) == ("maps", "pooled")


def test_an_unknown_block_is_refused_with_all_that_there_are():
    with pytest.raises(UsageError, match=r"pooled, maps, conv1, .*, final, stage4, got 'stage5'"):
        blocks_named(["stage5"])


@pytest.mark.parametrize(
    ("block", "count", "names", "strides"),
    [
        ("pooled", 1, ("pooled",), (0,)),
        ("maps", 4, ("map_4", "map_8", "map_16", "map_32"), (4, 8, 16, 32)),
        ("conv1", 1, ("conv1_2",), (2,)),
        ("stage2", 2, ("stage2_4", "stage2_8"), (4, 8)),
        ("final", 1, ("final_32",), (32,)),
    ],
)
def test_outputs_are_named_by_their_stride(block, count, names, strides):
    assert output_names(block, count) == names
    assert tuple(map(stride_of, names)) == strides


@pytest.mark.parametrize("block", BLOCKS)
def test_an_output_shows_its_block(block):
    assert {block_of(name) for name in output_names(block, 1)} == {block}
