//! The whole pipeline for one photo, on one thread.

use std::time::Instant;

use fer_detect::{DetectError, DetectorModel, DetectorOptions, Face, FaceDetector, Landmarks};
use fer_engine::Engine;
use fer_image::{BoundingBox, DecodeError, DecodeLimits, FaceCrop, decode, resize};
use fer_model::{Bundle, Classifier, ClassifyError, Probabilities};
use image::RgbImage;

use crate::Mood;
use crate::analysis::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Timing, milliseconds};

/// Settings of an [`Analyzer`].
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzerConfig {
    /// Limits on decoding.
    pub decode: DecodeLimits,
    /// Settings of the detector. Sizes are pixels of the reduced copy in which faces are searched.
    pub detector: DetectorOptions,
    /// Longest side of the copy in which faces are searched, in pixels. Faces are cropped from the full picture.
    pub search_side: u32,
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self { decode: DecodeLimits::default(), detector: DetectorOptions::default(), search_side: 800 }
    }
}

/// Why a photo could not be analysed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The photo could not be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The detector failed.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The emotion network failed.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    /// The caller no longer needs the result.
    #[error("the analysis was cancelled")]
    Cancelled,
}

/// A detector and a classifier with their inference sessions. Each thread needs its own analyzer.
pub struct Analyzer {
    detector: Box<dyn FaceDetector>,
    classifier: Classifier,
    config: AnalyzerConfig,
    label: ModelLabel,
}

impl Analyzer {
    /// Opens all sessions.
    ///
    /// # Errors
    /// Fails if a graph does not open or a setting is out of range.
    pub fn new(
        engine: &Engine,
        detector: &DetectorModel,
        bundle: &Bundle,
        config: AnalyzerConfig,
    ) -> Result<Self, AnalyzeError> {
        Ok(Self {
            detector: detector.detector(engine, &config.detector)?,
            classifier: Classifier::new(engine, bundle)?,
            label: ModelLabel { name: bundle.name().to_owned(), engine: engine.kind().name() },
            config,
        })
    }

    /// Decodes a photo (JPEG, PNG or WebP) and analyses it.
    ///
    /// # Errors
    /// Fails if the photo cannot be decoded within the limits or a network fails.
    pub fn analyze(&mut self, photo: &[u8]) -> Result<Analysis, AnalyzeError> {
        self.analyze_while(photo, &|| true).map(|(_, analysis)| analysis)
    }

    /// Decodes a photo and analyses it while the result is needed. Returns the upright pixels too.
    ///
    /// `needed` is asked before detection and before classification.
    ///
    /// # Errors
    /// Fails with [`AnalyzeError::Cancelled`] if `needed` returns false, and like [`Analyzer::analyze`].
    pub fn analyze_while(
        &mut self,
        photo: &[u8],
        needed: &dyn Fn() -> bool,
    ) -> Result<(RgbImage, Analysis), AnalyzeError> {
        let started = Instant::now();
        let image = decode(photo, self.config.decode)?;
        let decoded = started.elapsed();
        let mut analysis = self.analyze_decoded(&image, needed)?;
        analysis.timing_ms.decode = milliseconds(decoded);
        analysis.timing_ms.total = milliseconds(started.elapsed());
        Ok((image, analysis))
    }

    /// Analyses an upright picture that is already decoded.
    ///
    /// # Errors
    /// Fails if a network fails.
    pub fn analyze_pixels(&mut self, image: &RgbImage) -> Result<Analysis, AnalyzeError> {
        self.analyze_decoded(image, &|| true)
    }

    fn analyze_decoded(
        &mut self,
        image: &RgbImage,
        needed: &dyn Fn() -> bool,
    ) -> Result<Analysis, AnalyzeError> {
        let go_on = || if needed() { Ok(()) } else { Err(AnalyzeError::Cancelled) };
        go_on()?;
        let started = Instant::now();
        let found = self.find(image)?;
        go_on()?;
        let detected = started.elapsed();
        let (faces, crops) = self.crop(image, found);
        let emotions = self.classifier.classify(&crops)?;
        let total = started.elapsed();
        let mood = Mood::of(&emotions);
        let faces =
            faces.into_iter().zip(emotions).map(|(face, emotions)| FaceAnalysis { face, emotions }).collect();
        let sessions = self.detector.take_inference_time() + self.classifier.session_time();
        Ok(Analysis {
            image: ImageSize { width: image.width(), height: image.height() },
            faces,
            mood,
            timing_ms: Timing {
                decode: 0.0,
                detect: milliseconds(detected),
                classify: milliseconds(total.saturating_sub(detected)),
                total: milliseconds(total),
                sessions: milliseconds(sessions),
            },
            model: self.label.clone(),
        })
    }

    /// The faces of a picture, and for each the crop that the emotion network sees. [`Analyzer::analyze_pixels`] classifies
    /// these crops.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn crops(&mut self, image: &RgbImage) -> Result<(Vec<Face>, Vec<FaceCrop>), AnalyzeError> {
        let found = self.find(image)?;
        Ok(self.crop(image, found))
    }

    /// The classifier, for callers that take its input or output apart.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// Cuts out the faces, and drops those of which nothing can be cut out.
    fn crop(&self, image: &RgbImage, found: Vec<Face>) -> (Vec<Face>, Vec<FaceCrop>) {
        let crops = found.into_iter().filter_map(|face| {
            let crop = self.classifier.crop(image, &face.location())?;
            Some((face, crop))
        });
        crops.unzip()
    }

    /// Classifies a whole picture as if it were one face, without detection. Returns `None` if the picture is empty.
    ///
    /// # Errors
    /// Fails if the network fails.
    pub fn classify_whole(&mut self, image: &RgbImage) -> Result<Option<Probabilities>, AnalyzeError> {
        Ok(self.classifier.classify_whole(image)?)
    }

    /// The limits on decoding that this analyzer was made with.
    pub fn limits(&self) -> DecodeLimits {
        self.config.decode
    }

    /// Detects the faces of a picture, which is searched at a bounded size. Coordinates are pixels of the full picture.
    ///
    /// # Errors
    /// If the detector fails.
    pub fn find(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        let Some((small, ratio)) = resize::limited(image, self.config.search_side) else {
            return self.detector.detect(image);
        };
        let faces = self.detector.detect(&small)?;
        Ok(faces.into_iter().map(|face| enlarged(&face, ratio)).collect())
    }
}

/// A face of the reduced copy in pixels of the full picture; `across` and `down` are full size divided by reduced size.
fn enlarged(face: &Face, [across, down]: [f32; 2]) -> Face {
    let BoundingBox { x, y, width, height } = face.bounding_box;
    let point = |[x, y]: [f32; 2]| [x * across, y * down];
    let Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right } = face.landmarks;
    Face {
        bounding_box: BoundingBox {
            x: x * across,
            y: y * down,
            width: width * across,
            height: height * down,
        },
        confidence: face.confidence,
        landmarks: Landmarks {
            left_eye: point(left_eye),
            right_eye: point(right_eye),
            nose: point(nose),
            mouth_left: point(mouth_left),
            mouth_right: point(mouth_right),
        },
    }
}
