//! What the parts of one process share: opened stores, memory for objects, and the threads with the networks.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fer_pool::{Bounds, Workers};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::Job;
use crate::CorpusError;
use crate::kernel::{Kernels, Session};
use crate::store::{FetchOptions, Fetched, Listed, Opened, START, fetch_one, local_path, too_large, within};

/// Parts that run at the same time, so that one is fetched while the last objects of the other are analysed.
pub(crate) const PARTS: usize = 2;

/// Objects of a part that are fetched or wait, beyond one for each thread.
const AHEAD: usize = 4;

/// Bytes of objects in memory, unless one object is larger.
const BYTES: u64 = 1 << 30;

/// Bytes that an object counts for whose size the listing does not say.
const UNKNOWN: u64 = 8 << 20;

/// Bytes of a file that are read at a time.
const PIECE: u64 = 8 << 20;

/// The threads with the networks.
pub(super) type Pool = Workers<Box<dyn Session>>;

/// A place where parts run.
pub struct Host {
    kernels: Box<dyn Kernels>,
    threads: usize,
    /// Fetches and waits. Never runs a network.
    pub(super) handle: Handle,
    pub(super) opened: Opened,
    pub(super) parts: Semaphore,
    /// Kilobytes.
    memory: Arc<Semaphore>,
    /// The pool of the job that ran last.
    pool: Mutex<Option<(Job, Arc<Pool>)>>,
    objects: AtomicU64,
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Host").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl Host {
    /// A place with so many inference threads. Fetching runs on the runtime of `handle`.
    pub fn new(kernels: Box<dyn Kernels>, threads: usize, handle: Handle) -> Arc<Self> {
        Arc::new(Self {
            kernels,
            threads: threads.max(1),
            handle,
            opened: Opened::default(),
            parts: Semaphore::new(PARTS),
            memory: Arc::new(Semaphore::new(usize::try_from(BYTES >> 10).unwrap_or(usize::MAX))),
            pool: Mutex::new(None),
            objects: AtomicU64::new(0),
        })
    }

    /// Objects that are done since the start.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    pub(super) fn count_object(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }

    /// Objects of a part that may be fetched or wait at the same time.
    pub(super) fn ahead(&self) -> usize {
        self.threads + AHEAD
    }

    /// The threads for a job. They are started once for all its parts.
    pub(super) async fn pool(&self, job: &Job) -> Result<Arc<Pool>, CorpusError> {
        let mut open = self.pool.lock().await;
        if let Some((of, pool)) = &*open
            && (&of.settings, &of.metadata) == (&job.settings, &job.metadata)
        {
            return Ok(Arc::clone(pool));
        }
        // What is fetched of each part is bounded, so that the pool never refuses a job.
        let bounds = Bounds { jobs: 2 * PARTS * (self.ahead() + 2), bytes: usize::MAX };
        let start = || {
            let kernel = self.kernels.open(&job.settings, &job.metadata)?;
            Workers::start(self.threads, bounds, move || kernel.session())
        };
        let pool = Arc::new(tokio::task::block_in_place(start).map_err(CorpusError::Kernel)?);
        *open = Some((job.clone(), Arc::clone(&pool)));
        Ok(pool)
    }

    /// Fetches an object, or says in a sentence why it cannot be read. The memory is given back when the second value is dropped.
    pub(super) async fn fetch(
        &self,
        object: &Listed,
        job: &Job,
    ) -> Result<(Fetched, Option<OwnedSemaphorePermit>), String> {
        let size = object.size.unwrap_or(UNKNOWN).min(job.most_bytes).min(BYTES);
        let kilobytes = u32::try_from(size >> 10).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(kilobytes).await;
        let memory = memory.map_err(|_| "cannot be read: the program ends".to_owned())?;
        let options = FetchOptions {
            ahead: 1,
            most_bytes: job.most_bytes,
            timeout: job.timeout,
            is_spooled: self.kernels.is_video(),
        };
        let fetched = if object.uri.starts_with("file://") {
            let path = local_path(&object.uri).map_err(|error| error.to_string())?;
            read(path, options).await?
        } else {
            let place = self.opened.object(&object.uri).map_err(|error| error.to_string())?;
            fetch_one(place, options).await?
        };
        // A video is in a file and takes no memory.
        let memory = matches!(fetched, Fetched::Bytes(_)).then_some(memory);
        Ok((fetched, memory))
    }
}

/// Reads a file of this machine, unless it is a video.
async fn read(path: PathBuf, options: FetchOptions) -> Result<Fetched, String> {
    let FetchOptions { most_bytes, timeout, is_spooled, .. } = options;
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut file = within(timeout, File::open(&path)).await?.map_err(cannot)?;
    let size = within(timeout, file.metadata()).await?.map_err(cannot)?.len();
    let mut bytes = Vec::new();
    let mut start = (&mut file).take(START as u64);
    within(timeout, start.read_to_end(&mut bytes)).await?.map_err(cannot)?;
    if is_spooled(&bytes) {
        return Ok(Fetched::File(Arc::new(path)));
    }
    if size > most_bytes {
        return Err(too_large(most_bytes));
    }
    loop {
        let mut piece = (&mut file).take(PIECE);
        match within(timeout, piece.read_to_end(&mut bytes)).await?.map_err(cannot)? {
            0 => return Ok(Fetched::Bytes(bytes)),
            _ if bytes.len() as u64 > most_bytes => return Err(too_large(most_bytes)),
            _ => {}
        }
    }
}
