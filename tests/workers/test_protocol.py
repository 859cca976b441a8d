import json
import math
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from studies import job, noop_record

from nasctl.tracking.records import EpochRecord
from nasctl.workers.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL,
    Beat,
    Done,
    Drop,
    Epoch,
    Failed,
    Hello,
    Judged,
    Keep,
    Kept,
    Line,
    LineSplitter,
    ProtocolError,
    Prune,
    Ready,
    Sender,
    Start,
    Stop,
    Stopped,
    decode,
    encode,
)

MESSAGES = [
    Start(PROTOCOL, "cache", "cpu", 1, 10.0, 10.0, 120.0, 60.0, (("d", "e"),)),
    job(seconds=0.5),
    Keep("s/0", 1, "scratch/best.safetensors"),
    Drop("s/0", 1),
    Prune("s/0", 1),
    Stop(),
    Hello(PROTOCOL, "0.1.0", 1, 42, "host", "3.11.7", "2.13.0"),
    Ready(1000),
    Beat(None, None, 1000),
    Beat("s/0", 2, 1000),
    Epoch("s/0", 1, EpochRecord(1, 0.5, {"pearson": 0.25}, 1.0)),
    Judged("f/search", 1, 37, 310),
    Done("s/0", 1, noop_record(epochs=2), weights=True, rss_bytes=1000),
    Kept("s/0", 1, "scratch/best.safetensors", "0" * 64),
    Failed("s/0", 1, "exception", "ValueError: é\n", "hint", "Traceback"),
    Stopped("s/0", 1),
    Stopped(None, None),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_message_comes_back_as_it_went(message):
    line = encode(7, message)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert decode(line) == Line(7, message)


numbers = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=25)
@given(loss=st.none() | numbers, dev=st.dictionaries(st.text(max_size=5), numbers, max_size=3), seconds=numbers)
def test_numbers_that_json_cannot_say_come_through(loss, dev, seconds):
    line = encode(0, Epoch("s/0", 1, EpochRecord(1, loss, dev, seconds)))
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    told = decode(line).message.epoch
    assert repr(told) == repr(EpochRecord(1, loss, dev, seconds))


def test_a_number_that_is_not_finite_is_null_and_flagged():
    body = json.loads(encode(0, Epoch("s/0", 1, EpochRecord(1, math.nan, {"pearson": -math.inf}, 1.0))))
    assert body["message"]["epoch"]["loss"] is None
    assert body["nonfinite"] == [
        [["message", "epoch", "loss"], "nan"],
        [["message", "epoch", "dev", "pearson"], "-inf"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"hello world",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'{"seq":0}',
        b'{"seq":0,"message":{}}',
        b'{"seq":0,"message":{"type":"sing"}}',
        b'{"seq":0,"message":{"type":"stop","more":1}}',
        b'{"seq":"0","message":{"type":"stop"}}',
        b'{"seq":0,"message":{"type":"ready","rss_bytes":1.5}}',
        b'{"seq":0,"message":{"type":"ready","rss_bytes":1},"nonfinite":[[["message","x","y"],"nan"]]}',
        b'{"seq":0,"message":{"type":"ready","rss_bytes":1},"nonfinite":[[[],"nan"]]}',
        encode(0, Stop())[:-5],
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_is_refused(line):
    with pytest.raises(ProtocolError, match=f"not a message of protocol {PROTOCOL}"):
        decode(line)


def test_a_message_that_is_too_long_is_not_sent():
    with pytest.raises(ProtocolError, match="a line has at most"):
        encode(0, Failed("s/0", 1, "exception", "x" * MAX_LINE_BYTES, "", ""))


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line and line.strip())), st.data())
def test_lines_come_whole_however_they_are_torn(lines, data):
    whole = b"".join(line + b"\n" for line in lines) + b"a torn tail"
    splitter, heard = LineSplitter(), []
    while whole:
        size = data.draw(st.integers(1, len(whole)))
        heard += splitter.feed(whole[:size])
        whole = whole[size:]
    assert heard == lines


def test_a_line_without_end_is_refused():
    splitter = LineSplitter()
    for _ in range(8):
        assert splitter.feed(b"x" * (MAX_LINE_BYTES // 8)) == []
    with pytest.raises(ProtocolError, match="more than"):
        splitter.feed(b"x")


def test_lines_of_many_threads_do_not_mix():
    inward, outward = os.pipe()
    sender = Sender(outward)
    message = Failed("s/0", 1, "exception", "x" * 30_000, "", "")
    threads = [threading.Thread(target=lambda: [sender.send(message) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    splitter, heard = LineSplitter(), []
    while len(heard) < 20:
        heard += [decode(line) for line in splitter.feed(os.read(inward, 65536))]
    for thread in threads:
        thread.join()
    os.close(inward)
    os.close(outward)
    assert [line.seq for line in heard] == list(range(20))
    assert all(line.message == message for line in heard)


def test_a_message_longer_than_a_pipe_waits_for_its_reader():
    inward, outward = os.pipe()
    os.set_blocking(outward, False)
    message = Failed("s/0", 1, "exception", "x" * 300_000, "", "")
    sending = threading.Thread(target=Sender(outward, patience=30.0).send, args=[message])
    sending.start()
    splitter, heard = LineSplitter(), []
    while not heard:
        heard = splitter.feed(os.read(inward, 65536))
    sending.join()
    os.close(inward)
    os.close(outward)
    assert decode(heard[0]).message == message


def test_a_full_pipe_holds_nobody_up_if_it_must_not():
    inward, outward = os.pipe()
    os.set_blocking(outward, False)
    sender = Sender(outward)
    with pytest.raises(BlockingIOError):
        sender.send(Failed("s/0", 1, "exception", "x" * 300_000, "", ""))
    os.close(inward)
    os.close(outward)
