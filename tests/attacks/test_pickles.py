"""Pickles that are small and mean much: the interpreter's time, memory and depth follow the bytes that it has read."""

import io
import pickle
import time

import pytest

from hrnet_deploy.limits import PICKLE_DEPTH, PICKLE_INTEGER_BYTES, PICKLE_LINE_BYTES, PICKLE_NAME, PICKLE_STEPS
from hrnet_deploy.models.checkpoints.inert_pickle import unpickle
from hrnet_deploy.models.checkpoints.nested_tensors import tensors_in, values_named
from hrnet_deploy.models.checkpoints.pickle_opcodes import PickleStream

DOUBLED = b")" + b"2\x86" * 60
"""The pair of itself, sixty times: 2^60 places of one tuple."""
ENDLESS = b"\xff" * 7 + b"\x7f"
REFUSED = {
    "integer of gigabytes": (b"\x8b\xff\xff\xff\x7f.", "at most"),
    "integer beyond the limit": (
        b"\x8b" + (PICKLE_INTEGER_BYTES + 1).to_bytes(4, "little") + bytes(999) + b".",
        "at most",
    ),
    "integer of many digits": (b"I" + b"9" * 5000 + b"\n.", "digits"),
    "number of many digits": (b"F" + b"9" * 5000 + b"\n.", "characters"),
    "line without an end": (b"V" + b"x" * (PICKLE_LINE_BYTES + 9), "a line of a pickle"),
    "text of an exabyte": (b"\x8d" + ENDLESS + b".", "ends too early"),
    "bytes of an exabyte": (b"\x8e" + ENDLESS + b".", "ends too early"),
    "byte array of an exabyte": (b"\x96" + ENDLESS + b".", "ends too early"),
    "frame of an exabyte": (b"\x95" + ENDLESS + b"N.", "ends too early"),
    "bytes beyond the end": (b"B\x00\x00\x10\x00" + bytes(9) + b".", "ends too early"),
    "marks": (b"(" * (PICKLE_DEPTH + 1) + b".", "nested at most"),
    "too many opcodes": (b"(" + b"N" * PICKLE_STEPS + b"t.", "opcodes"),
    "copies of a dict": (
        b"(ccollections\nOrderedDict\nq\x00](" + b"NN\x86" * 1000 + b"e\x85q\x01" + b"h\x00h\x01R" * 9999 + b"l.",
        "copied items",
    ),
    "place beyond 32 bits": (b"Np" + str((1 << 61) - 1).encode() + b"\n.", "below 2"),
    "negative place": (b"Np-1\n.", "below 2"),
    "place that is empty": (b"h\x01.", "store what it recalls"),
    "empty stack": (b"0.", "empty stack"),
    "pair of one": (b"N\x86.", "empty stack"),
    "no mark": (b"t.", "empty stack"),
    "item without a value": (b"}(Nu.", "must be pairs"),
    "two objects": (b"NN.", "one object"),
    "open mark": (b"(N.", "one object"),
    "no end": (b"N", "ends too early"),
    "protocol of the future": (b"\x80\x06N.", "protocol"),
    "unknown opcode": (b"\xff.", "known opcodes"),
    "buffer outside the file": (b"\x97.", "known opcodes"),
    "registered class": (b"\x84\x01\x00\x00\x00.", "known opcodes"),
    "name of a tuple": (DOUBLED + b"2\x93.", "names in a pickle"),
    "long name": (b"c" + b"x" * PICKLE_NAME + b"\ny\n.", "names in a pickle"),
    "call of a tuple": (DOUBLED + b")R.", "call what it names"),
    "call without arguments": (b"(o.", "call what it names"),
    "persistent id": (DOUBLED + b"Q.", "storages"),
    "text without quotes": (b"Sabc\n.", "quoted"),
}
ACCEPTED = {
    "high place of the memo": b"Nr\xff\xff\xff\xff.",
    "list in itself": b"]q\x00h\x00a.",
    "doubled tuple": DOUBLED + b".",
    "doubled tuple as a key": b"}" + DOUBLED + b"Ns.",
    "keys of one hash": b"}("
    + b"".join(b"\x8a\x0b" + (i * ((1 << 61) - 1)).to_bytes(11, "little") + b"N" for i in range(99_999))
    + b"u.",
    "deep list": b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuple": b")" + b"\x85" * 400_000 + b".",
    "deep calls": b"cx\ny\n" + b")R" * 200_000 + b".",
    "lists": b"(" + b"]" * 500_000 + b"t.",
    "long key in many dicts": b"(X\x40\x42\x0f\x00" + b"x" * 1_000_000 + b"q\x01" + b"}h\x01]s" * 50_000 + b"l.",
}


def read(program):
    return unpickle(PickleStream(io.BytesIO(program), len(program)))


@pytest.mark.parametrize("name", REFUSED)
def test_pickles_beyond_the_limits_are_refused(name):
    program, message = REFUSED[name]
    start = time.process_time()
    with pytest.raises((pickle.UnpicklingError, EOFError), match=message) as caught:
        read(program)
    assert time.process_time() - start < 10
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_pickles_are_read_and_walked_in_short_time(name):
    start = time.process_time()
    content = read(ACCEPTED[name])
    assert list(tensors_in(content)) == []
    assert list(values_named(content, "cfg")) == []
    assert time.process_time() - start < 10


def test_texts_hold_no_half_of_a_surrogate_pair():
    assert read(b"\x8c\x03\xed\xa0\x80.") == "\\xed\\xa0\\x80"
    assert read(b"V\\ud800\n.") == "\\ud800"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_objects_come_back(protocol):
    plain = {
        "a": [1, -2, 3.5, None, True, 2**70, -(2**40)],
        "é": ("x" * 300, {"b": ()}),
        5: {"c": [[], {}]},
        "d": "q\"'",
    }
    assert read(pickle.dumps(plain, protocol)) == plain
