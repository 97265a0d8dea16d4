//! What bundles are scored on: the two test splits of FER-2013, and labelled pictures.

use fer_dataset::{Dataset, Sample};
use fer_model::LabelSet;

/// The faces that a bundle is scored on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestSet {
    /// The competition's public test.
    Public,
    /// The competition's private test: for the final figure, not for making choices.
    Private,
    /// Pictures in folders that are named by emotion, see [`crate::evaluation::pictures`]. Bundles do not keep these scores.
    Pictures,
}

impl TestSet {
    /// The short name, as in the names of reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
            Self::Pictures => "pictures",
        }
    }

    /// The name of the split in the CSV and in bundles; `None` for pictures.
    pub fn usage(self) -> Option<&'static str> {
        match self {
            Self::Public => Some("PublicTest"),
            Self::Private => Some("PrivateTest"),
            Self::Pictures => None,
        }
    }

    /// The rows of the split, without copying them; none for pictures.
    pub fn rows(self, dataset: Dataset) -> Vec<Sample> {
        match self {
            Self::Public => dataset.public,
            Self::Private => dataset.private,
            Self::Pictures => Vec::new(),
        }
    }
}

/// The samples with the labels of a label set. Those without one, because the votes of FER+ have no majority, are left out.
pub fn labelled_by(set: LabelSet, samples: Vec<Sample>) -> Vec<Sample> {
    let labelled =
        samples.into_iter().filter_map(|sample| Some(Sample { label: sample.label_of(set)?, ..sample }));
    labelled.collect()
}
