"""Batches: order, threads, errors, the interpreter's lock, Ctrl-C."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy
import pytest

import fer_rs


def test_order_is_that_of_the_pictures(photos, analyzer):
    pictures = photos * 2
    expected = [analyzer.analyze(picture) for picture in photos] * 2
    for threads in (1, 2, 5):
        batch = fer_rs.Analyzer(threads=threads, onnxruntime=False).analyze_batch(pictures)
        assert batch == expected
    assert analyzer.analyze_batch(iter(pictures)) == expected
    assert analyzer.analyze_batch([]) == [] and analyzer.analyze_batch([]).to_arrow().num_rows == 0


def test_generators_are_read_as_the_work_goes_on(analyzer):
    alive = []
    most = 0

    class Picture(numpy.ndarray):
        def __del__(self):
            alive.pop()

    def pictures():
        nonlocal most
        for _ in range(60):
            picture = numpy.zeros((40, 40), numpy.uint8).view(Picture)
            alive.append(None)
            most = max(most, len(alive))
            yield picture
            del picture

    assert len(analyzer.analyze_batch(pictures())) == 60
    assert most < 30


def test_errors_are_raised_or_kept(analyzer, sample):
    pictures = [sample, "missing.jpg", b"no photo", sample]
    with pytest.raises(FileNotFoundError, match="missing.jpg"):
        analyzer.analyze_batch(pictures)
    with pytest.raises(ValueError, match="picture 1: this is not a JPEG"):
        analyzer.analyze_batch([sample, b"no photo"])
    with pytest.raises(TypeError, match="picture 1: .*uint8"):
        analyzer.analyze_batch([sample, numpy.zeros((9, 9))])
    kept = analyzer.analyze_batch(pictures, on_error="keep")
    assert [bool(analysis.error) for analysis in kept] == [False, True, True, False]
    assert kept[1].source == "missing.jpg" and "No such file" in kept[1].error and kept[1].faces == []
    with pytest.raises(ValueError, match="on_error"):
        analyzer.analyze_batch(pictures, on_error="ignore")
    for single in (7, sample, b"no photo"):
        with pytest.raises(TypeError):
            analyzer.analyze_batch(single)

    def broken():
        yield sample
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        analyzer.analyze_batch(broken())


def test_other_threads_go_on_while_a_batch_runs(analyzer, photos):
    turns, ended = 0, threading.Event()

    def count():
        nonlocal turns
        while not ended.is_set():
            time.sleep(0.001)
            turns += 1

    counter = threading.Thread(target=count)
    counter.start()
    started = time.perf_counter()
    analyzer.analyze_batch(photos[1:2] * 10)
    elapsed = time.perf_counter() - started
    ended.set()
    counter.join()
    # Two inference threads may share two cores with the counter.
    assert turns > 100 * elapsed, f"{turns} turns in {elapsed:.2f} s"


def test_one_analyzer_serves_many_threads(analyzer, photos):
    expected = [analyzer.analyze(picture) for picture in photos]
    failures = []

    def work():
        for picture, wanted in zip(photos, expected):
            if analyzer.analyze(picture) != wanted:
                failures.append(picture)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_ctrl_c_ends_a_batch():
    program = """
import itertools, numpy, fer_rs
def pictures():
    picture = numpy.zeros((300, 400, 3), numpy.uint8)
    for number in itertools.count():
        if number == 20:
            print("running", flush=True)
        yield picture
fer_rs.Analyzer(threads=2, onnxruntime=False).analyze_batch(pictures())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    sent = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert time.perf_counter() - sent < 5
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_forks_goes_on(analyzer, photos):
    expected = analyzer.analyze_batch(photos)
    child = os.fork()
    if child == 0:
        os._exit(0 if analyzer.analyze_batch(photos) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_results_and_analyzers_are_pickled(analyzer, photos):
    batch = analyzer.analyze_batch(photos)
    copy = pickle.loads(pickle.dumps(batch))
    assert copy == batch and type(copy) is fer_rs.Batch
    again = pickle.loads(pickle.dumps(fer_rs.Analyzer(None, "mtcnn", 30, 3, False)))
    assert (again.threads, again.engine) == (3, "tract")
    assert again.analyze(photos[0]).faces[0].dominant_emotion == "happy"
