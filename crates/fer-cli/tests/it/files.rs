//! Inputs that are good, bad, oddly named or not there: each is a row.

use std::io::Write as _;
use std::process::Stdio;

use super::harness::{Folder, face, jpeg, outline, pair, plain, png};

fn statuses(folder: &Folder, table: &str) -> Vec<(String, String)> {
    outline(&folder.rows(table)).into_iter().map(|(source, _, status)| (source, status)).collect()
}

#[test]
fn a_folder_with_good_and_bad_files_becomes_a_table_and_exit_code_2() {
    let folder = Folder::new();
    folder.write("in/a.jpg", &jpeg(&face()));
    folder.write("in/b/two.png", &png(&pair()));
    folder.write("in/c-plain.webp", &png(&plain()));
    folder.write("in/d-empty.jpg", b"");
    let whole = jpeg(&face());
    folder.write("in/e-cut.jpg", &whole[..whole.len() / 2]);
    folder.write("in/f-text.png", b"hello");
    folder.write("in/notes.txt", b"not listed");
    let run = folder.run(&["analyze", "in", "--out", "t.csv"]).expect(2);
    let expected = [
        ("in/a.jpg", "ok"),
        ("in/b/two.png", "ok"),
        ("in/b/two.png", "ok"),
        ("in/c-plain.webp", "no_face"),
        ("in/d-empty.jpg", "error"),
        ("in/e-cut.jpg", "error"),
        ("in/f-text.png", "error"),
    ];
    assert_eq!(
        statuses(&folder, "t.csv"),
        expected.map(|(name, status)| (name.to_owned(), status.to_owned()))
    );
    let summary = "6 files: 3 pictures, 3 faces, 1 pictures without a face, 3 failures";
    assert!(run.stderr.contains(summary), "{}", run.stderr);
    assert!(run.stderr.contains("in/d-empty.jpg: the image is empty"), "{}", run.stderr);
    assert!(!folder.path("t.csv.journal").exists());

    // The number of threads changes nothing.
    folder.run(&["analyze", "in", "--out", "one.csv", "--threads", "1", "--quiet"]).expect(2);
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(read("t.csv"), read("one.csv"));
}

#[test]
fn nothing_that_can_be_done_is_exit_code_1() {
    let folder = Folder::new();
    folder.write("empty.jpg", b"");
    let run = folder.run(&["analyze", "empty.jpg", "missing.jpg", "*.gif", "--out", "t.csv"]).expect(1);
    assert!(run.stderr.contains("missing.jpg: cannot be read: No such file"), "{}", run.stderr);
    assert!(run.stderr.contains("*.gif: no file matches this pattern"), "{}", run.stderr);
    assert_eq!(folder.rows("t.csv").len(), 3);
    std::fs::create_dir(folder.path("nothing")).unwrap();
    let refused = |arguments: &[&str], words: &str| {
        let run = folder.run(arguments).expect(1);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    };
    refused(&["analyze", "nothing", "--out", "x.csv"], "there is no photo or video in nothing");
    refused(&["analyze", "empty.jpg"], "--out");
    refused(&["analyze", "empty.jpg", "--out", "t.xlsx"], "the extension is none of parquet, csv");
    refused(&["analyze", "empty.jpg", "--out", "nothing"], "this is a folder");
    refused(&["analyze", "empty.jpg", "--out", "no/t.csv"], "cannot write no/t.csv.journal");
    refused(&["analyze", "ftp://host/a.jpg", "--out", "x.csv"], "ftp://host/a.jpg: ");
    refused(&["analyze", "empty.jpg", "--out", "x.csv", "--model", "nothing"], "--model nothing");
    refused(&["analyze", "empty.jpg", "--out", "x.csv", "--min-face", "-3"], "");
    refused(&["analyze", "empty.jpg", "--out", "x.csv", "--every", "soon"], "is not a time");
    refused(&["analyze", "empty.jpg", "--out", "x.csv", "--from", "9", "--to", "3"], "--to must be later");
    assert!(!folder.path("x.csv").exists());
}

#[test]
fn standard_input_lists_and_globs_are_inputs() {
    let folder = Folder::new();
    folder.write("a.jpg", &jpeg(&plain()));
    folder.write("b.jpg", &jpeg(&plain()));
    folder.write("list.txt", b"b.jpg\n\na.jpg\n");
    folder.run(&["analyze", "@list.txt", "*.jpg", "--out", "t.jsonl"]).expect(0);
    let names: Vec<_> = statuses(&folder, "t.jsonl").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b.jpg", "a.jpg"], "in the order of the list, and none twice");

    let mut command = folder.command(&["analyze", "-", "--out", "-", "--format", "jsonl"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&jpeg(&face())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let row: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&row["source"], &row["status"]), (&"-".into(), &"ok".into()));
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf_8_and_files_without_permission_are_rows() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"in/caf\xe9.jpg");
    folder.write(name, &jpeg(&plain()));
    folder.write("in/new\nline, \"quoted\".jpg", &jpeg(&plain()));
    for table in ["t.csv", "t.parquet"] {
        folder.run(&["analyze", "in", "--out", table]).expect(0);
        let names: Vec<_> = statuses(&folder, table).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["in/caf\\xE9.jpg", "in/new\nline, \"quoted\".jpg"]);
    }
}

#[test]
fn an_output_that_exists_is_kept() {
    let folder = Folder::new();
    folder.write("a.jpg", &jpeg(&plain()));
    folder.write("t.csv", b"mine");
    let run = folder.run(&["analyze", "a.jpg", "--out", "t.csv"]).expect(1);
    assert!(
        run.stderr.contains("t.csv exists; --resume adds what is missing, --force replaces it"),
        "{}",
        run.stderr
    );
    assert_eq!(std::fs::read(folder.path("t.csv")).unwrap(), b"mine");
    let run = folder.run(&["analyze", "a.jpg", "--out", "t.csv", "--resume"]).expect(1);
    assert!(run.stderr.contains("not a table of `fer analyze`"), "{}", run.stderr);
    folder.run(&["analyze", "a.jpg", "--out", "t.csv", "--force"]).expect(0);
    assert_eq!(folder.rows("t.csv").len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_clear_line_and_loses_nothing() {
    let folder = Folder::new();
    for number in 0..8 {
        folder.write(format!("in/{number}.jpg"), &jpeg(&plain()));
    }
    for format in ["csv", "jsonl", "parquet", "arrow"] {
        let run = folder.run(&["analyze", "in", "--out", "/dev/full", "--format", format]).expect(1);
        assert!(run.stderr.contains("cannot write /dev/full: No space left on device"), "{}", run.stderr);
    }
    // A limit on the size of files stands for a full disk: the journal does not fit.
    let limited = |table: &str| {
        let program = env!("CARGO_BIN_EXE_fer");
        let script = format!("trap '' XFSZ; ulimit -f 2; exec {program} analyze in --out {table}");
        let mut command = std::process::Command::new("bash");
        super::harness::ended(
            command.args(["-c", &script]).current_dir(folder.path("")).env("FER_ENGINE", "tract"),
        )
    };
    let run = limited("t.csv").expect(1);
    assert!(run.stderr.contains("cannot write t.csv.journal"), "{}", run.stderr);
    assert!(run.stderr.contains("--resume goes on"), "{}", run.stderr);
    folder.run(&["analyze", "in", "--out", "t.csv", "--resume"]).expect(0);
    folder.run(&["analyze", "in", "--out", "whole.csv"]).expect(0);
    let read = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(read("t.csv"), read("whole.csv"));
}
