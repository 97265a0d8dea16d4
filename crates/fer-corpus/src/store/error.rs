//! Why an address has no objects or an object has no bytes, in plain words.

use std::io;
use std::time::Duration;

/// Why an address has no objects.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The threads that wait for the network cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    /// The address is not valid, or the environment lacks a setting of its store.
    #[error("{address}: {problem}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of a folder cannot be read or written.
    #[error("{place}: {message}")]
    File {
        /// The path or address.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// The store does not answer as it should, or has nothing of this name.
    #[error("{address}: {message}")]
    Listing {
        /// The address.
        address: String,
        /// What is wrong.
        message: String,
    },
}

/// The result of a future, unless it takes longer than `timeout`.
pub(crate) async fn within<T>(timeout: Duration, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(timeout, future).await.map_err(|_| {
        let seconds = timeout.as_secs_f64();
        format!("cannot be read: nothing arrived for {seconds} s; check the address, the credentials and the network")
    })
}

/// An error of a store as a sentence about an object that cannot be read.
pub(super) fn explain(error: &object_store::Error) -> String {
    format!("cannot be read: {}", reason(error))
}

/// What is wrong, in words that fit behind a colon.
pub(super) fn reason(error: &object_store::Error) -> String {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => "the store has no object of this name".to_owned(),
        Error::PermissionDenied { .. } => {
            "access is denied; check the permissions of the credentials".to_owned()
        }
        Error::Unauthenticated { .. } => "the store does not accept the credentials".to_owned(),
        Error::Precondition { .. } | Error::NotModified { .. } => "it changed while it was read".to_owned(),
        // What the server says beside its status is often a page of XML.
        Error::Generic { source, .. } => match source.to_string().split_once(": <") {
            Some((reason, _)) => reason.to_owned(),
            None => source.to_string().trim_end_matches(": ").to_owned(),
        },
        other => other.to_string(),
    }
}
