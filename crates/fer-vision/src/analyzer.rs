//! One photo through the whole pipeline, on one thread.

use std::time::Instant;

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use fer_detect::{Bounds, DetectError, Detector, DetectorConfig, DetectorModel, Face, Landmarks};
use fer_engine::Engine;
use fer_model::{Bundle, Classifier, ClassifyError, CropRule, FacePlace, Probabilities};
use image::RgbImage;

use crate::analysis::{Analysis, FaceAnalysis, ImageSize, ModelLabel, Timing, milliseconds};
use crate::{DecodeError, DecodeLimits, Mood, decode};

/// What a caller may choose.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzerConfig {
    /// Bounds on decoding.
    pub decode: DecodeLimits,
    /// Of the search, at search size.
    pub detector: DetectorConfig,
    /// Faces are searched in a copy whose longer side is at most this, and cropped from the full picture.
    pub search_side: u32,
}

impl Default for AnalyzerConfig {
    fn default() -> Self {
        Self { decode: DecodeLimits::default(), detector: DetectorConfig::default(), search_side: 800 }
    }
}

/// Why a photo has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// The bytes.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The detector.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The emotion network.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
}

/// Detector and classifier with their sessions; each thread has one of its own.
pub struct Analyzer {
    detector: Detector,
    classifier: Classifier,
    config: AnalyzerConfig,
    label: ModelLabel,
}

impl Analyzer {
    /// Opens all sessions.
    ///
    /// # Errors
    /// A graph that does not open, or a setting out of range.
    pub fn new(
        engine: &Engine,
        detector: &DetectorModel,
        bundle: &Bundle,
        config: AnalyzerConfig,
    ) -> Result<Self, AnalyzeError> {
        Ok(Self {
            detector: Detector::with_model(engine, detector, config.detector.clone())?,
            classifier: Classifier::new(engine, bundle)?,
            label: ModelLabel { name: bundle.name().to_owned(), engine: engine.kind().name() },
            config,
        })
    }

    /// A photo's bytes to its faces' emotions.
    ///
    /// # Errors
    /// Any [`AnalyzeError`].
    pub fn analyze(&mut self, photo: &[u8]) -> Result<Analysis, AnalyzeError> {
        let started = Instant::now();
        let image = decode(photo, self.config.decode)?;
        let decoded = started.elapsed();
        let mut analysis = self.analyze_pixels(&image)?;
        analysis.timing_ms.decode = milliseconds(decoded);
        analysis.timing_ms.total = milliseconds(started.elapsed());
        Ok(analysis)
    }

    /// The same for pixels.
    ///
    /// # Errors
    /// Where a network fails.
    pub fn analyze_pixels(&mut self, image: &RgbImage) -> Result<Analysis, AnalyzeError> {
        let started = Instant::now();
        let found = self.find(image)?;
        let detected = started.elapsed();
        let (faces, crops): (Vec<_>, Vec<_>) = found
            .into_iter()
            .filter_map(|face| {
                let place = FacePlace { bounds: face.bounds.into(), eyes: face.landmarks.eyes() };
                Some((face, self.classifier.crop(image, &place, CropRule::default())?))
            })
            .unzip();
        let emotions = self.classifier.classify(&crops)?;
        let total = started.elapsed();
        let mood = Mood::of(&emotions);
        let faces =
            faces.into_iter().zip(emotions).map(|(face, emotions)| FaceAnalysis { face, emotions }).collect();
        let sessions = self.detector.take_session_time() + self.classifier.session_time();
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

    /// The expression of a picture that is taken for a face as a whole.
    ///
    /// # Errors
    /// Where the network fails.
    pub fn classify_whole(&mut self, image: &RgbImage) -> Result<Option<Probabilities>, AnalyzeError> {
        let Some(face) = self.classifier.whole(image) else { return Ok(None) };
        Ok(self.classifier.classify(&[face])?.pop())
    }

    /// The bounds on decoding that this analyzer was made with.
    pub fn limits(&self) -> DecodeLimits {
        self.config.decode
    }

    /// Faces in pixels of the full picture, searched at a bounded size.
    fn find(&mut self, image: &RgbImage) -> Result<Vec<Face>, DetectError> {
        let Some((small, ratio)) = reduced(image, self.config.search_side) else {
            return self.detector.detect(image);
        };
        let faces = self.detector.detect(&small)?;
        Ok(faces.into_iter().map(|face| enlarged(&face, ratio)).collect())
    }
}

/// A copy whose longer side is `most`, and picture pixels for a pixel of it along each axis; `None` where the
/// picture is small enough.
fn reduced(image: &RgbImage, most: u32) -> Option<(RgbImage, [f32; 2])> {
    let (width, height) = image.dimensions();
    let longer = width.max(height);
    if longer <= most || most == 0 {
        return None;
    }
    let side = |length: u32| {
        ((u64::from(length) * u64::from(most) + u64::from(longer) / 2) / u64::from(longer)).max(1) as u32
    };
    let (small_width, small_height) = (side(width), side(height));
    let source =
        fast_image_resize::images::ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).ok()?;
    let mut target = Image::new(small_width, small_height, PixelType::U8x3);
    // Supersampling: a box-shaped nearest step to twice the size first, so that a large photo costs little.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::SuperSampling(FilterType::Bilinear, 2));
    Resizer::new().resize(&source, &mut target, &options).ok()?;
    let small = RgbImage::from_raw(small_width, small_height, target.into_vec())?;
    Some((small, [width as f32 / small_width as f32, height as f32 / small_height as f32]))
}

fn enlarged(face: &Face, [across, down]: [f32; 2]) -> Face {
    let Bounds { x, y, width, height } = face.bounds;
    let point = |[x, y]: [f32; 2]| [x * across, y * down];
    let Landmarks { left_eye, right_eye, nose, mouth_left, mouth_right } = face.landmarks;
    Face {
        bounds: Bounds { x: x * across, y: y * down, width: width * across, height: height * down },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pictures_are_searched_small_and_mapped_back() {
        let image = RgbImage::from_fn(2000, 1000, |x, _| image::Rgb([(x / 8) as u8; 3]));
        let (small, ratio) = reduced(&image, 800).unwrap();
        assert_eq!((small.dimensions(), ratio), ((800, 400), [2.5, 2.5]));
        assert!((i32::from(small.get_pixel(400, 7).0[0]) - 125).abs() <= 1);
        assert!(reduced(&image, 2000).is_none());
        let (strip, _) = reduced(&RgbImage::new(20_000, 3), 800).unwrap();
        assert_eq!(strip.dimensions(), (800, 1));
    }
}
