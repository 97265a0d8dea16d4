//! From a photo to the mood of its faces.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Cursor;
use std::path::{Path, PathBuf};

use fer_detect::DetectorModel;
use fer_engine::{Engine, Precision};
use fer_image::BoundingBox;
use fer_model::{Bundle, Emotion};
use fer_vision::{AnalyzeError, Analyzer, AnalyzerConfig, annotate};
use image::{ImageFormat, RgbImage};

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A function that builds analyzers, each with its own sessions.
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
    let BoundingBox { x, y, width, height } = small.faces[0].face.bounding_box;
    let expected = BoundingBox { x: 4.0 * x, y: 4.0 * y, width: 4.0 * width, height: 4.0 * height };
    assert!(large.faces[0].face.bounding_box.iou(&expected) > 0.85, "{small:?} {large:?}");
    let difference = |emotion| small.faces[0].emotions.get(emotion) - large.faces[0].emotions.get(emotion);
    assert!(Emotion::ALL.into_iter().all(|emotion| difference(emotion).abs() < 0.2), "{small:?} {large:?}");
}

/// Expressions and places are nearly the same where the networks are computed in 8-bit integers.
#[test]
fn in_eight_bits_the_answers_stay() {
    let Some(library) = fer_testing::onnx_runtime() else { return };
    let engine = Engine::onnx_runtime(&library).unwrap();
    if engine.precision() != Precision::Int8 {
        return fer_testing::skip("int8", "this processor has no instructions for products of bytes");
    }
    let bundle = Bundle::open(&workspace("assets/models/emotion")).unwrap();
    let analysis = |engine: &Engine| {
        let model = DetectorModel::embedded();
        let mut analyzer = Analyzer::new(engine, &model, &bundle, AnalyzerConfig::default()).unwrap();
        analyzer.analyze_pixels(&sample()).unwrap()
    };
    let (exact, bytes) = (analysis(&engine.clone().in_single_precision()), analysis(&engine));
    let ([exact], [bytes]) = (exact.faces.as_slice(), bytes.faces.as_slice()) else {
        panic!("one face each: {exact:?} {bytes:?}");
    };
    let overlap = exact.face.bounding_box.iou(&bytes.face.bounding_box);
    let difference = |emotion| (exact.emotions.get(emotion) - bytes.emotions.get(emotion)).abs();
    let greatest = Emotion::ALL.into_iter().map(difference).fold(0.0, f32::max);
    assert!(overlap > 0.95 && overlap < 1.0, "the detector's ranges are missing, or it is wrong: {overlap}");
    assert!(
        greatest > 0.0 && greatest < 0.05,
        "the network's ranges are missing, or it is wrong: {greatest}"
    );
}

/// Callers that draw into the photo need its pixels, and the time that decoding took.
#[test]
fn the_decoded_photo_comes_with_its_analysis_and_the_time_of_decoding() {
    let photo = encoded(&sample(), ImageFormat::Png);
    let (pixels, analysis) = factory()().unwrap().analyze_while(&photo, &|| true).unwrap();
    assert_eq!(pixels, sample());
    let timing = analysis.timing_ms;
    assert!(timing.decode > 0.0 && timing.decode + timing.detect <= timing.total, "{timing:?}");
}

#[test]
fn an_analysis_that_nobody_needs_stops_before_the_next_stage() {
    let photo = encoded(&sample(), ImageFormat::Png);
    let mut analyzer = factory()().unwrap();
    for stages in 0..2 {
        let asked = std::cell::Cell::new(0);
        let needed = || asked.replace(asked.get() + 1) < stages;
        let stopped = analyzer.analyze_while(&photo, &needed);
        assert!(matches!(stopped, Err(AnalyzeError::Cancelled)), "{stages}");
        assert_eq!(asked.get(), stages + 1);
    }
    assert_eq!(analyzer.analyze(&photo).unwrap().faces.len(), 1, "it goes on with the next photo");
}

#[test]
fn no_face_is_no_error() {
    let build = factory();
    let grey = RgbImage::from_pixel(320, 240, image::Rgb([90; 3]));
    let analysis = build().unwrap().analyze(&encoded(&grey, ImageFormat::Jpeg)).unwrap();
    assert!(analysis.faces.is_empty() && analysis.mood.is_none());
}

#[test]
fn boxes_and_labels_are_drawn_into_the_photo() {
    let build = factory();
    let mut analyzer = build().unwrap();
    let mut photo = sample();
    let analysis = analyzer.analyze_pixels(&photo).unwrap();
    annotate(&mut photo, &analysis);
    let BoundingBox { x, y, width, height } = analysis.faces[0].face.bounding_box;
    let middle = (x + 0.5 * width) as u32;
    let changed = |x: u32, y: u32| photo.get_pixel(x, y) != sample().get_pixel(x, y);
    assert_eq!(photo.get_pixel(middle, y.round() as u32).0, [255; 3], "the box's upper edge");
    assert_eq!(photo.get_pixel(middle, (y + height).round() as u32 - 1).0, [255; 3]);
    assert!(!changed(middle, (y + 0.5 * height) as u32), "the face itself stays");
    let tag = (0..14).map(|up| (x as u32 + 2, y as u32 - 4 - up));
    assert_eq!(tag.filter(|&(x, y)| changed(x, y)).count(), 14, "a label above it");
    // A face that reaches beyond the border of a very small photo.
    let mut tiny = RgbImage::new(9, 7);
    annotate(&mut tiny, &analysis);
    let mut moved = analysis.clone();
    moved.faces[0].face.bounding_box = BoundingBox { x: -5.0, y: -9.0, width: 30.0, height: 12.0 };
    annotate(&mut tiny, &moved);
    assert!(tiny.pixels().all(|pixel| pixel.0 != [0; 3]), "the label covers it");
}
