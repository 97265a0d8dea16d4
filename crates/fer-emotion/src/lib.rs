//! The seven emotions of FER-2013, and whose labels of them a network learned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The label of a facial expression.
///
/// Discriminants are the FER-2013 CSV labels, so reordering the variants misreads every data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Emotion {
    /// 0
    Angry,
    /// 1
    Disgust,
    /// 2
    Fear,
    /// 3
    Happy,
    /// 4
    Sad,
    /// 5
    Surprise,
    /// 6
    Neutral,
}

impl Emotion {
    /// Number of emotions.
    pub const COUNT: usize = 7;

    /// All emotions, in the order of the FER-2013 labels.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Angry, Self::Disgust, Self::Fear, Self::Happy, Self::Sad, Self::Surprise, Self::Neutral];

    /// The lower-case English name, which is used in all JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Angry => "angry",
            Self::Disgust => "disgust",
            Self::Fear => "fear",
            Self::Happy => "happy",
            Self::Sad => "sad",
            Self::Surprise => "surprise",
            Self::Neutral => "neutral",
        }
    }

    /// The emotion of a FER-2013 label; `None` above 6.
    pub fn from_label(label: u8) -> Option<Self> {
        Self::ALL.get(usize::from(label)).copied()
    }

    /// The position in [`Emotion::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Emotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of no emotion.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown emotion '{0}': expected angry, disgust, fear, happy, sad, surprise or neutral")]
pub struct UnknownEmotion(pub String);

impl FromStr for Emotion {
    type Err = UnknownEmotion;

    fn from_str(name: &str) -> Result<Self, UnknownEmotion> {
        Self::ALL.into_iter().find(|e| e.name() == name).ok_or_else(|| UnknownEmotion(name.to_owned()))
    }
}

/// Whose labels of the FER-2013 faces a network learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelSet {
    /// The label of the competition, one for each face.
    Fer2013,
    /// FER+ (Barsoum et al. 2016): the votes of ten people on each face.
    FerPlus,
}

impl LabelSet {
    /// Both label sets.
    pub const ALL: [Self; 2] = [Self::Fer2013, Self::FerPlus];

    /// The name in all JSON and on command lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fer2013 => "fer2013",
            Self::FerPlus => "ferplus",
        }
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not of a label set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown labels '{0}': expected fer2013 or ferplus")]
pub struct UnknownLabelSet(pub String);

impl FromStr for LabelSet {
    type Err = UnknownLabelSet;

    fn from_str(name: &str) -> Result<Self, UnknownLabelSet> {
        Self::ALL.into_iter().find(|set| set.name() == name).ok_or_else(|| UnknownLabelSet(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (label, emotion) in Emotion::ALL.into_iter().enumerate() {
            assert_eq!(emotion.name().parse(), Ok(emotion));
            assert_eq!(Emotion::from_label(label as u8), Some(emotion));
        }
        assert_eq!(Emotion::from_label(7), None);
        assert!("contempt".parse::<Emotion>().is_err());
        for set in LabelSet::ALL {
            assert_eq!(set.name().parse(), Ok(set));
        }
        assert!("affectnet".parse::<LabelSet>().is_err());
    }
}
