//! A detected face: box, confidence and five landmarks, in pixels of the picture.

use fer_image::{BoundingBox, FaceLocation};

/// Five points as `[x, y]`. Left and right are as seen in the image. Points may lie outside the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Landmarks {
    /// Centre of the left eye.
    pub left_eye: [f32; 2],
    /// Centre of the right eye.
    pub right_eye: [f32; 2],
    /// Tip of the nose.
    pub nose: [f32; 2],
    /// Left corner of the mouth.
    pub mouth_left: [f32; 2],
    /// Right corner of the mouth.
    pub mouth_right: [f32; 2],
}

impl Landmarks {
    /// Returns the landmarks of five points in the order of the fields.
    pub(crate) fn of(points: [[f32; 2]; 5]) -> Self {
        let [left_eye, right_eye, nose, mouth_left, mouth_right] = points;
        Self { left_eye, right_eye, nose, mouth_left, mouth_right }
    }

    /// Returns the left and the right eye.
    pub fn eyes(&self) -> [[f32; 2]; 2] {
        [self.left_eye, self.right_eye]
    }

    /// Returns the landmarks with each point moved.
    pub(crate) fn map(self, point: impl Fn([f32; 2]) -> [f32; 2]) -> Self {
        Self {
            left_eye: point(self.left_eye),
            right_eye: point(self.right_eye),
            nose: point(self.nose),
            mouth_left: point(self.mouth_left),
            mouth_right: point(self.mouth_right),
        }
    }
}

/// One detected face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Face {
    /// Lies within the picture.
    pub bounding_box: BoundingBox,
    /// Probability that this is a face, in `[0, 1]`.
    pub confidence: f32,
    /// Eyes, nose and corners of the mouth.
    pub landmarks: Landmarks,
}

impl Face {
    /// What a crop rule needs to cut it out.
    pub fn location(&self) -> FaceLocation {
        FaceLocation { bounding_box: self.bounding_box, eyes: self.landmarks.eyes() }
    }
}
