//! Object stores and web servers: what lies under an address, and its bytes.
//!
//! Addresses are `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY` and `http(s)://HOST/PATH`. Credentials come from
//! the environment variables that the tools of these stores read, such as `AWS_ACCESS_KEY_ID`.

mod address;
mod error;
mod fetch;
mod folder;
mod opened;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Runtime;

use address::{Address, text};
pub use error::StoreError;
use error::explain;
pub(crate) use error::within;
pub use fetch::{FetchOptions, Fetched, Fetcher};
pub(crate) use fetch::{START, fetch_one, too_large};
pub(crate) use folder::Folder;
pub(crate) use opened::Opened;

/// An object that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its address.
    pub uri: String,
    /// Its size in bytes, if the store was asked.
    pub size: Option<u64>,
    /// What changes when the object does, if the store says it.
    pub etag: Option<String>,
}

/// The path that a `file://` address names.
///
/// # Errors
/// If it names none on this machine.
pub fn local_path(address: &str) -> Result<PathBuf, StoreError> {
    let path = url::Url::parse(address).ok().and_then(|url| url.to_file_path().ok());
    path.ok_or_else(|| StoreError::Address {
        address: address.to_owned(),
        problem: "it is not of the form file:///path".to_owned(),
    })
}

/// Stores that are listed and fetched from.
pub struct Stores {
    runtime: Runtime,
    opened: Opened,
    timeout: Duration,
}

impl Stores {
    /// No store yet. A store that sends nothing for `timeout` counts as stalled.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(timeout: Duration) -> Result<Self, StoreError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().map_err(StoreError::Threads)?;
        Ok(Self { runtime, opened: Opened::default(), timeout })
    }

    /// The objects of an address: the one of this name, or those in the folder of this name for which `takes` returns true,
    /// sorted by key. `takes` gets the part of the key inside the folder. The store is not asked about an address for which
    /// `is_file` returns true.
    ///
    /// # Errors
    /// [`StoreError::Listing`] if the store does not answer as it should or has nothing of this name, and other errors if the
    /// address is not valid.
    pub fn list(
        &mut self,
        address: &str,
        is_file: impl Fn(&Path) -> bool,
        takes: impl Fn(&Path) -> bool,
    ) -> Result<Vec<Listed>, StoreError> {
        let address = Address::parse(address)?;
        let store = self.opened.open(&address)?;
        if !address.is_folder && (address.is_web() || is_file(Path::new(text(&address.key)))) {
            return Ok(vec![Listed { uri: address.uri_of(&address.key), size: None, etag: None }]);
        }
        let found = self.runtime.block_on(find(&*store, &address, self.timeout));
        let found = found.map_err(|message| StoreError::Listing { address: address.to_string(), message })?;
        let folder = Path::new(text(&address.key));
        let is_taken = |object: &ObjectMeta| {
            let path = Path::new(text(&object.location));
            path == folder || takes(path.strip_prefix(folder).unwrap_or(path))
        };
        Ok(found.into_iter().filter(is_taken).map(|object| listed(&address, object)).collect())
    }

    /// Begins to fetch objects.
    ///
    /// # Errors
    /// If an address is not valid, or a thread cannot be started.
    pub fn fetch(&mut self, uris: &[String], options: FetchOptions) -> Result<Fetcher, StoreError> {
        let mut objects = Vec::with_capacity(uris.len());
        for uri in uris {
            let address = Address::parse(uri)?;
            objects.push((self.opened.open(&address)?, address.key));
        }
        Fetcher::start(objects, options)
    }
}

/// The objects in a folder of a store for which `takes` returns true, in the order in which the store lists them. `takes` gets the
/// part of the key inside the folder. At most a page of the listing is in memory.
///
/// # Errors
/// If the address is not valid. The stream gives an error, and ends, if the store does not answer as it should.
pub(crate) fn stream<T: Fn(&Path) -> bool>(
    address: &str,
    opened: &Opened,
    timeout: Duration,
    takes: T,
) -> Result<impl Stream<Item = Result<Listed, StoreError>> + use<T>, StoreError> {
    let address = Address::parse(address)?;
    let store = opened.open(&address)?;
    let prefix = Some(address.key.clone()).filter(|key| !text(key).is_empty());
    let objects = store.list(prefix.as_ref());
    let state = Some((objects, address, takes));
    Ok(futures_util::stream::unfold(state, move |state| async move {
        let (mut objects, address, takes) = state?;
        loop {
            let found = match within(timeout, objects.next()).await {
                Ok(found) => found?.map_err(|error| explain(&error)),
                Err(message) => Err(message),
            };
            let object = match found {
                Ok(object) => object,
                Err(message) => {
                    let error = StoreError::Listing { address: address.to_string(), message };
                    return Some((Err(error), None));
                }
            };
            let path = Path::new(text(&object.location));
            if takes(path.strip_prefix(text(&address.key)).unwrap_or(path)) {
                return Some((Ok(listed(&address, object)), Some((objects, address, takes))));
            }
        }
    }))
}

fn listed(address: &Address, object: ObjectMeta) -> Listed {
    Listed { uri: address.uri_of(&object.location), size: Some(object.size), etag: object.e_tag }
}

/// The objects at an address, sorted by key.
async fn find(
    store: &dyn ObjectStore,
    address: &Address,
    timeout: Duration,
) -> Result<Vec<ObjectMeta>, String> {
    if !address.is_folder {
        match within(timeout, store.head(&address.key)).await? {
            Ok(object) => return Ok(vec![object]),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    let prefix = Some(&address.key).filter(|key| !text(key).is_empty());
    let mut listed = store.list(prefix);
    let mut objects = Vec::new();
    while let Some(entry) = within(timeout, listed.next()).await? {
        objects.push(entry.map_err(|error| explain(&error))?);
    }
    if objects.is_empty() {
        return Err("there is no object of this name, and none in a folder of this name".to_owned());
    }
    objects.sort_by(|left, right| left.location.cmp(&right.location));
    Ok(objects)
}
