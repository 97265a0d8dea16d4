//! Formats, columns, metadata and progress.

use super::harness::{Folder, face, jpeg, pair, plain};

fn photos() -> Folder {
    let folder = Folder::new();
    folder.write("in/a.jpg", &jpeg(&face()));
    folder.write("in/b.jpg", &jpeg(&plain()));
    folder.write("in/c.jpg", &jpeg(&pair()));
    folder
}

#[test]
fn all_formats_hold_the_same_rows_and_say_what_made_them() {
    let folder = photos();
    folder.run(&["analyze", "in", "--out", "t.csv"]).expect(0);
    let rows = folder.rows("t.csv");
    assert_eq!(rows.len(), 4);
    for table in ["t.parquet", "t.jsonl", "t.arrow", "t.arrows"] {
        folder.run(&["analyze", "in", "--out", table]).expect(0);
        assert_eq!(folder.rows(table), rows, "{table}");
    }
    let metadata = fer_table::read(&folder.path("t.parquet")).unwrap().metadata().clone();
    let value = |key: &str| metadata.get(key).map(String::as_str);
    assert_eq!([value("fer.engine"), value("fer.detector")], [Some("tract"), Some("embedded")]);
    assert_eq!(value("fer.version"), Some(env!("CARGO_PKG_VERSION")));
    assert!(value("fer.notice").unwrap().contains("often wrong"));
    for (format, start) in [
        ("csv", b"source,".as_slice()),
        ("parquet", b"PAR1"),
        ("jsonl", b"{\"source\""),
        ("arrow", b"\xff\xff\xff\xff"),
    ] {
        let run = folder.run(&["analyze", "in", "--out", "-", "--format", format]).expect(0);
        assert!(run.stdout.starts_with(start), "{format}");
    }
}

#[test]
fn columns_of_other_packages() {
    let folder = photos();
    folder.run(&["analyze", "in", "--out", "feat.csv", "--columns", "py-feat"]).expect(0);
    let text = std::fs::read_to_string(folder.path("feat.csv")).unwrap();
    let header = "FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,anger,disgust,fear,happiness,sadness,surprise,\
                  neutral,input,frame,approx_time,status,message";
    assert_eq!(text.lines().next(), Some(header));
    assert_eq!(text.lines().count(), 5);
    folder.run(&["analyze", "in", "--out", "fer.csv", "--columns", "fer"]).expect(0);
    let text = std::fs::read_to_string(folder.path("fer.csv")).unwrap();
    assert!(
        text.starts_with("box0,angry0,disgust0,fear0,happy0,sad0,surprise0,neutral0,box1,angry1,"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 4, "a line for each picture");
    let run = folder.run(&["analyze", "in", "--out", "-", "--columns", "fer"]).expect(1);
    assert!(run.stderr.contains("needs a file as --out"), "{}", run.stderr);
}

#[test]
fn progress_is_quiet_lines_or_json() {
    let folder = photos();
    assert_eq!(folder.run(&["analyze", "in", "--out", "a.csv", "--quiet"]).expect(0).stderr, "");
    let lines = folder.run(&["analyze", "in", "--out", "b.csv"]).expect(0).stderr;
    assert_eq!(lines, "3 files: 3 pictures, 3 faces, 1 pictures without a face, 0 failures\n");
    let json = folder.run(&["analyze", "in", "--out", "c.csv", "--json"]).expect(0).stderr;
    let last: serde_json::Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["faces"], &last["failed"]), (&"end".into(), &3.into(), &0.into()));
}
