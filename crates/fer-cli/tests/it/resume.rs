//! Runs that are killed, interrupted or repeated: `--resume` ends with the same table.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::harness::{Folder, Run, ended, face, jpeg, plain};

fn photos(count: usize) -> Folder {
    let folder = Folder::new();
    for number in 0..count {
        let picture = if number % 3 == 0 { plain() } else { face() };
        folder.write(format!("in/{number:03}.jpg"), &jpeg(&picture));
    }
    folder
}

fn read(folder: &Folder, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(name)).unwrap()
}

/// Starts the program, waits until its journal has some lines, and sends it a signal.
fn stopped(folder: &Folder, arguments: &[&str], journal: &str, lines: usize, signal: &str) -> Run {
    let mut child = folder.command(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    loop {
        let written = std::fs::read(folder.path(journal)).unwrap_or_default();
        if written.iter().filter(|byte| **byte == b'\n').count() >= lines {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
        assert!(started.elapsed() < Duration::from_secs(120), "the run is too slow");
        std::thread::sleep(Duration::from_millis(5));
    }
    ended(std::process::Command::new("kill").args([signal, &child.id().to_string()])).expect(0);
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_goes_on_and_ends_with_the_same_table() {
    let folder = photos(40);
    for (signal, code) in [("-KILL", None), ("-INT", Some(130))] {
        let arguments = ["analyze", "in", "--out", "t.csv", "--force"];
        let run = stopped(&folder, &arguments, "t.csv.journal", 6, signal);
        assert_eq!(run.code, code, "{}", run.stderr);
        let done = read(&folder, "t.csv.journal");
        let refused = folder.run(&["analyze", "in", "--out", "t.csv"]).expect(1);
        assert!(refused.stderr.contains("of an interrupted run"), "{}", refused.stderr);
        // A line that was cut off is done again.
        folder.write("t.csv.journal", &done[..done.len() - 10]);
        folder.run(&["analyze", "in", "--out", "t.csv", "--resume"]).expect(0);
        folder.run(&["analyze", "in", "--out", "whole.csv", "--force"]).expect(0);
        assert_eq!(read(&folder, "t.csv"), read(&folder, "whole.csv"));
        assert!(!folder.path("t.csv.journal").exists());
    }
}

#[cfg(unix)]
#[test]
fn a_video_goes_on_in_its_middle_with_the_same_tracks() {
    if !fer_video::has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = Folder::new();
    folder.clip("clip.mp4");
    folder.write("z.jpg", &jpeg(&face()));
    let arguments = ["analyze", "clip.mp4", "z.jpg", "--out", "t.parquet", "--threads", "1"];
    stopped(&folder, &arguments, "t.parquet.journal", 4, "-KILL");
    let known = read(&folder, "t.parquet.journal");
    let known = known.iter().filter(|byte| **byte == b'\n').count() - 1;
    assert!((3..12).contains(&known), "{known}");
    folder.run(&["analyze", "clip.mp4", "z.jpg", "--out", "t.parquet", "--resume"]).expect(0);
    folder.run(&["analyze", "clip.mp4", "z.jpg", "--out", "whole.parquet"]).expect(0);
    let rows = folder.rows("t.parquet");
    assert_eq!(rows, folder.rows("whole.parquet"));
    assert!(rows[..12].iter().all(|row| row.record.track_id == Some(1)));
}

#[test]
fn a_finished_table_takes_only_what_is_missing() {
    let folder = photos(3);
    for table in ["t.parquet", "t.jsonl"] {
        let arguments = ["analyze", "in", "--out", table, "--resume"];
        folder.run(&arguments).expect(0);
        folder.write("in/000-new.jpg", &jpeg(&face()));
        std::fs::remove_file(folder.path("in/001.jpg")).unwrap();
        folder.run(&arguments).expect(0);
        let names: Vec<_> = folder.rows(table).into_iter().map(|row| row.record.source.unwrap()).collect();
        // A row whose file is gone is kept.
        assert_eq!(names, ["in/001.jpg", "in/000-new.jpg", "in/000.jpg", "in/002.jpg"]);
        std::fs::remove_file(folder.path("in/000-new.jpg")).unwrap();
        folder.write("in/001.jpg", &jpeg(&face()));
    }
    let other =
        folder.run(&["analyze", "in", "--out", "t.parquet", "--resume", "--min-face", "50"]).expect(1);
    assert!(other.stderr.contains("fer.settings.min_face was detector's and is now 50"), "{}", other.stderr);
    std::fs::remove_file(folder.path("t.parquet.journal")).unwrap();
}
