//! The mood of a group: the emotion that most of its faces show.

use fer_model::{Emotion, Probabilities};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schema::{EmotionSchema, EmotionsSchema};

/// The mood of all faces of a photo together.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Mood {
    /// The emotion that is dominant in the most faces. A tie goes to the emotion with the higher mean probability.
    #[schema(value_type = EmotionSchema)]
    pub dominant_emotion: Emotion,
    /// Number of faces.
    pub faces: usize,
    /// Mean probability of each emotion over the faces.
    #[schema(value_type = EmotionsSchema)]
    pub mean: Probabilities,
}

impl Mood {
    /// The mood of faces with these probabilities; `None` if there is no face.
    pub fn of(faces: &[Probabilities]) -> Option<Self> {
        let mean = Probabilities::mean(faces)?;
        let votes = |emotion| faces.iter().filter(|face| face.dominant() == emotion).count();
        let dominant_emotion = Emotion::ALL
            .into_iter()
            .max_by(|&a, &b| votes(a).cmp(&votes(b)).then(mean.get(a).total_cmp(&mean.get(b))))?;
        Some(Self { dominant_emotion, faces: faces.len(), mean })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(emotion: Emotion, logit: f32) -> Probabilities {
        let logits = Emotion::ALL.map(|e| if e == emotion { logit } else { 0.0 });
        Probabilities::from_logits(&logits, &Emotion::ALL, 1.0).unwrap()
    }

    #[test]
    fn majority_wins_over_certainty() {
        let faces = [face(Emotion::Sad, 1.0), face(Emotion::Sad, 1.0), face(Emotion::Happy, 9.0)];
        let mood = Mood::of(&faces).unwrap();
        assert_eq!((mood.dominant_emotion, mood.faces), (Emotion::Sad, 3));
        assert!(mood.mean.get(Emotion::Happy) > mood.mean.get(Emotion::Sad));
    }

    #[test]
    fn ties_go_to_the_higher_mean_and_nobody_has_no_mood() {
        let faces = [face(Emotion::Sad, 1.0), face(Emotion::Happy, 2.0)];
        assert_eq!(Mood::of(&faces).unwrap().dominant_emotion, Emotion::Happy);
        assert_eq!(Mood::of(&[]), None);
    }
}
