//! Why a corpus cannot be planned or run.

use datafusion::error::DataFusionError;

use crate::store::StoreError;

/// Why a corpus cannot be planned or run. A bad object is none of these: it is a row.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// An address, a listing or a file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest is not one, or does not fit the results that are there.
    #[error("{place}: {problem}")]
    Manifest {
        /// The folder or file.
        place: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The models do not open.
    #[error("cannot start the models: {0}")]
    Kernel(String),
    /// A table cannot be read or written.
    #[error("{part}: {source}")]
    Table {
        /// The part of the manifest.
        part: String,
        /// What is wrong.
        source: fer_table::TableError,
    },
    /// The engine or the cluster failed.
    #[error("{0}")]
    Engine(String),
}

impl From<DataFusionError> for CorpusError {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            // An error of a part comes back wrapped.
            DataFusionError::External(cause) => Self::Engine(cause.to_string()),
            other => Self::Engine(other.strip_backtrace()),
        }
    }
}

impl From<CorpusError> for DataFusionError {
    fn from(error: CorpusError) -> Self {
        Self::External(Box::new(error))
    }
}
