//! The embedded detectors as a whole, on the sample photo and on pictures made of it. Tests with the reference networks
//! (facenet-pytorch's weights as ONNX), which are not part of the repository, are skipped if those are absent.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fer_detect::mtcnn::{Mtcnn, MtcnnConfig, MtcnnModel};
use fer_detect::{DetectorModel, DetectorOptions, Face, FaceDetector};
use fer_engine::{Engine, EngineError};
use fer_image::BoundingBox;
use image::RgbImage;

/// A face: x0, y0, x1, y1, then five points.
type Golden = ([f32; 4], [[f32; 2]; 5]);

/// What the embedded detectors find on the sample photo.
const MTCNN: Golden = (
    [177.08807, 56.462936, 273.54196, 184.91605],
    [
        [204.86324, 101.982925],
        [246.5791, 103.999756],
        [224.55157, 135.8703],
        [203.15997, 144.71832],
        [244.13458, 146.35977],
    ],
);
const SINGLE_SHOT: Golden = (
    [176.260, 56.494, 274.829, 182.905],
    [[204.013, 102.029], [247.014, 102.502], [225.794, 135.003], [203.529, 143.326], [246.417, 143.854]],
);

/// What facenet-pytorch 2.6.0 finds there (`min_face_size=20`).
const FACENET: Golden = (
    [181.051, 62.156, 267.747, 172.050],
    [[205.011, 101.727], [246.763, 103.714], [224.671, 128.965], [201.716, 139.246], [245.265, 141.857]],
);

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The embedded detectors, and what each finds on the sample photo.
fn embedded() -> [(DetectorModel, Golden); 2] {
    let mtcnn = DetectorModel::select(Some(Path::new(DetectorModel::MTCNN))).unwrap();
    [(DetectorModel::embedded(), SINGLE_SHOT), (mtcnn, MTCNN)]
}

fn open(model: &DetectorModel, options: &DetectorOptions) -> Box<dyn FaceDetector> {
    model.detector(&Engine::tract(), options).unwrap()
}

/// Returns the reference networks' folder if it is there.
fn reference() -> Option<PathBuf> {
    let folder = std::env::var_os("FER_REFERENCE_DETECTOR")
        .map_or_else(|| workspace("../shared/models/mtcnn-reference"), PathBuf::from);
    if !folder.is_dir() {
        fer_testing::skip("reference", &format!("there are no reference networks in {}", folder.display()));
        return None;
    }
    Some(folder)
}

fn onnx_runtime() -> Option<Engine> {
    fer_testing::onnx_runtime().map(|library| Engine::onnx_runtime(&library).unwrap())
}

fn sample() -> RgbImage {
    image::open(workspace("assets/samples/astronaut.png")).unwrap().into_rgb8()
}

/// Returns a grey picture with the sample's head, resized to `[width, height]` pixels, pasted at each place.
fn pasted(width: u32, height: u32, [head_width, head_height]: [u32; 2], places: &[[i64; 2]]) -> RgbImage {
    let head = image::imageops::crop_imm(&sample(), 140, 20, 170, 190).to_image();
    let head = image::imageops::resize(&head, head_width, head_height, image::imageops::FilterType::Triangle);
    let mut picture = RgbImage::from_pixel(width, height, image::Rgb([118, 121, 125]));
    for &[x, y] in places {
        image::imageops::overlay(&mut picture, &head, x, y);
    }
    picture
}

/// Checks what holds for the faces of every picture.
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
    for (model, golden) in embedded() {
        sees_the_sample(open(&model, &DetectorOptions::default()).as_mut(), golden);
    }
}

#[test]
fn the_sample_photo_on_onnx_runtime() {
    let Some(engine) = onnx_runtime() else { return };
    for (model, golden) in embedded() {
        let mut detector = model.detector(&engine, &DetectorOptions::default()).unwrap();
        sees_the_sample(detector.as_mut(), golden);
    }
    let other = Engine::onnx_runtime(Path::new("nowhere.so"));
    assert!(matches!(other, Err(EngineError::Loaded { .. })), "a process has one library");
}

#[test]
fn the_reference_networks_are_a_drop_in() {
    let Some(folder) = reference() else { return };
    let model = DetectorModel::open(&folder).unwrap();
    for engine in [Some(Engine::tract()), onnx_runtime()].into_iter().flatten() {
        let mut detector = model.detector(&engine, &DetectorOptions::default()).unwrap();
        sees_the_sample(detector.as_mut(), FACENET);
    }
}

fn sees_the_sample(detector: &mut dyn FaceDetector, (expected, landmarks): Golden) {
    let faces = detector.detect(&sample()).unwrap();
    assert_eq!(faces.len(), 1, "{faces:?}");
    let BoundingBox { x, y, width, height } = faces[0].bounding_box;
    let found = [x, y, x + width, y + height];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1.0), "{found:?} is not {expected:?}");
    for (found, golden) in points(&faces[0]).iter().zip(landmarks) {
        let far = (found[0] - golden[0]).hypot(found[1] - golden[1]);
        assert!(far <= 1.5, "{:?} are not {landmarks:?}", points(&faces[0]));
    }
    assert!(faces[0].confidence > 0.8 && detector.take_inference_time() > Duration::ZERO);
}

#[test]
fn faces_of_several_sizes_at_the_border_and_up_to_a_limit() {
    let places = [[10, 20], [230, 60], [440, 20], [60, 260], [450, 250]];
    let group = pasted(640, 480, [170, 190], &places);
    let cut = pasted(400, 300, [170, 190], &[[-48, 60]]);
    let large = image::imageops::crop_imm(&sample(), 181, 62, 87, 110).to_image();
    for (model, (golden, _)) in embedded() {
        let mut found = open(&model, &DetectorOptions::default());
        let faces = found.detect(&group).unwrap();
        check(&faces, &group);
        assert_eq!(faces.len(), places.len());
        for [x, y] in places {
            // The head's face, as on the sample photo, moved along.
            let [x0, y0, x1, y1] = golden;
            let [x, y] = [x as f32 + x0 - 140.0, y as f32 + y0 - 20.0];
            let wanted = BoundingBox { x, y, width: x1 - x0, height: y1 - y0 };
            assert!(
                faces.iter().any(|face| face.bounding_box.iou(&wanted) > 0.8),
                "no face at {wanted:?}: {faces:?}"
            );
        }
        let faces = found.detect(&cut).unwrap();
        check(&faces, &cut);
        assert_eq!(faces.len(), 1, "a face at the border");
        check(&found.detect(&large).unwrap(), &large);
        let mut few = open(&model, &DetectorOptions { max_faces: Some(2), ..DetectorOptions::default() });
        assert_eq!(few.detect(&group).unwrap().len(), 2);
    }
}

#[test]
fn pictures_without_sense_are_answered_in_time() {
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
    for (model, _) in embedded() {
        let mut detector = open(&model, &DetectorOptions::default());
        for (name, picture) in &pictures {
            let started = Instant::now();
            let faces = detector.detect(picture).unwrap();
            check(&faces, picture);
            assert!(faces.is_empty() || *name == "noise", "{name}: {faces:?}");
            assert!(started.elapsed() < Duration::from_secs(30), "{name} took {:?}", started.elapsed());
        }
    }
}

#[test]
fn networks_and_settings_that_do_not_fit_are_refused() {
    let missing = DetectorModel::open(Path::new("nowhere")).err().unwrap().to_string();
    assert!(missing.contains("pnet.onnx") && missing.contains("a detector's folder holds"), "{missing}");
    let engine = Engine::tract();
    let none = DetectorOptions { min_face: Some(0.0), ..DetectorOptions::default() };
    for (model, _) in embedded() {
        let refusal = model.detector(&engine, &none).err().unwrap().to_string();
        assert!(refusal.contains("min_face is 0"), "{refusal}");
    }
    let open = |graphs: [&[u8]; 3]| {
        let config = MtcnnConfig::default();
        Mtcnn::open(&engine, &MtcnnModel::new(config.clone(), graphs), config)
    };
    let refusal = open([b"junk"; 3]).err().unwrap().to_string();
    assert!(refusal.contains("P-Net"), "{refusal}");
    // R-Net where P-Net should be.
    let read = |name: &str| fs::read(workspace("assets/models/mtcnn").join(name)).unwrap();
    let refusal = match open([&read("rnet.onnx"), &read("rnet.onnx"), &read("onet.onnx")]) {
        Ok(mut detector) => detector.detect(&sample()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(refusal.contains("P-Net"), "{refusal}");
}

/// A copy of the embedded cascade's folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["model.json", "pnet.onnx", "rnet.onnx", "onet.onnx"] {
            fs::copy(workspace("assets/models/mtcnn").join(name), folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces text of the manifest.
    fn edited(self, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.path("model.json")).unwrap();
        assert!(text.contains(from), "the manifest has no {from}");
        fs::write(self.path("model.json"), text.replacen(from, to, 1)).unwrap();
        self
    }

    fn open(&self) -> Result<DetectorModel, String> {
        DetectorModel::open(self.0.path()).map_err(|error| error.to_string())
    }

    fn config(&self) -> MtcnnConfig {
        let DetectorModel::Mtcnn(model) = self.open().unwrap() else { panic!("it is an MTCNN") };
        model.config()
    }

    /// Checks that the folder is refused in words that contain all of `wanted`.
    fn is_refused(&self, wanted: &[&str]) {
        let refusal = self.open().err().expect("a refusal");
        assert!(wanted.iter().all(|word| refusal.contains(word)), "{wanted:?} are not in: {refusal}");
    }
}

#[test]
fn a_folder_runs_with_the_settings_of_its_manifest() {
    assert_eq!(Folder::new().config(), MtcnnConfig::default());
    let other = Folder::new().edited("\"min_face\": 20.0", "\"min_face\": 400.0").edited("127.5", "120.0");
    assert_eq!((other.config().min_face, other.config().normalization.mean), (400.0, 120.0));
    let found = |folder: &Folder, options: &DetectorOptions| {
        folder.open().unwrap().detector(&Engine::tract(), options).unwrap().detect(&sample()).unwrap().len()
    };
    let large = Folder::new().edited("\"min_face\": 20.0", "\"min_face\": 400.0");
    assert_eq!(found(&large, &DetectorOptions::default()), 0, "the manifest's smallest face");
    let small = DetectorOptions { min_face: Some(20.0), ..DetectorOptions::default() };
    assert_eq!(found(&large, &small), 1, "the caller's choice goes before the manifest's");
}

#[test]
fn three_bare_files_are_facenet_pytorchs() {
    let folder = Folder::new();
    fs::remove_file(folder.path("model.json")).unwrap();
    assert_eq!(folder.config(), MtcnnConfig { thresholds: [0.6, 0.7, 0.7], ..MtcnnConfig::default() });
    fs::remove_file(folder.path("onet.onnx")).unwrap();
    folder.is_refused(&["onet.onnx", "a detector's folder holds"]);
}

#[test]
fn manifests_that_do_not_fit_are_refused() {
    Folder::new().edited("\"mtcnn\"", "\"yunet\"").is_refused(&["model.json", "'yunet' is unknown", "mtcnn"]);
    Folder::new().edited("\"kind\"", "\"sort\"").is_refused(&["model.json", "missing field `kind`"]);
    Folder::new().edited("\"min_face\"", "\"minimum_face\"").is_refused(&[
        "model.json",
        "unknown field `minimum_face`",
        "line",
    ]);
    Folder::new().edited("0.4", "1.4").is_refused(&["model.json", "a threshold is 1.4; expected 0 to 1"]);
    Folder::new().edited("128.0", "0.0").is_refused(&["model.json", "positive scale"]);
    Folder::new().edited("rnet.onnx", "net.onnx").is_refused(&["net.onnx", "cannot read"]);
    Folder::new()
        .edited("rnet.onnx", "../rnet.onnx")
        .is_refused(&["../rnet.onnx", "not in the manifest's folder"]);
    let swapped = Folder::new();
    fs::copy(swapped.path("pnet.onnx"), swapped.path("rnet.onnx")).unwrap();
    swapped.is_refused(&["rnet.onnx", "SHA-256", "model.json lists d9370446", "restore the file"]);
}
