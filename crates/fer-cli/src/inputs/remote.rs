//! Addresses as inputs: the only file that knows object stores. Without the feature `corpus` it says how to install them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::{Filter, Input};

/// The bytes of an object.
#[cfg_attr(not(feature = "corpus"), expect(dead_code, reason = "only the feature `corpus` fetches objects"))]
pub(crate) enum Contents {
    /// Bytes of a photo.
    Photo(Vec<u8>),
    /// A video.
    Video(VideoFile),
}

/// A file with a video. If it is a temporary one, it is deleted when the last of these is dropped.
pub(crate) type VideoFile = Arc<dyn AsRef<Path> + Send + Sync>;

/// Gives the contents of one object after another, or why it cannot be read. Ends if the argument returns true.
pub(crate) type Fetch = Box<dyn FnMut(&dyn Fn() -> bool) -> Option<Result<Contents, String>> + Send>;

/// Object stores, which are opened when the first address comes.
pub(crate) struct Stores {
    #[cfg(feature = "corpus")]
    open: Option<fer_corpus::store::Stores>,
    #[cfg(feature = "corpus")]
    timeout: Duration,
}

#[cfg(feature = "corpus")]
mod present {
    use fer_corpus::store::{self, FetchOptions, Fetched, StoreError};

    use super::super::{MOST_BYTES, Place, name_of, walk};
    use super::{Contents, Duration, Fetch, Filter, Input, Result, Stores};

    impl Stores {
        pub(crate) fn new(timeout: Duration) -> Self {
            Self { open: None, timeout }
        }

        /// Adds the objects of an address: one, or those in a folder that the filter selects. An address that cannot be listed
        /// becomes an input with a problem.
        ///
        /// # Errors
        /// If the address is not valid, or a setting of its store is missing.
        pub(crate) fn add(&mut self, address: &str, filter: &Filter, inputs: &mut Vec<Input>) -> Result<()> {
            if address.starts_with("file://") {
                let path = store::local_path(address)?;
                if path.is_dir() {
                    walk::folder(&path, filter, inputs);
                } else {
                    inputs.push(Input { name: name_of(&path), place: Place::File(path) });
                }
                return Ok(());
            }
            let stores = match &mut self.open {
                Some(stores) => stores,
                none => none.insert(store::Stores::new(self.timeout)?),
            };
            match stores.list(address, walk::has_extension, |path| filter.selects(path)) {
                Ok(objects) => inputs.extend(
                    objects.into_iter().map(|object| Input { name: object.uri, place: Place::Object }),
                ),
                Err(StoreError::Listing { message, .. }) => {
                    inputs.push(Input { name: address.to_owned(), place: Place::Nowhere(message) });
                }
                Err(error) => return Err(error.into()),
            }
            Ok(())
        }
    }

    /// Begins to fetch objects, `ahead` of them at a time.
    ///
    /// # Errors
    /// If an address is not valid, or a thread cannot be started.
    pub(crate) fn fetch(addresses: &[String], ahead: usize, timeout: Duration) -> Result<Fetch> {
        let is_spooled = fer_video::is_video;
        let options = FetchOptions { ahead, most_bytes: MOST_BYTES, timeout, is_spooled };
        let mut fetcher = store::Stores::new(timeout)?.fetch(addresses, options)?;
        Ok(Box::new(move |is_over| {
            fetcher.next(is_over).map(|fetched| {
                fetched.map(|fetched| match fetched {
                    Fetched::Bytes(bytes) => Contents::Photo(bytes),
                    Fetched::File(path) => Contents::Video(path),
                })
            })
        }))
    }
}

#[cfg(not(feature = "corpus"))]
mod absent {
    use anyhow::bail;

    use super::{Duration, Fetch, Filter, Input, Result, Stores};

    const INSTALL: &str = "this program was installed without object stores; in a checkout, \
                           `cargo install --path crates/fer-cli --features corpus` adds them";

    impl Stores {
        pub(crate) fn new(_timeout: Duration) -> Self {
            Self {}
        }

        pub(crate) fn add(
            &mut self,
            address: &str,
            _filter: &Filter,
            _inputs: &mut Vec<Input>,
        ) -> Result<()> {
            bail!("{address}: {INSTALL}")
        }
    }

    pub(crate) fn fetch(addresses: &[String], _ahead: usize, _timeout: Duration) -> Result<Fetch> {
        bail!("{}: {INSTALL}", addresses.concat())
    }
}

#[cfg(not(feature = "corpus"))]
pub(crate) use absent::fetch;
#[cfg(feature = "corpus")]
pub(crate) use present::fetch;
