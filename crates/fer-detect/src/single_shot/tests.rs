//! The detector over networks that are made by hand.

use fer_model::onnx;
use fer_model::spec::Architecture;
use fer_model::weights::Weights;

use super::*;
use crate::{DetectorModel, DetectorOptions};

/// Means over 8×8, 16×16 and 32×32 pixels, from which each head makes a cell's values.
const MEANS: &str = r#"{
    "input": {"channels": 3, "height": 32, "width": 32},
    "layers": [
        {"kind": "conv", "channels": 1, "kernel": 8, "stride": 8, "padding": "valid"},
        {"kind": "tap", "name": "eight"},
        {"kind": "avg_pool", "size": 2},
        {"kind": "tap", "name": "sixteen"},
        {"kind": "avg_pool", "size": 2}
    ],
    "heads": [
        {"output": "stride8", "from": "eight", "layers": [{"kind": "conv", "channels": 15, "kernel": 1}]},
        {"output": "stride16", "from": "sixteen", "layers": [{"kind": "conv", "channels": 15, "kernel": 1}]},
        {"output": "stride32", "layers": [{"kind": "conv", "channels": 15, "kernel": 1}]}
    ]
}"#;

/// A network that takes every white square of a stride's side, aligned to its cells, for a face: the box is the cell, and the
/// nose its centre.
fn squares() -> SingleShotModel {
    let architecture: Architecture = serde_json::from_str(MEANS).unwrap();
    let random = Weights::init(&architecture, 1);
    let arrays = random.iter().map(|(name, array)| {
        let mut array = array.clone();
        let is_mean = array.shape == [1, 3, 8, 8];
        array.values.fill(if is_mean { 1.0 / 192.0 } else { 0.0 });
        // White is 1 and grey 0: the score's logit is 20 on white, and -10 on a cell that is half white.
        match array.shape.as_slice() {
            [15, ..] if name.ends_with("weight") => array.values[0] = 60.0,
            [15] => {
                array.values[0] = -40.0;
                // The left eye is a quarter of a stride to the left and above, the right one to the right.
                array.values[POINTS..POINTS + 4].copy_from_slice(&[-0.25, -0.25, 0.25, -0.25]);
            }
            _ => {}
        }
        (name.to_owned(), array)
    });
    let weights = Weights::new(&architecture, arrays.collect()).unwrap();
    let normalization = fer_image::area::Normalization { mean: 127.0, scale: 128.0 };
    let config = SingleShotConfig { normalization, ..SingleShotConfig::default() };
    SingleShotModel::new(config, onnx::graph("squares", &architecture, &weights), None)
}

/// A refinement network that gives every box the score 0.64, moves it to the right by a quarter of its side, and puts all
/// points into its middle.
fn moving() -> Vec<u8> {
    let text = r#"{
        "input": {"channels": 3, "height": 48, "width": 48},
        "layers": [{"kind": "flatten"}],
        "heads": [
            {"output": "prob", "softmax": true, "layers": [{"kind": "dense", "units": 2}]},
            {"output": "reg", "layers": [{"kind": "dense", "units": 4}]},
            {"output": "lmk", "layers": [{"kind": "dense", "units": 10}]}
        ]
    }"#;
    let architecture: Architecture = serde_json::from_str(text).unwrap();
    let random = Weights::init(&architecture, 1);
    let arrays = random.iter().map(|(name, array)| {
        let mut array = array.clone();
        array.values.fill(0.0);
        match array.shape.as_slice() {
            [2] => array.values[1] = (0.64_f32 / 0.36).ln(),
            [4] => array.values.copy_from_slice(&[0.25, 0.0, 0.25, 0.0]),
            [10] => array.values.fill(0.5),
            _ => {}
        }
        (name.to_owned(), array)
    });
    let weights = Weights::new(&architecture, arrays.collect()).unwrap();
    onnx::graph("moving", &architecture, &weights)
}

/// A grey picture with white squares.
fn picture(width: u32, height: u32, squares: &[[u32; 3]]) -> RgbImage {
    let mut image = RgbImage::from_pixel(width, height, image::Rgb([127; 3]));
    for &[x0, y0, side] in squares {
        for (x, y) in (x0..x0 + side).flat_map(|x| (y0..y0 + side).map(move |y| (x, y))) {
            image.put_pixel(x, y, image::Rgb([255; 3]));
        }
    }
    image
}

fn detector(options: &DetectorOptions) -> Box<dyn FaceDetector> {
    DetectorModel::SingleShot(squares()).detector(&Engine::tract(), options).unwrap()
}

#[test]
fn faces_of_every_stride_in_pictures_of_any_size() {
    let mut found = detector(&DetectorOptions::default());
    // Sides that are no multiples of 32, twice each, because the second search uses the memory of the first.
    for (width, height) in [(150, 90), (70, 131), (150, 90)] {
        let faces = found.detect(&picture(width, height, &[[32, 64, 8], [48, 16, 16]])).unwrap();
        let boxes: Vec<[f32; 4]> = faces
            .iter()
            .map(|face| {
                let BoundingBox { x, y, width, height } = face.bounding_box;
                [x, y, width, height].map(f32::round)
            })
            .collect();
        // The large square is four small ones, too, which overlap it by a quarter.
        assert_eq!(boxes.len(), 6, "{boxes:?}");
        assert!(
            boxes.contains(&[32.0, 64.0, 8.0, 8.0]) && boxes.contains(&[48.0, 16.0, 16.0, 16.0]),
            "{boxes:?}"
        );
        let large = faces.iter().find(|face| face.bounding_box.width > 15.0).unwrap();
        assert!((large.confidence - 1.0).abs() < 1e-3);
        let points = large.landmarks;
        assert_eq!((points.left_eye, points.right_eye), ([52.0, 20.0], [60.0, 20.0]));
        assert_eq!(points.nose, [56.0, 24.0]);
    }
    assert!(found.take_inference_time() > Duration::ZERO);
    assert_eq!(found.take_inference_time(), Duration::ZERO);
}

#[test]
fn the_refinement_network_judges_moves_and_marks_every_box() {
    let squares = squares();
    let config = SingleShotConfig { threshold: 0.75, proposal_threshold: 0.9, ..squares.config() };
    let refined = SingleShotModel::new(config, squares.graph().to_vec(), Some(moving()));
    let found = |options: &DetectorOptions| {
        let model = DetectorModel::SingleShot(refined.clone());
        let mut detector = model.detector(&Engine::tract(), options).unwrap();
        detector.detect(&picture(160, 128, &[[64, 32, 8]])).unwrap()
    };
    let faces = found(&DetectorOptions::default());
    assert_eq!(faces.len(), 1, "{faces:?}");
    let BoundingBox { x, y, width, height } = faces[0].bounding_box;
    // O-Net counts a box's last pixel, so that a quarter of the side is 9/4 pixels.
    let expected = [66.25, 32.0, 8.0, 8.0];
    assert!([x, y, width, height].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-2), "{faces:?}");
    assert!((faces[0].confidence - 0.8).abs() < 1e-3, "the geometric mean of 1 and 0.64");
    assert!((faces[0].landmarks.nose[0] - 67.5).abs() < 1e-2, "{faces:?}");
    assert_eq!(found(&DetectorOptions { min_score: Some(0.85), ..Default::default() }).len(), 0);
}

#[test]
fn only_boxes_that_can_pass_are_judged() {
    let squares = squares();
    for (threshold, proposal_threshold, refinement, least) in
        [(0.75, 0.3, Some(moving()), 0.5625), (0.75, 0.9, Some(moving()), 0.9), (0.75, 0.3, None, 0.75)]
    {
        let config = SingleShotConfig { threshold, proposal_threshold, ..squares.config() };
        let model = SingleShotModel::new(config.clone(), squares.graph().to_vec(), refinement);
        let detector = SingleShot::open(&Engine::tract(), &model, config).unwrap();
        assert!((detector.least_score() - least).abs() < 1e-6, "{threshold} {proposal_threshold}");
    }
}

#[test]
fn a_reduced_picture_gives_boxes_of_the_picture() {
    let options = DetectorOptions { min_face: Some(24.0), ..Default::default() };
    let mut faces = detector(&options).detect(&picture(256, 128, &[[64, 32, 32]])).unwrap();
    faces.retain(|face| face.bounding_box.width > 20.0);
    assert_eq!(faces.len(), 1, "{faces:?}");
    let BoundingBox { x, y, width, height } = faces[0].bounding_box;
    let expected = [64.0, 32.0, 32.0, 32.0];
    assert!([x, y, width, height].iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.5), "{faces:?}");
    assert!((faces[0].landmarks.nose[0] - 80.0).abs() < 0.5);
}

#[test]
fn a_white_picture_is_bounded_and_an_empty_one_has_no_face() {
    let mut found = detector(&DetectorOptions { max_faces: Some(7), ..Default::default() });
    let white = RgbImage::from_pixel(900, 700, image::Rgb([255; 3]));
    assert_eq!(found.detect(&white).unwrap().len(), 7);
    for (width, height) in [(0, 0), (0, 9), (1, 1), (9, 2)] {
        assert!(found.detect(&picture(width, height, &[])).unwrap().is_empty());
    }
}

#[test]
fn a_folder_is_read_and_what_is_wrong_with_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = squares();
    let manifest = SingleShotManifest::new(&model, serde_json::json!({ "steps": 3 }));
    let text = serde_json::to_string(&manifest).unwrap();
    let write = |text: &str| std::fs::write(folder.path().join("model.json"), text).unwrap();
    std::fs::write(folder.path().join(NETWORK_FILE), model.graph()).unwrap();
    write(&text);
    let listed = SingleShotModel::new(model.config(), model.graph().to_vec(), Some(moving()));
    write(&serde_json::to_string(&SingleShotManifest::new(&listed, serde_json::json!({}))).unwrap());
    let missing = DetectorModel::open(folder.path()).err().unwrap().to_string();
    assert!(missing.contains("cannot read") && missing.contains(REFINEMENT_FILE), "{missing}");
    write(&text);
    let opened = DetectorModel::select(Some(folder.path())).unwrap();
    assert_eq!(opened.min_score(), 0.55);
    let DetectorModel::SingleShot(read) = opened else { panic!("the manifest says single_shot") };
    assert_eq!((read.config(), read.graph()), (model.config(), model.graph()));
    for (from, to, wanted) in [
        ("\"threshold\":0.55", "\"threshold\":1.5", "threshold is 1.5"),
        ("[12.0,320.0]", "[12.0,20.0]", "face_sizes is (12, 20)"),
        ("\"min_face\"", "\"min_side\"", "min_side"),
        ("\"single_shot\"", "\"single_shoot\"", "mtcnn, single_shot"),
    ] {
        assert!(text.contains(from), "{text}");
        write(&text.replace(from, to));
        let message = DetectorModel::open(folder.path()).err().unwrap().to_string();
        assert!(message.contains(wanted), "{message}");
    }
}

#[test]
fn a_network_of_another_layout_is_refused() {
    let text = MEANS.replace("\"channels\": 15", "\"channels\": 14");
    let architecture: Architecture = serde_json::from_str(&text).unwrap();
    let graph = onnx::graph("other", &architecture, &Weights::init(&architecture, 1));
    let model = DetectorModel::SingleShot(SingleShotModel::new(SingleShotConfig::default(), graph, None));
    let mut found = model.detector(&Engine::tract(), &DetectorOptions::default()).unwrap();
    let message = found.detect(&picture(64, 64, &[])).unwrap_err().to_string();
    assert!(message.contains("output 'stride8' has shape [1, 14, 8, 8]"), "{message}");
}
