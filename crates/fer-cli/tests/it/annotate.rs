//! Pictures and videos with boxes.

use super::harness::{Folder, face, jpeg, plain, png};

#[test]
fn photos_get_boxes_and_originals_are_kept() {
    let folder = Folder::new();
    folder.write("in/a.jpg", &jpeg(&face()));
    folder.write("in/b.png", &png(&plain()));
    folder.write("in/c.png", b"hello");
    let run = folder.run(&["annotate", "in", "--out", "drawn"]).expect(2);
    assert!(run.stderr.contains("in/c.png: this is not a JPEG"), "{}", run.stderr);
    let open = |name: &str| image::open(folder.path(name)).unwrap().into_rgb8();
    assert_ne!(open("drawn/a.jpg"), open("in/a.jpg"));
    assert_eq!(open("drawn/b.png"), plain());
    assert!(!folder.path("drawn/c.png").exists());
    let refused = |arguments: &[&str], words: &str| {
        let run = folder.run(arguments).expect(1);
        assert!(run.stderr.contains(words), "{}", run.stderr);
    };
    refused(&["annotate", "in", "--out", "drawn"], "exists; --force replaces it");
    refused(&["annotate", "in", "--out", "in", "--force"], "would replace its original");
    folder.run(&["annotate", "in/a.jpg", "--out", "one.webp"]).expect(0);
    assert_eq!(open("one.webp").dimensions(), (220, 220));
}

#[test]
fn a_video_keeps_its_length_and_sound() {
    if !fer_video::has_ffmpeg() {
        return fer_testing::skip("ffmpeg", "it cannot be started");
    }
    let folder = Folder::new();
    folder.clip("silent.mp4");
    assert!(folder.ffmpeg("-f lavfi -i sine=duration=1.2 -i silent.mp4 -c:v copy clip.mp4"));
    folder.run(&["annotate", "clip.mp4", "--out", "drawn"]).expect(0);
    let probe = std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "stream=codec_type,nb_frames",
            "-of",
            "csv=p=0",
            "drawn/clip.mp4",
        ])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let streams = String::from_utf8_lossy(&probe.stdout);
    assert!(streams.contains("video,12") && streams.contains("audio"), "{streams}");
    assert_eq!(std::fs::read_dir(folder.path("drawn")).unwrap().count(), 1, "no temporary file is left");
}
