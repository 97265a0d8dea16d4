//! Runs a bundle: faces in, probabilities out.

use std::time::{Duration, Instant};

use fer_engine::{Engine, EngineError, Session, Tensor};
use fer_image::{BoundingBox, CropRule, FaceCrop, FaceLocation};
use image::RgbImage;

use crate::spec::InputSpec;
use crate::{Bundle, Emotion, FaceSpec, Preprocessing, Probabilities};

/// Largest number of faces in one pass through the network, which bounds the memory.
const MAX_BATCH: usize = 64;

/// Why faces cannot be classified.
#[derive(Debug, thiserror::Error)]
pub enum ClassifyError {
    /// The engine refuses the network or fails to run it.
    #[error("emotion network: {0}")]
    Engine(#[from] EngineError),
    /// The output of the network is not one finite logit for each label.
    #[error(
        "emotion network: an output of shape {shape:?} is not one finite logit for each of {labels} labels"
    )]
    Logits {
        /// Shape of the output.
        shape: Vec<usize>,
        /// Number of labels in the bundle.
        labels: usize,
    },
}

/// Classifies faces. It owns a session of the engine, so each thread needs its own classifier.
pub struct Classifier {
    session: Box<dyn Session>,
    face: FaceSpec,
    input: InputSpec,
    preprocessing: Preprocessing,
    output: String,
    labels: Vec<Emotion>,
    temperature: f32,
    certain_above: f32,
    time: Duration,
}

impl Classifier {
    /// Builds the bundle's graph and opens it. The bundle's answering head gives the probabilities.
    ///
    /// # Errors
    /// [`ClassifyError::Engine`] if the engine refuses the graph.
    pub fn new(engine: &Engine, bundle: &Bundle) -> Result<Self, ClassifyError> {
        let network = bundle.network();
        Ok(Self {
            session: engine.open(&bundle.graph())?,
            face: bundle.face(),
            input: network.input(),
            preprocessing: network.preprocessing(),
            output: bundle.head().output.clone(),
            labels: bundle.head().labels.clone(),
            temperature: bundle.head().temperature,
            certain_above: bundle.head().certain_above(),
            time: Duration::ZERO,
        })
    }

    /// Cuts a face out of a picture, by the bundle's crop rule and luma, in the size that the network expects.
    ///
    /// Returns `None` if the box is empty or not finite, or if the picture has no pixels.
    pub fn crop(&self, image: &RgbImage, face: &FaceLocation) -> Option<FaceCrop> {
        self.face.extract(image, face)
    }

    /// Takes a picture that is a face as a whole. If it is not square, its border is repeated.
    ///
    /// Returns `None` if the picture has no pixels.
    pub fn whole(&self, image: &RgbImage) -> Option<FaceCrop> {
        let (width, height) = (image.width() as f32, image.height() as f32);
        let bounding_box = BoundingBox { x: 0.0, y: 0.0, width, height };
        let location = FaceLocation { bounding_box, eyes: [[0.0; 2]; 2] };
        FaceSpec { crop: CropRule::WHOLE, ..self.face }.extract(image, &location)
    }

    /// The probabilities of each face, calibrated by the head's temperature.
    ///
    /// # Errors
    /// If the network fails, or if its output is not one finite logit for each label.
    pub fn classify(&mut self, faces: &[FaceCrop]) -> Result<Vec<Probabilities>, ClassifyError> {
        let logits = self.logits(faces)?;
        let labels = self.labels.len();
        let probabilities = logits.chunks_exact(labels).map(|row| {
            Probabilities::from_logits(row, &self.labels, self.temperature)
                .map(|probabilities| probabilities.certain_above(self.certain_above))
                .ok_or(ClassifyError::Logits { shape: vec![faces.len(), labels], labels })
        });
        probabilities.collect()
    }

    /// The probabilities of a picture that is a face as a whole, see [`Classifier::whole`]; `None` if it has no pixels.
    ///
    /// # Errors
    /// As [`Classifier::classify`].
    pub fn classify_whole(&mut self, image: &RgbImage) -> Result<Option<Probabilities>, ClassifyError> {
        let Some(face) = self.whole(image) else { return Ok(None) };
        Ok(self.classify(&[face])?.pop())
    }

    /// What the network gets for some faces: normalised pixels, row-major `[faces, channels, height, width]`.
    pub fn input(&self, faces: &[FaceCrop]) -> Vec<f32> {
        let mut pixels = Vec::new();
        for face in faces {
            self.preprocessing.apply(face.luma(), self.input, &mut pixels);
        }
        pixels
    }

    /// The logits, before temperature and softmax. Returns `[faces, labels]`, row-major.
    ///
    /// # Errors
    /// If the network fails, or if its output has another shape.
    pub fn logits(&mut self, faces: &[FaceCrop]) -> Result<Vec<f32>, ClassifyError> {
        self.time = Duration::ZERO;
        let labels = self.labels.len();
        let mut logits = Vec::with_capacity(faces.len() * labels);
        for batch in faces.chunks(MAX_BATCH) {
            let InputSpec { channels, height, width } = self.input;
            let input = Tensor::new([batch.len(), channels, height, width], self.input(batch))?;
            let started = Instant::now();
            let mut outputs = self.session.run(&input)?;
            self.time += started.elapsed();
            let scores = outputs.take(&self.output)?;
            if scores.shape() != [batch.len(), labels] {
                return Err(ClassifyError::Logits { shape: scores.shape().to_vec(), labels });
            }
            logits.extend_from_slice(scores.data());
        }
        Ok(logits)
    }

    /// The time that the last call spent in the engine.
    pub fn session_time(&self) -> Duration {
        self.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::HeadEntry;
    use crate::weights::{Weights, WeightsDtype};
    use crate::{BundleBuilder, NetworkSpec};
    use fer_image::Luma;

    const SMALL: &str = r#"{
        "name": "small", "input": { "channels": 1, "height": 12, "width": 12 },
        "preprocessing": { "mean": 0.5, "std": 0.25, "margin": 2 },
        "labels": ["happy", "sad"],
        "layers": [{ "kind": "flatten" }, { "kind": "dense", "units": 2 }]
    }"#;

    fn classifier(crop: CropRule, luma: Luma) -> Classifier {
        let spec = NetworkSpec::from_json(SMALL).unwrap();
        let weights = Weights::init(spec.architecture(), 1);
        let folder = tempfile::tempdir().unwrap();
        let builder = BundleBuilder {
            members: vec![(&spec, &weights)],
            ensemble: None,
            crop,
            luma,
            dtype: WeightsDtype::F32,
            heads: HeadEntry::all(&spec),
            activation_ranges: None,
            training: serde_json::Value::Null,
            data_licence: String::new(),
            card: String::new(),
        };
        builder.write(folder.path()).unwrap();
        Classifier::new(&Engine::tract(), &Bundle::open(folder.path()).unwrap()).unwrap()
    }

    #[test]
    fn faces_are_cut_out_as_the_bundle_says() {
        let image = RgbImage::from_fn(200, 160, |x, y| image::Rgb([x as u8, y as u8, 90]));
        let bounding_box = BoundingBox { x: 60.0, y: 40.0, width: 70.0, height: 80.0 };
        let face = FaceLocation { bounding_box, eyes: [[80.0, 60.0], [110.0, 75.0]] };
        let level = CropRule { scale: 1.2, shift_down: 0.1, level_eyes: true };
        let green = Luma::new(0.0, 1.0, 0.0).unwrap();
        let mut crops = Vec::new();
        for (rule, luma) in
            [(CropRule::default(), Luma::REC_601), (level, Luma::REC_601), (CropRule::default(), green)]
        {
            let mut classifier = classifier(rule, luma);
            let crop = classifier.crop(&image, &face).unwrap();
            assert_eq!(Some(&crop), FaceCrop::extract(&image, &face, rule, luma, [16, 16]).as_ref());
            assert_eq!(classifier.classify(std::slice::from_ref(&crop)).unwrap().len(), 1);
            crops.push(crop);
        }
        assert!(crops[0] != crops[1] && crops[0] != crops[2]);
    }

    #[test]
    fn a_whole_picture_is_the_face_whatever_the_rule() {
        let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 0]));
        let green = Luma::new(0.0, 1.0, 0.0).unwrap();
        let rule = CropRule { scale: 0.5, shift_down: 0.2, level_eyes: true };
        let crop = classifier(rule, green).whole(&image).unwrap();
        assert_eq!(crop.luma(), green.picture(&image).as_raw().as_slice());
        assert!(classifier(rule, green).whole(&RgbImage::new(0, 0)).is_none());
    }
}
