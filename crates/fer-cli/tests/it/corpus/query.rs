//! `fer query`.

use super::super::harness::{Folder, face, jpeg, pair, plain};

fn tables() -> Folder {
    let folder = Folder::new();
    folder.write("in/a.jpg", &jpeg(&face()));
    folder.write("in/b.jpg", &jpeg(&plain()));
    folder.write("in/c.jpg", &jpeg(&pair()));
    folder.run(&["analyze", "in", "--out", "t.parquet", "--quiet"]).expect(0);
    folder
}

const COUNT: &str =
    "SELECT source, count(*) AS n FROM faces WHERE status = 'ok' GROUP BY source ORDER BY source";

#[test]
fn a_result_is_printed_or_written_as_a_table() {
    let folder = tables();
    let printed = folder.run(&["query", COUNT, "t.parquet"]).expect(0);
    let expected = "+----------+---+\n| source   | n |\n+----------+---+\n| in/a.jpg | 1 |\n| in/c.jpg | 2 |\n+----------+---+\n";
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), expected);
    let csv = folder.run(&["query", COUNT, "t.parquet", "--format", "csv"]).expect(0);
    assert_eq!(csv.stdout, b"source,n\nin/a.jpg,1\nin/c.jpg,2\n");
    let lines = folder.run(&["query", COUNT, "t.parquet", "--out", "-", "--format", "jsonl"]).expect(0);
    assert_eq!(lines.stdout, b"{\"source\":\"in/a.jpg\",\"n\":1}\n{\"source\":\"in/c.jpg\",\"n\":2}\n");
    // A copy in each format has the same rows.
    for copy in ["copy.csv", "copy.jsonl", "copy.arrow", "copy.arrows", "copy.parquet"] {
        folder.run(&["query", "SELECT * FROM t", "t.parquet", "--out", copy]).expect(0);
        assert_eq!(folder.rows(copy), folder.rows("t.parquet"), "{copy}");
        let again = folder.run(&["query", COUNT, copy]).expect(0);
        assert_eq!(String::from_utf8(again.stdout).unwrap(), expected, "{copy}");
    }
    assert!(!folder.path("copy.csv.partial").exists());
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tables();
    let refused = |arguments: &[&str], words: &str| {
        let run = folder.run(&[&["query"][..], arguments].concat()).expect(1);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    };
    refused(&["SELECT hapy FROM faces", "t.parquet"], "there is no column `hapy`; the nearest are `happy`");
    refused(&["SELECT 1 FROM other", "t.parquet"], "the tables are `faces`, `t`");
    refused(&["SELECT 1", "absent.csv"], "absent.csv: No such file");
    refused(&["DELETE FROM faces", "t.parquet"], "only SELECT");
    refused(&[COUNT, "t.parquet", "--out", "t.parquet"], "t.parquet exists; --force replaces it");
    refused(&[COUNT, "t.parquet", "--out", "x.xlsx"], "the extension is none of parquet, csv");
    refused(&[COUNT, "t.parquet", "--out", "no/x.csv"], "no/x.csv: No such file");
    refused(&["SELECT 1 / face FROM faces", "t.parquet", "--out", "x.csv"], "x.csv: ");
    assert!(!folder.path("x.csv").exists() && !folder.path("x.csv.partial").exists());
    folder.run(&["query", COUNT, "t.parquet", "--out", "t.parquet", "--force"]).expect(0);
    let count = folder.run(&["query", "SELECT sum(n) AS n FROM t", "t.parquet", "--format", "csv"]).expect(0);
    assert_eq!(count.stdout, b"n\n3\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one_clear_line_and_a_closed_pipe_is_silent() {
    let folder = tables();
    let program = env!("CARGO_BIN_EXE_fer");
    let shell = |script: &str| {
        let mut command = std::process::Command::new("bash");
        let script = script.replace("FER", program);
        super::super::harness::ended(command.args(["-c", &script]).current_dir(folder.path("")))
    };
    for format in ["csv", "jsonl", "parquet", "arrow"] {
        let run =
            shell(&format!("FER query 'SELECT * FROM t' t.parquet --format {format} > /dev/full")).expect(1);
        assert!(run.stderr.contains("No space left on device"), "{format}: {}", run.stderr);
    }
    let many =
        "SELECT a.* FROM t AS a CROSS JOIN t AS b CROSS JOIN t AS c CROSS JOIN t AS d CROSS JOIN t AS e";
    let run =
        shell(&format!("FER query '{many}' t.parquet --format csv | head -n 1; exit ${{PIPESTATUS[0]}}"));
    assert_eq!(run.expect(0).stderr, "");
}
