//! The whole cascade, with the networks that are part of the program. Tests with the reference networks
//! (facenet-pytorch's weights as ONNX), which lie outside of the project, say so and pass where those are absent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fer_detect::{Detector, DetectorConfig, DetectorModel, Face};
use fer_engine::{Engine, EngineError};
use fer_image::BoundingBox;
use image::RgbImage;

/// What the embedded networks find on the sample photo: x0, y0, x1, y1, then five points.
const GOLDEN: [f32; 4] = [177.08807, 56.462936, 273.54196, 184.91605];
const GOLDEN_POINTS: [[f32; 2]; 5] = [
    [204.86324, 101.982925],
    [246.5791, 103.999756],
    [224.55157, 135.8703],
    [203.15997, 144.71832],
    [244.13458, 146.35977],
];

/// What facenet-pytorch 2.6.0 finds there (`min_face_size=20`).
const FACENET: [f32; 4] = [181.051, 62.156, 267.747, 172.050];
const FACENET_POINTS: [[f32; 2]; 5] =
    [[205.011, 101.727], [246.763, 103.714], [224.671, 128.965], [201.716, 139.246], [245.265, 141.857]];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn detector(config: DetectorConfig) -> Detector {
    Detector::new(&Engine::tract(), config).unwrap()
}

/// The reference networks' folder, if it is there.
fn reference() -> Option<PathBuf> {
    let folder = workspace("../shared/models/mtcnn-reference");
    if !folder.is_dir() {
        println!("skipped: there are no reference networks in {}", folder.display());
        return None;
    }
    Some(folder)
}

fn onnx_runtime() -> Option<Engine> {
    let downloaded = workspace("assets/runtime/libonnxruntime.so");
    let library = std::env::var_os("ORT_DYLIB_PATH").map_or(downloaded, PathBuf::from);
    if library.is_file() {
        return Some(Engine::onnx_runtime(&library).unwrap());
    }
    println!(
        "skipped: no ONNX Runtime at {}; `cargo xtask download-runtime` puts it there",
        library.display()
    );
    None
}

fn sample() -> RgbImage {
    image::open(workspace("assets/samples/astronaut.png")).unwrap().into_rgb8()
}

/// The sample's head, `[width, height]` pixels large, pasted on grey at each place.
fn pasted(width: u32, height: u32, [head_width, head_height]: [u32; 2], places: &[[i64; 2]]) -> RgbImage {
    let head = image::imageops::crop_imm(&sample(), 140, 20, 170, 190).to_image();
    let head = image::imageops::resize(&head, head_width, head_height, image::imageops::FilterType::Triangle);
    let mut picture = RgbImage::from_pixel(width, height, image::Rgb([118, 121, 125]));
    for &[x, y] in places {
        image::imageops::overlay(&mut picture, &head, x, y);
    }
    picture
}

/// What holds for every answer on every picture.
fn check(faces: &[Face], image: &RgbImage) {
    let (width, height) = (image.width() as f32, image.height() as f32);
    for face in faces {
        let BoundingBox { x, y, width: w, height: h } = face.bounding_box;
        assert!(x >= 0.0 && y >= 0.0 && w > 0.0 && h > 0.0, "{face:?}");
        assert!(x + w <= width + 1e-2 && y + h <= height + 1e-2, "{face:?} in {width}×{height}");
        assert!((0.0..=1.0).contains(&face.confidence), "{face:?}");
        assert!(points(face).iter().flatten().all(|value| value.is_finite()), "{face:?}");
    }
    assert!(faces.is_sorted_by(|a, b| a.confidence >= b.confidence), "not the most confident first");
}

fn points(face: &Face) -> [[f32; 2]; 5] {
    let points = &face.landmarks;
    [points.left_eye, points.right_eye, points.nose, points.mouth_left, points.mouth_right]
}

#[test]
fn the_sample_photo() {
    sees_the_sample(&mut detector(DetectorConfig::default()), GOLDEN, GOLDEN_POINTS);
}

#[test]
fn the_sample_photo_on_onnx_runtime() {
    let Some(engine) = onnx_runtime() else { return };
    let mut detector = Detector::new(&engine, DetectorConfig::default()).unwrap();
    sees_the_sample(&mut detector, GOLDEN, GOLDEN_POINTS);
    let other = Engine::onnx_runtime(Path::new("nowhere.so"));
    assert!(matches!(other, Err(EngineError::Loaded { .. })), "a process has one library");
}

#[test]
fn the_reference_networks_are_a_drop_in() {
    let Some(folder) = reference() else { return };
    let model = DetectorModel::open(&folder).unwrap();
    for engine in [Some(Engine::tract()), onnx_runtime()].into_iter().flatten() {
        // facenet-pytorch's.
        let config = DetectorConfig { thresholds: [0.6, 0.7, 0.7], ..DetectorConfig::default() };
        let mut detector = Detector::with_model(&engine, &model, config).unwrap();
        sees_the_sample(&mut detector, FACENET, FACENET_POINTS);
    }
}

fn sees_the_sample(detector: &mut Detector, expected: [f32; 4], landmarks: [[f32; 2]; 5]) {
    let faces = detector.detect(&sample()).unwrap();
    assert_eq!(faces.len(), 1, "{faces:?}");
    let BoundingBox { x, y, width, height } = faces[0].bounding_box;
    let found = [x, y, x + width, y + height];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1.0), "{found:?} is not {expected:?}");
    for (found, golden) in points(&faces[0]).iter().zip(landmarks) {
        let far = (found[0] - golden[0]).hypot(found[1] - golden[1]);
        assert!(far <= 1.5, "{:?} are not {landmarks:?}", points(&faces[0]));
    }
    assert!(faces[0].confidence > 0.99 && detector.take_session_time() > Duration::ZERO);
}

#[test]
fn faces_of_several_sizes_at_the_border_and_up_to_a_limit() {
    let mut found = detector(DetectorConfig::default());
    let places = [[10, 20], [230, 60], [440, 20], [60, 260], [450, 250]];
    let group = pasted(640, 480, [170, 190], &places);
    let faces = found.detect(&group).unwrap();
    check(&faces, &group);
    assert_eq!(faces.len(), places.len());
    for [x, y] in places {
        // The head's face, as on the sample photo, moved along.
        let [x0, y0, x1, y1] = GOLDEN;
        let [x, y] = [x as f32 + x0 - 140.0, y as f32 + y0 - 20.0];
        let wanted = BoundingBox { x, y, width: x1 - x0, height: y1 - y0 };
        assert!(
            faces.iter().any(|face| face.bounding_box.iou(&wanted) > 0.8),
            "no face at {wanted:?}: {faces:?}"
        );
    }
    let cut = pasted(400, 300, [170, 190], &[[-48, 60]]);
    let faces = found.detect(&cut).unwrap();
    check(&faces, &cut);
    assert_eq!(faces.len(), 1, "a face at the border");
    let large = image::imageops::crop_imm(&sample(), 181, 62, 87, 110).to_image();
    check(&found.detect(&large).unwrap(), &large);
    let mut few = detector(DetectorConfig { max_faces: 2, ..DetectorConfig::default() });
    assert_eq!(few.detect(&group).unwrap().len(), 2);
    let mut large_only = detector(DetectorConfig { min_face: 400.0, ..DetectorConfig::default() });
    assert_eq!(large_only.detect(&group).unwrap().len(), 0);
}

#[test]
fn pictures_without_sense_are_answered_in_time() {
    let mut detector = detector(DetectorConfig::default());
    let mut state = 1_u32;
    let mut noise = |width, height| {
        RgbImage::from_fn(width, height, |_, _| {
            image::Rgb(std::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            }))
        })
    };
    let flat = |width, height, value| RgbImage::from_pixel(width, height, image::Rgb([value; 3]));
    let pictures = [
        ("nothing", RgbImage::new(0, 0)),
        ("one pixel", flat(1, 1, 200)),
        ("smaller than a window", noise(11, 300)),
        ("a line", noise(5000, 1)),
        ("a panorama", flat(20_000, 200, 90)),
        ("black", flat(640, 480, 0)),
        ("white", flat(640, 480, 255)),
        ("noise", noise(640, 480)),
    ];
    for (name, picture) in pictures {
        let started = Instant::now();
        let faces = detector.detect(&picture).unwrap();
        check(&faces, &picture);
        assert!(faces.is_empty() || name == "noise", "{name}: {faces:?}");
        assert!(started.elapsed() < Duration::from_secs(30), "{name} took {:?}", started.elapsed());
    }
}

#[test]
fn networks_and_settings_that_do_not_fit_are_refused() {
    let missing = DetectorModel::open(Path::new("nowhere")).err().unwrap().to_string();
    assert!(missing.contains("pnet.onnx") && missing.contains("a detector's folder holds"), "{missing}");
    let engine = Engine::tract();
    let small = DetectorConfig { min_face: 3.0, ..DetectorConfig::default() };
    let refusal = Detector::new(&engine, small).err().unwrap().to_string();
    assert!(refusal.contains("min_face is 3"), "{refusal}");
    let junk = DetectorModel::from_bytes(b"junk", b"junk", b"junk");
    let refusal = Detector::with_model(&engine, &junk, DetectorConfig::default()).err().unwrap().to_string();
    assert!(refusal.contains("P-Net"), "{refusal}");
    // R-Net where P-Net should be.
    let read = |name: &str| std::fs::read(workspace("assets/models/mtcnn").join(name)).unwrap();
    let swapped = DetectorModel::from_bytes(&read("rnet.onnx"), &read("rnet.onnx"), &read("onet.onnx"));
    let refusal = match Detector::with_model(&engine, &swapped, DetectorConfig::default()) {
        Ok(mut detector) => detector.detect(&sample()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refusal.contains("P-Net"), "{refusal}");
}
