"""Videos: selection, tracks, errors, memory."""

import pathlib

import pytest


def test_frames_have_times_and_tracks(analyzer, clip):
    path = clip(25)
    video = analyzer.analyze_video(path)
    assert video.duration == pytest.approx(1) and video.frame_rate == pytest.approx(25)
    frames = list(video)
    assert [frame.frame for frame in frames] == list(range(1, 26))
    assert [frame.timestamp_ms for frame in frames] == list(range(0, 1000, 40))
    first = frames[3].faces[0]
    assert first.track_id is not None and first.raw_emotions != first.emotions
    assert next(video, None) is None
    some = [frame.timestamp_ms for frame in analyzer.analyze_video(path, fps=5, start=0.2, end=0.8)]
    assert some == [200, 400, 600]


def test_a_video_may_be_left_early(analyzer, clip):
    path = clip(300)
    with analyzer.analyze_video(path) as video:
        assert next(video).frame == 1
    assert next(video, None) is None
    for _ in range(3):
        assert next(analyzer.analyze_video(path)).frame == 1


def test_bad_videos_and_times_are_refused(analyzer, clip, sample, tmp_path):
    path = clip(25)
    with pytest.raises(FileNotFoundError):
        analyzer.analyze_video(tmp_path / "missing.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match="text.mp4"):
        analyzer.analyze_video(tmp_path / "text.mp4")
    for times in ({"fps": 0}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 1}, {"end": float("inf")}):
        with pytest.raises(ValueError):
            analyzer.analyze_video(path, **times)
    with pytest.raises(ValueError, match="analyze_video"):
        analyzer.analyze(path)


def test_memory_does_not_grow_with_the_video(analyzer, clip):
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not tell the memory of a process")

    def resident():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    # 300 frames of 240 by 200 pixels are 41 MiB.
    before = None
    for frame in analyzer.analyze_video(clip(300)):
        if frame.frame == 50:
            before = resident()
    assert frame.frame == 300
    assert resident() - before < 20
