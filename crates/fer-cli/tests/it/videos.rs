//! Videos: rows for each frame, tracks, selections and damage.

use super::harness::{Folder, face, jpeg, outline};

#[test]
fn frames_have_times_tracks_and_smoothed_and_raw_probabilities() {
    if !fer_video::has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = Folder::new();
    // A video under the name of a photo, and a photo under the name of a video.
    folder.clip("clip.mp4");
    std::fs::rename(folder.path("clip.mp4"), folder.path("a.jpg")).unwrap();
    folder.write("b.mp4", &jpeg(&face()));
    folder.run(&["analyze", "a.jpg", "b.mp4", "--out", "t.parquet"]).expect(0);
    let rows = folder.rows("t.parquet");
    assert_eq!(rows.len(), 13);
    for (number, row) in (1..).zip(&rows[..12]) {
        let record = &row.record;
        assert_eq!((record.frame, record.timestamp_ms), (Some(number), Some(100 * (number - 1))));
        assert_eq!((record.track_id, record.image_width), (Some(1), Some(240)));
        let (smoothed, raw) = (row.emotions().unwrap(), row.raw.unwrap());
        assert_eq!(number == 1, smoothed == raw, "only the first frame has nothing to be smoothed with");
    }
    assert_eq!((rows[12].record.frame, rows[12].record.track_id, rows[12].raw), (None, None, None));

    let every =
        ["analyze", "a.jpg", "--every", "300ms", "--from", "0.2", "--to", "1.0", "--out", "every.csv"];
    folder.run(&every).expect(0);
    let times: Vec<_> = folder.rows("every.csv").iter().map(|row| row.record.timestamp_ms.unwrap()).collect();
    assert_eq!(times, [200, 500, 800]);
    folder.run(&["analyze", "a.jpg", "--fps", "2", "--out", "fps.csv"]).expect(0);
    assert_eq!(folder.rows("fps.csv").len(), 3);
    let late = folder.run(&["analyze", "a.jpg", "--from", "1:00", "--out", "late.csv"]).expect(1);
    assert!(late.stderr.contains("no frame in the selected range"), "{}", late.stderr);
}

#[test]
fn a_damaged_video_keeps_its_rows_and_gets_one_that_says_where() {
    if !fer_video::has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = Folder::new();
    folder.clip("clip.mkv");
    let whole = std::fs::read(folder.path("clip.mkv")).unwrap();
    folder.write("cut.mkv", &whole[..whole.len() * 6 / 10]);
    folder.write("none.mkv", &whole[..30]);
    folder.run(&["analyze", "cut.mkv", "none.mkv", "clip.mkv", "--out", "t.csv"]).expect(2);
    let rows = folder.rows("t.csv");
    let outline = outline(&rows);
    let errors: Vec<_> = outline.iter().filter(|(_, _, status)| status == "error").collect();
    assert_eq!(errors.len(), 2, "{outline:?}");
    let (source, frame, _) = errors[0];
    let frames = outline.iter().filter(|(name, _, status)| name == "cut.mkv" && status != "error").count();
    assert_eq!((source.as_str(), *frame), ("cut.mkv", Some(frames as u64)));
    assert!((4..12).contains(&frames));
    let message = rows.iter().find_map(|row| row.record.message.clone()).unwrap();
    assert!(message.starts_with("the video is damaged after 0."), "{message}");
    assert_eq!(outline.iter().filter(|(name, _, _)| name == "clip.mkv").count(), 12);
}

#[test]
fn without_ffmpeg_a_video_is_a_row_that_names_it() {
    let folder = Folder::new();
    folder.write("clip.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41");
    folder.write("a.jpg", &jpeg(&face()));
    let mut command = folder.command(&["analyze", "clip.mp4", "a.jpg", "--out", "t.csv"]);
    let run = super::harness::ended(command.env("PATH", "/nowhere")).expect(2);
    assert!(
        run.stderr.contains("clip.mp4: videos are read with ffmpeg, which was not found"),
        "{}",
        run.stderr
    );
}
