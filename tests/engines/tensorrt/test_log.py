"""TensorRT's messages: kept, bounded, and never on the screen."""

import logging

import pytest

from hrnet_deploy.engines.tensorrt.log import BuildLog


@pytest.fixture
def log(fake):
    with BuildLog(fake()) as opened:
        yield opened


def say(log, severity, text):
    log.logger.log(getattr(type(log.logger).Severity, severity), text)


def test_errors_are_kept_on_one_line_each_without_other_messages(log):
    for severity, text in (("ERROR", "bad\n  graph"), ("WARNING", "odd"), ("INFO", "fyi"), ("INTERNAL_ERROR", "worse")):
        say(log, severity, text)
    assert tuple(log.errors) == ("bad graph", "worse")


def test_the_ring_is_bounded_and_repeats_count_once(log):
    for index in range(500):
        say(log, "ERROR", f"error {index}")
        say(log, "ERROR", f"error {index}")
    assert len(log.errors) == 50
    assert log.errors[-1] == "error 499"
    assert log.reason() == "error 497; error 498; error 499"


def test_a_reason_is_cut_and_never_empty(log):
    assert log.reason() == "no reason"
    say(log, "ERROR", "x" * 10_000)
    assert len(log.reason()) < 400


def test_what_follows_any_error_without_a_gpu_is_no_reason(log):
    echo = "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (no driver)"
    say(log, "ERROR", echo)
    assert log.reason() == echo
    say(log, "ERROR", "the graph is bad")
    say(log, "ERROR", echo)
    assert log.reason() == "the graph is bad"


def test_the_last_dump_of_layers_is_kept(log):
    for text in ("Engine Layer Information:\nLayer(a): b", "Layers:\nName: a", "Layers: 3", "other"):
        say(log, "VERBOSE", text)
    assert log.layers == "Layers: 3"


def test_one_logger_serves_every_log_of_a_module(fake):
    api = fake()
    with BuildLog(api) as first:
        with BuildLog(api) as second:
            assert first.logger is second.logger
            say(second, "ERROR", "both hear it")
        say(first, "ERROR", "one hears it")
    say(first, "ERROR", "nobody hears it")
    assert tuple(first.errors) == ("both hear it", "one hears it")
    assert tuple(second.errors) == ("both hear it",)
    assert BuildLog(fake()).logger is not first.logger


def test_nothing_is_printed_but_debugging_shows_all(log, capfd, caplog):
    say(log, "WARNING", "quiet")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    with caplog.at_level(logging.DEBUG, logger="hrnet_deploy.engines.tensorrt.log"):
        say(log, "VERBOSE", "loud")
    assert caplog.messages == ["loud"]
