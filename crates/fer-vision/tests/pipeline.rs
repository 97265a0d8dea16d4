//! Photo to mood, and the pool of workers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fer_detect::{Bounds, DetectorModel};
use fer_engine::Engine;
use fer_model::{Bundle, Emotion};
use fer_vision::{Analysis, AnalyzeError, Analyzer, AnalyzerConfig, Job, JobError, QueueFull, Workers};
use image::{ImageFormat, RgbImage};

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What builds analyzers, each with its own sessions.
fn factory() -> impl Fn() -> Result<Analyzer, AnalyzeError> + Clone + Send + Sync + 'static {
    let bundle = Bundle::open(&workspace("assets/models/emotion")).unwrap();
    move || Analyzer::new(&Engine::tract(), &DetectorModel::embedded(), &bundle, AnalyzerConfig::default())
}

fn sample() -> RgbImage {
    image::open(workspace("assets/samples/astronaut.png")).unwrap().into_rgb8()
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn one_face_and_its_mood() {
    let build = factory();
    let analysis = build().unwrap().analyze(&encoded(&sample(), ImageFormat::Png)).unwrap();
    assert_eq!((analysis.image.width, analysis.image.height), (512, 512));
    assert_eq!(analysis.faces.len(), 1);
    assert_eq!(analysis.faces[0].emotions.dominant(), Emotion::Happy, "{analysis:?}");
    let mood = analysis.mood.unwrap();
    assert_eq!((mood.faces, mood.dominant_emotion), (1, Emotion::Happy));
    let timing = analysis.timing_ms;
    assert!(timing.sessions > 0.0 && timing.sessions <= timing.total, "{timing:?}");
    assert!(timing.decode + timing.detect + timing.classify <= timing.total + 1.0, "{timing:?}");
}

#[test]
fn large_photos_are_searched_small_and_cropped_from_the_full_picture() {
    let build = factory();
    let mut analyzer = build().unwrap();
    let small = analyzer.analyze_pixels(&sample()).unwrap();
    let large = image::imageops::resize(&sample(), 2048, 2048, image::imageops::FilterType::CatmullRom);
    let large = analyzer.analyze_pixels(&large).unwrap();
    assert_eq!((large.image.width, large.faces.len()), (2048, 1));
    let Bounds { x, y, width, height } = small.faces[0].face.bounds;
    let expected = Bounds { x: 4.0 * x, y: 4.0 * y, width: 4.0 * width, height: 4.0 * height };
    assert!(large.faces[0].face.bounds.iou(&expected) > 0.85, "{small:?} {large:?}");
    let difference = |emotion| small.faces[0].emotions.get(emotion) - large.faces[0].emotions.get(emotion);
    assert!(Emotion::ALL.into_iter().all(|emotion| difference(emotion).abs() < 0.2), "{small:?} {large:?}");
}

#[test]
fn no_face_is_no_error() {
    let build = factory();
    let grey = RgbImage::from_pixel(320, 240, image::Rgb([90; 3]));
    let analysis = build().unwrap().analyze(&encoded(&grey, ImageFormat::Jpeg)).unwrap();
    assert!(analysis.faces.is_empty() && analysis.mood.is_none());
}

#[test]
fn a_worker_that_panics_is_replaced_and_counted() {
    let build = factory();
    let workers = Workers::start(1, 4, build).unwrap();
    let photo = encoded(&sample(), ImageFormat::Png);
    let answer = |job: Job| -> Result<Analysis, JobError> {
        let (send, receive) = mpsc::channel();
        workers.submit(job, Box::new(move |result| send.send(result).unwrap())).unwrap();
        receive.recv_timeout(Duration::from_secs(60)).unwrap()
    };
    for round in 1..=2 {
        let panicked = answer(Box::new(|_| panic!("a bug, planted by this test")));
        assert!(matches!(panicked, Err(JobError::Panicked)), "{panicked:?}");
        assert_eq!(workers.panics(), round);
        let photo = photo.clone();
        let analysis = answer(Box::new(move |analyzer| analyzer.analyze(&photo))).unwrap();
        assert_eq!(analysis.faces.len(), 1, "the replaced worker works");
    }
}

#[test]
fn a_full_queue_is_refused_at_once_and_what_is_queued_is_finished() {
    let build = factory();
    let workers = Workers::start(1, 2, build).unwrap();
    let grey = || RgbImage::from_pixel(64, 64, image::Rgb([90; 3]));
    let (go, gate) = mpsc::channel::<()>();
    let (started, starts) = mpsc::channel();
    let (send, receive) = mpsc::channel();
    let answer = || {
        let send = send.clone();
        Box::new(move |result: Result<Analysis, JobError>| send.send(result.is_ok()).unwrap())
    };
    let held: Job = Box::new(move |analyzer| {
        started.send(()).unwrap();
        gate.recv().unwrap();
        analyzer.analyze_pixels(&grey())
    });
    workers.submit(held, answer()).unwrap();
    starts.recv_timeout(Duration::from_secs(60)).unwrap();
    let job = move || -> Job { Box::new(move |analyzer| analyzer.analyze_pixels(&grey())) };
    workers.submit(job(), answer()).unwrap();
    workers.submit(job(), answer()).unwrap();
    assert_eq!(workers.submit(job(), answer()), Err(QueueFull { waiting: 2 }));
    assert_eq!(workers.waiting(), 2);
    go.send(()).unwrap();
    drop(workers);
    assert_eq!(receive.try_iter().collect::<Vec<_>>(), [true; 3]);
}
