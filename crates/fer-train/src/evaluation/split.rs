//! The two test splits of FER-2013.

use fer_dataset::{Dataset, Sample};

/// A split that bundles are scored on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The competition's public test.
    Public,
    /// The competition's private test: for the final figure, not for making choices.
    Private,
}

impl Split {
    /// The short name, as on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }

    /// The name in the CSV and in bundles.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Public => "PublicTest",
            Self::Private => "PrivateTest",
        }
    }

    /// The split's rows.
    pub fn samples(self, dataset: &Dataset) -> &[Sample] {
        match self {
            Self::Public => &dataset.public,
            Self::Private => &dataset.private,
        }
    }
}
