//! Fetches objects in order, a few ahead of whoever takes them, on threads that do nothing else.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt as _};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt as _};
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{Receiver, channel};

use super::error::{StoreError, explain, within};

/// Bytes that show what an object is.
pub(crate) const START: usize = 512;

/// How often [`Fetcher::next`] asks whether to stop.
const TICK: Duration = Duration::from_millis(100);

/// A store and the key of an object in it.
type Object = (Arc<dyn ObjectStore>, Key);

/// Bounds on the work.
#[derive(Clone, Copy, Debug)]
pub struct FetchOptions {
    /// Objects that are fetched at the same time or wait to be taken.
    pub ahead: usize,
    /// Largest object that is held in memory, in bytes.
    pub most_bytes: u64,
    /// An object that sends nothing for this long counts as stalled.
    pub timeout: Duration,
    /// Says by the first bytes whether an object is spooled to a file, whatever its size.
    pub is_spooled: fn(&[u8]) -> bool,
}

/// An object that was fetched.
pub enum Fetched {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// A file with its bytes. If it is a temporary one, it is deleted when this is dropped.
    File(Arc<dyn AsRef<Path> + Send + Sync>),
}

/// Objects that are being fetched.
pub struct Fetcher {
    results: Receiver<Result<Fetched, String>>,
    /// `None` once it is being dropped.
    runtime: Option<Runtime>,
}

impl Fetcher {
    /// Begins to fetch.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start(objects: Vec<Object>, options: FetchOptions) -> Result<Self, StoreError> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().map_err(StoreError::Threads)?;
        let (sender, results) = channel(1);
        runtime.spawn(async move {
            let mut objects = objects.into_iter();
            let mut tasks = FuturesOrdered::new();
            loop {
                // Each object is a task, so that it goes on while the results of earlier ones wait.
                let free = options.ahead.max(1).saturating_sub(tasks.len());
                tasks.extend(
                    objects.by_ref().take(free).map(|object| tokio::spawn(fetch_one(object, options))),
                );
                let Some(fetched) = tasks.next().await else { return };
                let result = fetched.unwrap_or_else(|_| Err("cannot be read: fetching it failed".to_owned()));
                if sender.send(result).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { results, runtime: Some(runtime) })
    }

    /// The next object, or why it cannot be read, as a sentence. `None` at the end, or once `is_over` returns true.
    pub fn next(&mut self, is_over: impl Fn() -> bool) -> Option<Result<Fetched, String>> {
        let Self { results, runtime } = self;
        let runtime = runtime.as_ref()?;
        loop {
            let received = runtime.block_on(async { tokio::time::timeout(TICK, results.recv()).await });
            match received {
                Ok(result) => return result,
                Err(_) if is_over() => return None,
                Err(_) => {}
            }
        }
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Waiting for the network would delay the end of the program.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Fetches an object, or says in a sentence why it cannot be read.
pub(crate) async fn fetch_one((store, key): Object, options: FetchOptions) -> Result<Fetched, String> {
    let FetchOptions { most_bytes, timeout, is_spooled, .. } = options;
    let found = within(timeout, store.get(&key)).await?.map_err(|error| explain(&error))?;
    let size = found.meta.size;
    let mut stream = found.into_stream();
    let mut bytes = Vec::new();
    while bytes.len() < START {
        match next(&mut stream, timeout).await? {
            Some(chunk) => bytes.extend_from_slice(&chunk),
            None => return Ok(Fetched::Bytes(bytes)),
        }
    }
    if is_spooled(&bytes[..START]) {
        let cannot = |error: std::io::Error| format!("cannot be kept in a temporary file: {error}");
        let mut file = NamedTempFile::new().map_err(cannot)?;
        file.write_all(&bytes).map_err(cannot)?;
        while let Some(chunk) = next(&mut stream, timeout).await? {
            file.write_all(&chunk).map_err(cannot)?;
        }
        return Ok(Fetched::File(Arc::new(file.into_temp_path())));
    }
    if size > most_bytes {
        return Err(too_large(most_bytes));
    }
    while let Some(chunk) = next(&mut stream, timeout).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > most_bytes {
            return Err(too_large(most_bytes));
        }
    }
    Ok(Fetched::Bytes(bytes))
}

/// Says that a photo is larger than `most` bytes.
pub(crate) fn too_large(most: u64) -> String {
    format!("has more than {} MB, which is too much for a photo", most >> 20)
}

/// The next bytes of an object.
async fn next<B>(
    stream: &mut (impl Stream<Item = object_store::Result<B>> + Unpin),
    timeout: Duration,
) -> Result<Option<B>, String> {
    within(timeout, stream.next()).await?.transpose().map_err(|error| explain(&error))
}
