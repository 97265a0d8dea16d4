"""The results equal those of the native command."""

import json

import numpy
import pytest

import fer_rs


def rows(analyses):
    """Rows of an analysis as the command writes them, without those that an analysis lacks."""
    return [row for analysis in analyses for row in analysis_rows(analysis)]


def analysis_rows(analysis):
    picture = {
        "source": analysis.source,
        "frame": analysis.frame,
        "timestamp_ms": analysis.timestamp_ms,
        "image_width": analysis.width,
        "image_height": analysis.height,
    }
    if not analysis.faces:
        return [picture | {"status": "no_face", "face": None}]
    rows = []
    for index, face in enumerate(analysis.faces):
        points = {
            f"{name}_{axis}": value
            for name, point in face.landmarks._asdict().items()
            for axis, value in zip("xy", point)
        }
        raw = {f"raw_{name}": value for name, value in (face.raw_emotions or {}).items()}
        told = {"dominant": face.dominant_emotion, "uncertain": face.uncertain, "track_id": face.track_id}
        numbers = face.box._asdict() | points | face.emotions | raw | {"confidence": face.confidence}
        rows.append(picture | {"face": index, "status": "ok"} | numbers | told)
    return rows


def assert_same(found, expected):
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected):
        for name, value in row.items():
            if isinstance(value, float):
                # The command writes as few digits as tell a 32-bit number from its neighbours.
                assert value == pytest.approx(float(numpy.float32(wanted[name])), abs=1e-5), name
            else:
                assert value == wanted[name], name


def test_photos_as_the_native_command(analyzer, native, photos):
    expected = [json.loads(line) for line in native("analyze", *photos, "--out", "-", "--format", "jsonl").splitlines()]
    assert_same(rows(analyzer.analyze_batch(photos)), expected)
    assert_same(rows(map(analyzer.analyze, photos)), expected)
    counts = [sum(row["source"] == path and row["face"] is not None for row in expected) for path in photos]
    assert counts[:2] == [1, 6] and counts[2] >= 50 and counts[3] == 0 and counts[4] >= 1


def test_tables_as_the_native_command(analyzer, native, photos):
    arrow = pytest.importorskip("pyarrow")
    expected = [json.loads(line) for line in native("analyze", *photos, "--out", "-", "--format", "jsonl").splitlines()]
    found = arrow.table(analyzer.analyze_batch(photos).to_arrow()).to_pylist()
    assert_same(found, expected)
    assert found[0].keys() == expected[0].keys()


def test_videos_as_the_native_command(analyzer, native, clip):
    path = clip(30)
    arguments = ("--fps", "10", "--from", "0.2", "--out", "-", "--format", "jsonl")
    expected = [json.loads(line) for line in native("analyze", path, *arguments).splitlines()]
    found = rows(analyzer.analyze_video(path, fps=10, start=0.2))
    assert len(found) == 10
    assert_same(found, expected)


def test_other_models_and_sizes(native, photos):
    settings = {"detector": "mtcnn", "min_face": 40}
    arguments = ("--detector", "mtcnn", "--min-face", "40", "--out", "-", "--format", "jsonl")
    expected = [json.loads(line) for line in native("analyze", *photos, *arguments).splitlines()]
    analyzer = fer_rs.Analyzer(**settings, onnxruntime=False)
    assert_same(rows(analyzer.analyze_batch(photos)), expected)
