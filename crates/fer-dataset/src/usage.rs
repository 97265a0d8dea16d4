//! The splits of FER-2013, which its CSV calls usages.

/// The split that a row belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// Rows to learn from.
    Training,
    /// The public test of the competition, which may choose the best epoch.
    PublicTest,
    /// The private test of the competition, for the final figure.
    PrivateTest,
}

impl Usage {
    /// All splits, in the order of the file.
    pub const ALL: [Self; 3] = [Self::Training, Self::PublicTest, Self::PrivateTest];

    /// The name in the CSV.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "Training",
            Self::PublicTest => "PublicTest",
            Self::PrivateTest => "PrivateTest",
        }
    }
}
