"""Protocol buffers as text, against protobuf itself."""

import contextlib

import pytest
from google.protobuf import text_format, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.errors import ArtifactError, UsageError
from hrnet_deploy.triton.pbtxt import Identifier, quote, read_pbtxt, write_pbtxt

TEXTS = st.text(st.characters(exclude_categories=("Cs",)))
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True)
WORDS = st.from_regex(r"[A-Z_]{1,6}", fullmatch=True).map(Identifier)
SCALARS = st.one_of(TEXTS, WORDS, st.booleans(), st.integers(-(2**63), 2**63 - 1))
MESSAGES = st.recursive(
    st.dictionaries(NAMES, st.lists(SCALARS, min_size=1, max_size=3), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.lists(st.one_of(SCALARS, inner), min_size=1, max_size=3), max_size=3),
    max_leaves=8,
)


@given(MESSAGES)
def test_what_was_written_is_read(message):
    assert read_pbtxt(write_pbtxt(message), "c") == message


@given(TEXTS)
def test_protobuf_reads_every_text(text):
    assert text_format.Parse(f"value: {quote(text)}", wrappers_pb2.StringValue()).value == text


@given(TEXTS, st.booleans())
def test_every_text_of_protobuf_is_read(text, as_utf8):
    written = text_format.MessageToString(wrappers_pb2.StringValue(value=text), as_utf8=as_utf8)
    assert read_pbtxt(written, "c").get("value", [""]) == [text]


def test_what_others_write_is_read():
    text = """
    # a comment with "quotes" {
    name: 'it\\'s' "joined"  'up'
    input [ { name: "a", dims: [ 1, -1 ] }, < name: "b"; dims: 3 > ]
    kind: KIND_GPU, rate: 1.5e-3f on: true
    octal: "\\303\\251\\x41\\t"
    nested : { empty {} }
    """
    assert read_pbtxt(text, "c") == {
        "name": ["it'sjoinedup"],
        "input": [{"name": ["a"], "dims": [1, -1]}, {"name": ["b"], "dims": [3]}],
        "kind": ["KIND_GPU"],
        "rate": [0.0015],
        "on": [True],
        "octal": ["éA\t"],
        "nested": [{"empty": [{}]}],
    }


@pytest.mark.parametrize(
    "text",
    [
        "name", "name:", "name: {", "name: }", "name: [1", 'name: "open', "name: \x00", "{}", "a: 1x", "a <b: 1}",
        ": 1", 'a: "\\377"', "a {" * 5000, "}", 'a: "x" b', "a: [b: 1]",
    ],
)  # fmt: skip
def test_another_text_is_one_line(text):
    with pytest.raises(ArtifactError, match=r"config\.pbtxt must be protocol buffers as text") as caught:
        read_pbtxt(text, "config.pbtxt")
    assert "\n" not in str(caught.value)


def test_a_text_that_utf8_cannot_hold_is_refused():
    with pytest.raises(UsageError, match="must be valid Unicode"):
        write_pbtxt({"a": "\ud800"})


@given(st.text(st.sampled_from("ab1-.:,;{}<>[]\"'\\\n# é"), max_size=40))
def test_any_text_is_a_message_or_an_error_of_ours(text):
    with contextlib.suppress(ArtifactError):
        assert all(isinstance(values, list) for values in read_pbtxt(text, "c").values())
