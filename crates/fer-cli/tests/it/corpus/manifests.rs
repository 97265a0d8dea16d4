//! `fer corpus plan` and `fer corpus run` on one machine.

use std::fs::File;
use std::time::{Duration, Instant, SystemTime};

use fer_table::Row;

use super::super::harness::{Folder, Run, ended, face, jpeg, outline, pair, plain};
use super::servers::{Moto, web};

/// The rows of all parts, in the order of the manifest.
pub(super) fn rows(folder: &Folder, out: &str) -> Vec<Row> {
    let names = std::fs::read_dir(folder.path(out)).unwrap().map(|entry| entry.unwrap().file_name());
    let mut parts: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    parts.retain(|name| name.ends_with(".parquet"));
    parts.sort();
    parts.iter().flat_map(|part| folder.rows(format!("{out}/{part}").as_str())).collect()
}

/// The address of a file, as manifests have it.
fn address(folder: &Folder, name: &str) -> String {
    let root = folder.path("").canonicalize().unwrap();
    format!("file://{}/{}", root.display(), name.replace(' ', "%20"))
}

/// Rows of `fer analyze` as `fer corpus run` writes them.
fn as_objects(folder: &Folder, mut rows: Vec<Row>) -> Vec<Row> {
    for row in &mut rows {
        row.record.source = row.record.source.take().map(|source| address(folder, &source));
    }
    rows
}

fn photos() -> Folder {
    let folder = Folder::new();
    let whole = jpeg(&face());
    let files = [
        ("a b.jpg", whole.clone()),
        ("b.jpg", jpeg(&plain())),
        ("broken.jpg", whole[..2000].to_vec()),
        ("c/d.JPG", jpeg(&pair())),
        ("empty.png", Vec::new()),
    ];
    for (name, bytes) in files {
        folder.write(format!("in/{name}"), &bytes);
    }
    folder.write("in/notes.txt", b"not listed");
    folder
}

#[test]
fn a_manifest_gives_the_rows_of_analyze_and_a_second_run_does_what_is_missing() {
    let folder = photos();
    if folder.has_ffmpeg() {
        folder.clip("in/clip.mp4");
    }
    folder.run(&["analyze", "in", "--out", "t.parquet", "--fps", "5"]).expect(2);
    let expected = as_objects(&folder, folder.rows("t.parquet"));
    let planned = folder.run(&["corpus", "plan", "in", "--out", "m", "--part", "2"]).expect(0);
    let objects = if folder.has_ffmpeg() { 6 } else { 5 };
    assert!(
        planned.stderr.contains(&format!("{objects} objects, 0.0 GB, 3 parts in m")),
        "{}",
        planned.stderr
    );
    let run = |arguments: &[&str]| {
        folder.run(&[&["corpus", "run", "m", "--out", "out", "--fps", "5"], arguments].concat())
    };
    run(&[]).expect(2);
    assert_eq!(rows(&folder, "out"), expected);
    // What is there is left as it is, and what is missing is done.
    let part = folder.path("out/part-00001.parquet");
    let written = |name: &str| folder.path(name).metadata().unwrap().modified().unwrap();
    let (first, second) = (written("out/part-00000.parquet"), written("out/part-00001.parquet"));
    std::fs::remove_file(&part).unwrap();
    let again = run(&[]);
    assert!(again.stderr.contains("3 parts, 2 of them done before"), "{}", again.stderr);
    assert_eq!(rows(&folder, "out"), expected);
    assert_eq!(written("out/part-00000.parquet"), first);
    assert!(written("out/part-00001.parquet") > second);
    run(&[]).expect(0);
    // Another setting would make a mixture.
    let refused = folder.run(&["corpus", "run", "m", "--out", "out", "--min-face", "90"]).expect(1);
    assert!(refused.stderr.contains("of another manifest, model or setting"), "{}", refused.stderr);
    folder.run(&["corpus", "run", "m", "--out", "out", "--min-face", "90", "--force"]).expect(2);
    let leftovers = std::fs::read_dir(folder.path("out")).unwrap();
    assert_eq!(leftovers.count(), 4);
    let count = folder
        .run(&["query", "SELECT count(DISTINCT source) AS n FROM faces", "out", "--format", "csv"])
        .expect(0);
    assert_eq!(String::from_utf8(count.stdout).unwrap(), format!("n\n{objects}\n"));
}

#[test]
fn what_cannot_be_planned_or_run_is_said() {
    let folder = photos();
    let refused = |arguments: &[&str], words: &str| {
        let run = folder.run(&[&["corpus"], arguments].concat()).expect(1);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    };
    refused(&["plan", "absent", "--out", "m"], "absent");
    refused(&["plan", "in/notes.txt", "--out", "/dev/null/m"], "cannot be");
    refused(&["plan", "ftp://host/a/", "--out", "m"], "known are s3://");
    refused(&["run", "m", "--out", "out"], "there is no plan.json");
    folder.run(&["corpus", "plan", "in", "--out", "n"]).expect(0);
    refused(&["plan", "in", "--out", "n"], "there is a manifest; --force replaces it");
    folder.run(&["corpus", "plan", "in", "--out", "n", "--force"]).expect(0);
    folder.write("other/part-00000.parquet", b"");
    refused(&["run", "n", "--out", "other"], "there are tables but no run.json");
    folder.write("n/part-00000.parquet", b"damaged");
    refused(&["run", "n", "--out", "out"], "part-00000.parquet: ");
    folder.write("n/plan.json", b"{");
    refused(&["run", "n", "--out", "out"], "plan.json is damaged");
    #[cfg(not(feature = "cluster"))]
    refused(&["scheduler"], "--features cluster");
}

#[test]
fn twenty_thousand_files_are_planned_in_seconds() {
    let folder = Folder::new();
    for number in 0..20_000 {
        folder.write(format!("in/{}/{number}.jpg", number % 100), b"x");
    }
    let started = Instant::now();
    folder.run(&["corpus", "plan", "in", "--out", "m"]).expect(0);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(folder.path("m/part-00001.parquet").exists() && !folder.path("m/part-00002.parquet").exists());
}

#[test]
fn objects_that_are_gone_denied_huge_or_silent_are_rows_of_a_table() {
    let folder = Folder::new();
    let host = web(jpeg(&face()));
    folder.write("gone.jpg", &jpeg(&face()));
    // A file of 3 GB that takes no space.
    File::create(folder.path("sparse.jpg")).unwrap().set_len(3 << 30).unwrap();
    let names = ["photo.jpg", "secret.jpg", "gone.jpg", "huge.jpg", "stalls.jpg"];
    let mut list = names.map(|name| format!("http://{host}/{name}")).join("\n");
    list += "\ngone.jpg\nsparse.jpg\n";
    folder.write("list.txt", list.as_bytes());
    folder.run(&["corpus", "plan", "@list.txt", "--out", "m"]).expect(0);
    std::fs::remove_file(folder.path("gone.jpg")).unwrap();
    folder.run(&["corpus", "run", "m", "--out", "out", "--timeout", "2s"]).expect(2);
    let messages: Vec<_> =
        rows(&folder, "out").into_iter().map(|row| row.record.message.unwrap_or_default()).collect();
    let expected = [
        "",
        "access is denied",
        "no object of this name",
        "more than 256 MB",
        "nothing arrived for 2 s",
        "No such file",
        "more than 256 MB",
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:?}");
    for (message, words) in messages.iter().zip(expected) {
        assert!(message.contains(words) && message.is_empty() == words.is_empty(), "{message}: {words}");
    }
}

fn with(moto: &Moto, folder: &Folder, arguments: &[&str]) -> Run {
    let mut command = folder.command(arguments);
    moto.describe(&mut command);
    ended(&mut command)
}

#[test]
fn manifest_and_tables_may_lie_in_a_bucket() {
    let Some(moto) = Moto::start() else { return };
    let folder = photos();
    folder.run(&["analyze", "in", "--out", "t.parquet"]).expect(2);
    let mut expected = folder.rows("t.parquet");
    for row in &mut expected {
        row.record.source = row.record.source.take().map(|source| format!("s3://bucket/{source}"));
    }
    for (source, _, _) in outline(&folder.rows("t.parquet")) {
        moto.put(&source.replace(' ', "%20"), &std::fs::read(folder.path(&source)).unwrap());
    }
    with(&moto, &folder, &["corpus", "plan", "s3://bucket/in/", "--out", "s3://bucket/m/", "--part", "3"])
        .expect(0);
    // It vanishes between the listing and the run.
    moto.put("in/z.jpg", b"later");
    with(&moto, &folder, &["corpus", "plan", "s3://bucket/in", "--out", "m2", "--part", "3"]).expect(0);
    moto.delete("in/z.jpg");
    let run = |manifest: &str, out: &str| {
        with(&moto, &folder, &["corpus", "run", manifest, "--out", out]).expect(2);
    };
    run("s3://bucket/m/", "s3://bucket/out/");
    for part in ["part-00000.parquet", "part-00001.parquet"] {
        folder.write(format!("out/{part}"), &moto.get(&format!("out/{part}")));
    }
    assert_eq!(rows(&folder, "out"), expected);
    let again =
        with(&moto, &folder, &["corpus", "run", "s3://bucket/m/", "--out", "s3://bucket/out/"]).expect(0);
    assert!(again.stderr.contains("2 of them done before"), "{}", again.stderr);
    run("m2", "out2");
    let with_gone = rows(&folder, "out2");
    assert_eq!(with_gone[..expected.len()], expected);
    assert_eq!(
        with_gone[expected.len()].record.message.as_deref(),
        Some("cannot be read: the store has no object of this name")
    );
}

#[test]
#[ignore = "filling the store takes minutes"]
fn twenty_thousand_objects_are_planned_in_seconds() {
    let Some(moto) = Moto::start() else { return };
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let moto = &moto;
            scope.spawn(move || {
                (0..5000).for_each(|number| moto.put(&format!("tiny/{thread}/{number}.jpg"), b"x"));
            });
        }
    });
    let started = SystemTime::now();
    let planned = with(&moto, &folder, &["corpus", "plan", "s3://bucket/tiny/", "--out", "m"]).expect(0);
    let elapsed = started.elapsed().unwrap();
    println!("20,000 objects of moto's server: {:.1} s", elapsed.as_secs_f64());
    assert!(
        planned.stderr.contains("20000 objects") && elapsed < Duration::from_secs(60),
        "{}",
        planned.stderr
    );
}
