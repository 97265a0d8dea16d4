//! Objects of stores as inputs. What is wrong with one is a row.

use std::time::{Duration, Instant};

use super::super::harness::{Folder, Run, ended, face, jpeg, outline, pair, plain};
use super::servers::{Moto, web};

fn run(folder: &Folder, moto: &Moto, arguments: &[&str]) -> Run {
    let mut command = folder.command(arguments);
    moto.describe(&mut command);
    ended(&mut command)
}

#[test]
fn a_folder_of_a_bucket_gives_the_same_rows_as_a_folder() {
    let Some(moto) = Moto::start() else { return };
    let folder = Folder::new();
    let photos = [("a b.jpg", jpeg(&face())), ("c.jpg", jpeg(&plain())), ("d/e.JPG", jpeg(&pair()))];
    for (name, bytes) in &photos {
        folder.write(format!("photos/{name}"), bytes);
        moto.put(&format!("photos/{}", name.replace(' ', "%20")), bytes);
    }
    moto.put("photos/notes.txt", b"not listed");
    moto.put("photos/.hidden/a.jpg", b"not listed");
    moto.put("photos-2/a.jpg", b"another folder");
    folder.run(&["analyze", "photos", "--out", "local.parquet"]).expect(0);
    let mut expected = folder.rows("local.parquet");
    for row in &mut expected {
        row.record.source = row.record.source.take().map(|source| format!("s3://bucket/{source}"));
    }
    for (address, table) in [("s3://bucket/photos", "a.parquet"), ("s3://bucket/photos/", "b.parquet")] {
        run(&folder, &moto, &["analyze", address, "--out", table]).expect(0);
        assert_eq!(folder.rows(table), expected, "{address}");
    }
    // What is in the table is not fetched again.
    moto.put("photos/z.jpg", &jpeg(&plain()));
    let resumed =
        run(&folder, &moto, &["analyze", "s3://bucket/photos", "--out", "a.parquet", "--resume"]).expect(0);
    assert!(resumed.stderr.contains("4 files"), "{}", resumed.stderr);
    assert_eq!(folder.rows("a.parquet").len(), expected.len() + 1);
    // One object, a list, an object that has vanished and a bucket that does not exist.
    folder.write(
        "list.txt",
        b"s3://bucket/photos/a b.jpg\ns3://bucket/photos/gone.jpg\ns3://bucket/nothing/\n",
    );
    run(&folder, &moto, &["analyze", "@list.txt", "s3://other/a", "--out", "c.csv"]).expect(2);
    let rows = folder.rows("c.csv");
    let statuses: Vec<_> = outline(&rows).into_iter().map(|(_, _, status)| status).collect();
    assert_eq!(statuses, ["ok", "error", "error", "error"]);
    let message = |row: usize| rows[row].record.message.clone().unwrap();
    assert_eq!(message(1), "cannot be read: the store has no object of this name");
    assert!(message(2).contains("none in a folder of this name"), "{}", message(2));
    run(&folder, &moto, &["annotate", "s3://bucket/photos/a b.jpg", "--out", "drawn"]).expect(0);
    assert!(folder.path("drawn/a b.jpg").exists());
}

#[test]
fn objects_that_are_gone_denied_huge_or_silent_are_rows() {
    let folder = Folder::new();
    let host = web(jpeg(&face()));
    let names = ["photo.jpg", "secret.jpg", "gone.jpg", "huge.jpg", "stalls.jpg"];
    let addresses = names.map(|name| format!("http://{host}/{name}"));
    let started = Instant::now();
    let mut arguments = vec!["analyze", "--timeout", "2s", "--out", "t.csv"];
    arguments.extend(addresses.iter().map(String::as_str));
    folder.run(&arguments).expect(2);
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    let rows = folder.rows("t.csv");
    assert_eq!(rows.len(), 5);
    let expected =
        ["", "access is denied", "no object of this name", "more than 256 MB", "nothing arrived for 2 s"];
    for ((row, address), words) in rows.iter().zip(&addresses).zip(expected) {
        assert_eq!(row.record.source.as_ref(), Some(address));
        let message = row.record.message.clone().unwrap_or_default();
        assert!(message.contains(words) && message.is_empty() == words.is_empty(), "{address}: {message}");
    }
}

#[test]
fn a_video_of_a_store_is_read_like_a_file() {
    if std::process::Command::new("ffmpeg").arg("-version").output().is_err() {
        return fer_testing::skip("ffmpeg", "ffmpeg is not installed");
    }
    let folder = Folder::new();
    folder.clip("clip.mp4");
    let host = web(std::fs::read(folder.path("clip.mp4")).unwrap());
    let address = format!("http://{host}/a%20clip.mp4");
    folder.run(&["analyze", "clip.mp4", "--out", "local.csv", "--fps", "5"]).expect(0);
    folder.run(&["analyze", &address, "--out", "remote.csv", "--fps", "5"]).expect(0);
    let mut rows = folder.rows("remote.csv");
    for row in &mut rows {
        assert_eq!(
            row.record.source.replace("clip.mp4".to_owned()).unwrap(),
            format!("http://{host}/a clip.mp4")
        );
    }
    assert_eq!(rows, folder.rows("local.csv"));
    folder.run(&["annotate", &address, "--out", "drawn.mp4"]).expect(0);
    assert!(folder.path("drawn.mp4").exists());
}
