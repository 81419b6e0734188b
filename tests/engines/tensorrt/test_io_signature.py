import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.engines.tensorrt.io_signature import Binding, IoSignature, split_batch
from hrnet_deploy.errors import UsageError


def signature(*profiles, shape=(-1, 3)):
    bindings = (Binding("x", np.dtype("f4"), shape),), (Binding("y", np.dtype("f4"), shape),)
    return IoSignature(*bindings, tuple({"x": ranges} for ranges in profiles))


@given(low=st.integers(1, 12), span=st.integers(0, 12), batch=st.integers(1, 100))
def test_parts_cover_a_batch_in_order_and_fit_the_profile(low, span, batch):
    high = low + span
    engine = signature(((low, 3), (low, 3), (high, 3)))
    try:
        parts = split_batch(engine, ((batch, 3),))
    except UsageError:
        # No number of parts, each within the profile, sums up to the batch.
        assert not any(low * count <= batch <= high * count for count in range(1, 101))
        return
    sizes = [part.shapes[0][0] for part in parts]
    assert sum(sizes) == batch
    assert all(low <= size <= high for size in sizes)
    assert [part.start for part in parts] == [sum(sizes[:i]) for i in range(len(sizes))]


def test_an_engine_with_a_fixed_batch_anywhere_is_not_split():
    engine = IoSignature(
        (Binding("x", np.dtype("f4"), (-1, 3)),),
        (Binding("y", np.dtype("f4"), (1, 3)),),
        ({"x": ((1, 3), (1, 3), (8, 3))},),
    )
    with pytest.raises(UsageError, match=r"within \(1, 3\) to \(8, 3\), got \(9, 3\)"):
        split_batch(engine, ((9, 3),))
