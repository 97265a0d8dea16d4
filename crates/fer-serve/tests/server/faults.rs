//! Faults and overload: the server must not hang, and must not lose what it has accepted.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use image::{DynamicImage, ImageFormat, RgbImage};

use crate::harness::*;

#[test]
#[cfg(target_os = "linux")]
fn a_bomb_costs_no_more_than_a_photo() {
    let server = Server::start(&["--workers", "1"]);
    assert_eq!(server.analyze(&encoded(RgbImage::new(1600, 1200), ImageFormat::Png)).status, 200);
    let photo = server.peak_memory();
    let bomb = encoded(RgbImage::new(8200, 8200), ImageFormat::Png);
    assert!(bomb.len() < 1 << 20, "200 MB in {} bytes", bomb.len());
    server.analyze(&bomb).refused(413, "too_many_pixels");
    let deep = encoded(DynamicImage::new_rgba16(5000, 5000), ImageFormat::Png);
    server.analyze(&deep).refused(413, "too_many_pixels");
    let grown = server.peak_memory() - photo;
    assert!(grown < 16 << 20, "the bombs cost {grown} bytes");
}

#[test]
fn a_full_queue_answers_503_and_recovers() {
    let server = Server::start(&["--workers", "1", "--queue", "1"]);
    let photo = encoded(group(), ImageFormat::Png);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12).map(|_| scope.spawn(|| server.analyze(&photo))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let (served, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty(), "{} served, {} refused", served.len(), refused.len());
    for answer in refused {
        answer.refused(503, "busy");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(server.analyze(&photo).status, 200);
}

/// All accepted photos are answered, whether in work or waiting. No photo is accepted afterwards.
#[cfg(unix)]
#[test]
fn told_to_stop_it_finishes_what_it_has() {
    let mut server = Server::start(&["--workers", "1", "--shutdown-seconds", "60"]);
    assert_eq!(server.get("/readyz").json["status"], "ready");
    let photo = encoded(group(), ImageFormat::Png);
    let batch = fields(&[("image", &photo[..]); 4]);
    std::thread::scope(|scope| {
        let mut clients = vec![scope.spawn(|| server.post_to("/v1/batch", FORM, &batch))];
        clients.extend((0..8).map(|_| scope.spawn(|| server.analyze(&photo))));
        // All are accepted. The batch submits one image at a time, and one of the nine photos is in work.
        let served =
            || server.metric_or_zero("fer_http_requests_total{route=\"/v1/analyze\",status=\"200\"}");
        let deadline = Instant::now() + Duration::from_secs(20);
        while server.metric("fer_queue_waiting") + served() < 8.0 {
            assert!(Instant::now() < deadline, "the photos do not come in");
        }
        server.terminate();
        let answers: Vec<Answer> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert_eq!(answers[0].json["results"].as_array().unwrap().len(), 4);
    });
    server.ends_well(Duration::from_secs(60));
}

#[test]
fn clients_that_go_away_in_the_middle_cost_nothing() {
    let server = Server::start(&["--workers", "1", "--queue", "2"]);
    let photo = sample();
    for part in [0, 1, photo.len() / 2, photo.len() - 1] {
        for _ in 0..8 {
            let mut stream = server.connect();
            stream.write_all(head(photo.len()).as_bytes()).unwrap();
            stream.write_all(&photo[..part]).unwrap();
        }
    }
    // Complete requests, whose clients do not wait for the answer.
    let mut stream = server.connect();
    stream.write_all(head(photo.len()).as_bytes()).unwrap();
    stream.write_all(&photo).unwrap();
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.analyze(&photo).status != 200 {
        assert!(Instant::now() < deadline, "a place in the queue stays taken");
    }
    assert_eq!((server.metric("fer_queue_waiting"), server.metric("fer_worker_panics")), (0.0, 0.0));
}

/// Slow-loris attacks: the headers or the body arrive byte by byte.
#[test]
fn who_sends_slowly_is_cut_off_and_others_do_not_wait() {
    let server = Server::start(&["--workers", "1", "--body-seconds", "2"]);
    let photo = sample();
    std::thread::scope(|scope| {
        let slow = |first: String| {
            let mut stream = server.connect();
            let started = Instant::now();
            stream.write_all(first.as_bytes()).unwrap();
            let mut reader = stream.try_clone().unwrap();
            let reading = scope.spawn(move || {
                let mut text = String::new();
                // The server may also reset the connection.
                let _ = reader.read_to_string(&mut text);
                (text, started.elapsed())
            });
            while !reading.is_finished() && started.elapsed() < Duration::from_secs(20) {
                let _ = stream.write_all(b"x");
                std::thread::sleep(Duration::from_millis(200));
            }
            reading.join().unwrap()
        };
        let body = scope.spawn(move || slow(head(1000)));
        let headers = scope.spawn(move || slow("POST /v1/analyze HTTP/1.1\r\nX-Slow: ".to_owned()));
        let quick = Instant::now();
        assert_eq!(server.analyze(&photo).status, 200);
        assert!(quick.elapsed() < Duration::from_secs(2), "{:?}", quick.elapsed());
        let (answer, time) = body.join().unwrap();
        Answer::of_text(&answer).refused(408, "too_slow");
        assert!(time < Duration::from_secs(6), "{time:?}");
        let (answer, time) = headers.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 408") && time < Duration::from_secs(12), "{time:?} {answer}");
    });
}

/// After a client closes its writing half or the whole connection, its place is free again well before the idle time ends.
#[test]
fn half_closed_sockets_give_their_place_back() {
    let server = Server::start(&["--workers", "1", "--live-connections", "1", "--live-idle-seconds", "60"]);
    for how in [Shutdown::Write, Shutdown::Both] {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut socket = loop {
            match server.live(None) {
                Ok(socket) => break socket,
                Err(status) => assert!(status == 503 && Instant::now() < deadline, "the place stays taken"),
            }
        };
        send(&mut socket, &sample());
        socket.get_ref().shutdown(how).unwrap();
        if how == Shutdown::Write {
            let mut rest = Vec::new();
            socket.get_mut().read_to_end(&mut rest).unwrap();
        }
    }
    assert_eq!(server.analyze(&sample()).status, 200);
}

/// Bodies used to be read without any bound on their sum.
#[test]
fn requests_are_refused_before_their_bodies_fill_the_memory() {
    let limits = ["--max-body", "2000000", "--max-batch", "2000000", "--max-inflight-bytes", "2700000"];
    let server = Server::start(&[&["--workers", "1"], &limits[..]].concat());
    let photo = sample();
    let large = [&photo[..], &vec![0; 1_900_000 - photo.len()]].concat();
    let mut slow = server.connect();
    slow.write_all(head(large.len()).as_bytes()).unwrap();
    slow.write_all(&large[..1_500_000]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.metric("fer_inflight_bytes") < 1_500_000.0 {
        assert!(Instant::now() < deadline, "the first body is not counted");
    }
    // By its declared length, before it is read.
    let mut declared = server.connect();
    declared.write_all(head(large.len()).as_bytes()).unwrap();
    let mut answer = [0; 4096];
    let read = declared.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    Answer::of_text(&answer).refused(503, "busy");
    assert!(answer.to_ascii_lowercase().contains("retry-after: 1\r\n"), "{answer}");
    // Without a declared length, as soon as it exceeds the bound.
    let mut chunked = server.connect();
    let start = "POST /v1/analyze HTTP/1.1\r\nHost: fer\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunked.write_all(start.as_bytes()).unwrap();
    // The server may stop reading in the middle.
    let _ = chunked
        .write_all(format!("{:x}\r\n", large.len()).as_bytes())
        .and_then(|()| chunked.write_all(&large));
    let mut text = String::new();
    let _ = chunked.read_to_string(&mut text);
    Answer::of_text(&text).refused(503, "busy");
    assert_eq!(server.analyze(&photo).status, 200, "small photos still fit");
    drop(slow);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.metric("fer_inflight_bytes") > 0.0 {
        assert!(Instant::now() < deadline, "the bytes of a client that left stay reserved");
    }
    assert_eq!(server.analyze(&large).status, 200);
}

/// Such photos used to be analysed although nobody waited for the result.
#[test]
fn photos_of_clients_that_left_are_not_analysed() {
    let server = Server::start(&["--workers", "1"]);
    let photo = encoded(group(), ImageFormat::Png);
    let request = [head(photo.len()).as_bytes(), &photo[..]].concat();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&request).unwrap();
            stream
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.metric("fer_queue_waiting") < 5.0 {
        assert!(Instant::now() < deadline, "the photos do not come in");
    }
    drop(clients);
    while server.metric("fer_queue_waiting") > 0.0 {
        assert!(Instant::now() < deadline, "the queue is not emptied");
    }
    assert!(server.metric("fer_skipped_jobs") >= 3.0, "{}", server.metric("fer_skipped_jobs"));
    assert_eq!(server.analyze(&photo).status, 200);
    assert_eq!(server.metric("fer_inflight_bytes"), 0.0);
}
