"""Chunks: every image once, in order, whatever the spans."""

from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.batch_prediction.chunk import make_chunks
from hrnet_deploy.batch_prediction.file_span import FileSpan
from hrnet_deploy.batch_prediction.file_stamp import FileStamp
from hrnet_deploy.batch_prediction.parquet_span import ParquetSpan


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 12))
def test_chunks_hold_every_image_once_and_in_order(lengths, size):
    stamp = FileStamp(1, 1)
    spans = [
        FileSpan("/base", tuple((f"{place}/{index}", stamp) for index in range(length)))
        if place % 2
        else ParquetSpan("/t", "t", stamp, "image", 3, 3 + length)
        for place, length in enumerate(lengths)
    ]

    def names(spans):
        for span in spans:
            if isinstance(span, FileSpan):
                yield from (name for name, _ in span.files)
            else:
                yield from range(span.start, span.stop)

    chunks = list(make_chunks(spans, size))
    assert [name for chunk in chunks for name in names(chunk.spans)] == list(names(spans))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert [chunk.first for chunk in chunks] == [number * size for number in range(len(chunks))]
    assert all(1 <= len(chunk) <= size for chunk in chunks)
