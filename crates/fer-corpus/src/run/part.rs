//! Runs one part: fetches its objects ahead, hands them to the threads in their order, and writes the rows in the same order.

use std::io::BufWriter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fer_pool::{Cancellation, Lane};
use fer_table::{Format, Layout, Metadata, Row, TableError, TableWriter, from_batch};
use fer_vision::Origin;
use futures_util::{StreamExt as _, stream};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tempfile::NamedTempFile;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::host::Pool;
use super::{Host, Job, Summary};
use crate::CorpusError;
use crate::kernel::Session;
use crate::manifest::read_part;
use crate::store::{Folder, Listed};

/// Pieces of one video that may wait for the writer.
const PIECES: usize = 16;

/// The message of a row whose session panicked.
const PANICKED: &str = "the analysis ended unexpectedly; this is a bug of this program";

/// Rows of one object.
enum Piece {
    /// Rows of a picture.
    Rows(Vec<Row>),
    /// There are no more. A channel that closes without it belongs to a session that panicked.
    End,
}

/// The rows of an object, which come while it is analysed.
struct Pending {
    uri: String,
    pieces: Receiver<Piece>,
}

/// Runs a part, unless its table is there already.
pub(super) async fn run(host: Arc<Host>, job: Arc<Job>, part: String) -> Result<Summary, CorpusError> {
    let in_table = |source: TableError| CorpusError::Table { part: part.clone(), source };
    let out = Folder::new(&job.out, &host.opened, job.timeout)?;
    let closed = || CorpusError::Engine("the program ends".to_owned());
    let _running = host.parts.acquire().await.map_err(|_| closed())?;
    // An executor may have written it and been lost before it could say so.
    if let Some(summary) = written(&out, &part).await? {
        return Ok(summary);
    }
    let pool = host.pool(&job).await?;
    let manifest = Folder::new(&job.manifest, &host.opened, job.timeout)?;
    let objects = read_part(&manifest, &part).await?;

    let (sender, receiver) = channel(host.ahead());
    let (staged, metadata, name) = (out.stage()?, job.metadata.clone(), part.clone());
    let writer = AbortOnDrop(tokio::task::spawn_blocking(move || write(receiver, staged, &metadata, name)));
    // Dropping this future gives up the part.
    let cancellation = Cancellation::default();
    let _until_dropped = cancellation.cancel_on_drop();
    feed((&host, &job, &pool), objects, sender, &cancellation).await?;
    let (staged, summary) = writer.await?.map_err(in_table)?;
    out.commit(&part, staged).await?;
    Ok(summary)
}

/// Fetches objects and hands them to the threads, and their rows to the writer, in order.
async fn feed(
    (host, job, pool): (&Arc<Host>, &Arc<Job>, &Pool),
    objects: Vec<Listed>,
    sender: Sender<Pending>,
    cancellation: &Cancellation,
) -> Result<(), CorpusError> {
    let mut fetches = stream::iter(objects)
        .map(|object| {
            let (host, job) = (Arc::clone(host), Arc::clone(job));
            // Each is a task, so that it goes on while the results of earlier ones wait.
            AbortOnDrop(tokio::spawn(async move { (host.fetch(&object, &job).await, object.uri) }))
        })
        .buffered(host.ahead());
    while let Some(fetched) = fetches.next().await {
        let (fetched, uri) = fetched?;
        let (pieces, pending) = channel(PIECES);
        match fetched {
            Err(message) => ready(&pieces, &uri, message).await,
            Ok((contents, memory)) => {
                let (host, name, given_up) = (Arc::clone(host), uri.clone(), cancellation.clone());
                let work = move |session: &mut Box<dyn Session>| {
                    session.analyze(&name, contents, &mut |rows| {
                        !given_up.is_cancelled() && pieces.blocking_send(Piece::Rows(rows)).is_ok()
                    });
                    // Nobody listens any more if the part was given up.
                    let _ = pieces.blocking_send(Piece::End);
                    host.count_object();
                    drop(memory);
                };
                // A refused job closes its channel, which is reported like a panic; the bounds keep it from happening.
                let _ = pool.submit(Lane::Photo, cancellation, work);
            }
        }
        // A writer that has ended says why itself.
        if sender.send(Pending { uri, pieces: pending }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A task that is ended when nobody waits for it any more.
pub(super) struct AbortOnDrop<T>(pub(super) JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, CorpusError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = Pin::new(&mut self.0).poll(context);
        ended.map_err(|error| CorpusError::Engine(format!("a task ended unexpectedly: {error}")))
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ready(pieces: &Sender<Piece>, uri: &str, message: String) {
    let row = Row::failed(&Origin::photo(Some(uri.to_owned())), message);
    // The channel has room, and its other end is held by the caller.
    let _ = pieces.send(Piece::Rows(vec![row])).await;
    let _ = pieces.send(Piece::End).await;
}

/// Writes the rows of a part, on a thread that may wait.
fn write(
    mut objects: Receiver<Pending>,
    staged: NamedTempFile,
    metadata: &Metadata,
    part: String,
) -> Result<(NamedTempFile, Summary), TableError> {
    let mut summary = Summary { part, ..Summary::default() };
    let output = BufWriter::new(staged.as_file());
    let mut table = TableWriter::new(output, Format::Parquet, Layout::Fer, metadata)?;
    while let Some(Pending { uri, mut pieces }) = objects.blocking_recv() {
        loop {
            match pieces.blocking_recv() {
                Some(Piece::Rows(rows)) => {
                    summary.add(&rows);
                    table.write(&rows)?;
                }
                Some(Piece::End) => break,
                None => {
                    let row = Row::failed(&Origin::photo(Some(uri)), PANICKED);
                    summary.add(std::slice::from_ref(&row));
                    table.write(&[row])?;
                    break;
                }
            }
        }
    }
    table.finish()?;
    Ok((staged, summary))
}

/// Counts over the table of a part, if it is there.
pub(super) async fn written(out: &Folder, part: &str) -> Result<Option<Summary>, CorpusError> {
    let summary = out.get(part).await?.map(|table| summarise(part, table)).transpose();
    summary.map_err(|source| CorpusError::Table { part: part.to_owned(), source })
}

/// Counts over a table that was written before.
fn summarise(part: &str, table: Bytes) -> Result<Summary, TableError> {
    let mut summary = Summary { part: part.to_owned(), ..Summary::default() };
    let mut picture: Vec<Row> = Vec::new();
    for batch in ParquetRecordBatchReaderBuilder::try_new(table)?.build()? {
        for row in from_batch(&batch?, 1)? {
            let is_same = |last: &Row| {
                (&last.record.source, last.record.frame) == (&row.record.source, row.record.frame)
                    && last.record.face.is_some()
                    && row.record.face.is_some_and(|face| face > 0)
            };
            if !picture.last().is_some_and(is_same) {
                summary.add(&picture);
                picture.clear();
            }
            picture.push(row);
        }
    }
    summary.add(&picture);
    Ok(summary)
}
