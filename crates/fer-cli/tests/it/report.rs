//! The page that `fer report` writes.

use super::harness::{Folder, face, jpeg, pair};

#[test]
fn a_page_stands_alone_and_says_what_it_is() {
    let folder = Folder::new();
    folder.write("in/<b>.jpg", &jpeg(&pair()));
    folder.write("in/empty.jpg", b"");
    let has_video = fer_video::has_ffmpeg();
    if has_video {
        folder.clip("in/clip.mp4");
    } else {
        fer_testing::skip("ffmpeg", "it cannot be started");
    }
    folder.run(&["analyze", "in", "--out", "t.parquet"]).expect(2);
    folder.run(&["report", "t.parquet", "--charts", "charts"]).expect(0);
    let page = std::fs::read_to_string(folder.path("report.html")).unwrap();
    for text in [
        "guesses at the labels",
        "Art. 5(1)(f)",
        "prefers-color-scheme: dark",
        "width=device-width",
        "<dt>photos</dt><dd>1</dd>",
        "the image is empty",
        "fer.model".trim_start_matches("fer."),
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<b>"), "names are escaped");
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("<img"));
    assert_eq!(page.contains("track 1"), has_video);
    let charts = std::fs::read_dir(folder.path("charts")).unwrap().count();
    assert_eq!(charts, if has_video { 8 } else { 6 }, "an SVG and a PNG of each chart");
    image::open(folder.path("charts/01-labels.png")).unwrap();

    let run = folder.run(&["report", "t.parquet"]).expect(1);
    assert!(run.stderr.contains("report.html exists"), "{}", run.stderr);
    folder.run(&["report", "t.parquet", "--faces", "--force"]).expect(0);
    let page = std::fs::read_to_string(folder.path("report.html")).unwrap();
    for text in ["data:image/jpeg;base64,", "everyone in it has consented", "&lt;b&gt;.jpg"] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn what_is_no_table_has_no_page() {
    let folder = Folder::new();
    folder.write("t.csv", b"a,b\n1,2\n");
    let run = folder.run(&["report", "t.csv"]).expect(1);
    assert!(run.stderr.contains("t.csv: this is not a table of `fer analyze`"), "{}", run.stderr);
    folder.write("a.jpg", &jpeg(&face()));
    folder.run(&["analyze", "a.jpg", "--out", "feat.csv", "--columns", "py-feat"]).expect(0);
    let run = folder.run(&["report", "feat.csv"]).expect(1);
    assert!(run.stderr.contains("py-feat"), "{}", run.stderr);
    assert!(!folder.path("report.html").exists());
}
