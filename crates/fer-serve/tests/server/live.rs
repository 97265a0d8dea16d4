//! Live connections.

use std::time::{Duration, Instant};

use image::{ImageFormat, RgbImage};
use serde_json::json;

use crate::harness::*;

#[test]
fn a_live_connection_follows_faces_and_the_newest_frame_wins() {
    let server = Server::start(&["--workers", "1"]);
    let mut socket = server.live(None).unwrap();
    let photo = image::load_from_memory(&sample()).unwrap().into_rgb8();
    let frame = |shift: u32| {
        let part = image::imageops::crop_imm(&photo, 40 + shift, 0, 420, 400).to_image();
        encoded(part, ImageFormat::Jpeg)
    };
    for number in 1..=4_u32 {
        // No multiple of the detector's stride, so that no two frames give the same crop.
        send(&mut socket, &frame(number * 5));
        let answer = receive(&mut socket);
        assert_eq!((&answer["frame"], &answer["dropped"]), (&json!(number), &json!(0)), "{answer}");
        let face = &answer["faces"][0];
        assert_eq!((&face["track_id"], &face["dominant_emotion"]), (&json!(1), &json!("happy")), "{answer}");
        assert!(face["raw_emotions"]["happy"].is_f64() && face["emotions"]["happy"].is_f64());
        assert_eq!(answer["mood"]["mean"], face["emotions"], "the mood of one face is the smoothed face's");
        assert_eq!(face["emotions"] == face["raw_emotions"], number == 1, "{face}");
        assert!(answer["timing_ms"]["decode"].as_f64().unwrap() > 0.0, "{answer}");
        assert_eq!(answer["image"], json!({"width": 420, "height": 400}));
    }
    send(&mut socket, b"no picture");
    let answer = receive(&mut socket);
    assert_eq!((&answer["frame"], &answer["error"]["code"]), (&json!(5), &json!("not_an_image")));
    send(&mut socket, &encoded(RgbImage::from_pixel(64, 64, image::Rgb([90; 3])), ImageFormat::WebP));
    assert_eq!(receive(&mut socket)["faces"], json!([]), "a frame without a face has an answer");
    // Many at once: the first is in work, the last is the newest.
    for _ in 0..30 {
        send(&mut socket, &frame(0));
    }
    let (mut last, mut answers) = (json!({}), 0);
    while last["frame"] != json!(36) {
        last = receive(&mut socket);
        answers += 1;
    }
    assert_eq!(last["dropped"].as_u64().unwrap(), 30 - answers, "{last}");
    assert!(answers < 25, "{answers} of 30 frames were answered");
}

#[test]
fn live_connections_are_limited_and_end_with_a_reason() {
    let mut server = Server::start(&[
        "--workers",
        "1",
        "--live-connections",
        "2",
        "--live-idle-seconds",
        "1",
        "--shutdown-seconds",
        "20",
    ]);
    let own = server.base.clone();
    let (mut first, second) = (server.live(None).unwrap(), server.live(Some(&own)).unwrap());
    assert_eq!(server.live(None).err(), Some(503));
    assert_eq!(server.live(Some("https://elsewhere.example")).err(), Some(403));
    drop(second);
    assert!(farewell(&mut first).contains("no frame came"));
    server.get("/v1/live").refused(400, "bad_request");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut socket = loop {
        match server.live(None) {
            Ok(socket) => break socket,
            Err(status) => assert!(status == 503 && Instant::now() < deadline, "a place becomes free again"),
        }
    };
    #[cfg(unix)]
    {
        server.terminate();
        assert!(farewell(&mut socket).contains("stopping"));
        server.ends_well(Duration::from_secs(20));
    }
    #[cfg(not(unix))]
    socket.close(None).unwrap();
}

/// A ping used to put off both deadlines, so that one client could hold every place for ever.
#[test]
fn pings_put_off_neither_the_key_nor_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "a-key-of-some-length\n").unwrap();
    let arguments = ["--workers", "1", "--live-idle-seconds", "2", "--api-key-file", file.to_str().unwrap()];
    let server = Server::start(&arguments);
    let within = Duration::from_secs(8);
    assert!(farewell_to_pings(&mut server.live(None).unwrap(), within).contains("API key"));
    let mut socket = server.live(None).unwrap();
    socket.send(tungstenite::Message::text(r#"{"api_key":"a-key-of-some-length"}"#)).unwrap();
    send(&mut socket, &sample());
    assert_eq!(receive(&mut socket)["frame"], 1);
    assert!(farewell_to_pings(&mut socket, within).contains("no frame came"));
}
