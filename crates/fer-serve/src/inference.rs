//! Hands work to the pool of inference threads and waits for its result.

use fer_pool::Lane;
use fer_vision::Analyzer;
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::state::Service;

/// Work on a photo, and its answer; refused at once where all are busy and the queue is full.
pub(crate) async fn run<T, F>(service: &Service, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer) -> Result<T, ApiError> + Send + 'static,
{
    run_in(service, Lane::Photo, work).await
}

/// The same in a lane.
pub(crate) async fn run_in<T, F>(service: &Service, lane: Lane, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer) -> Result<T, ApiError> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    // A client that went away no longer receives.
    service.workers.submit(lane, move |analyzer| drop(send.send(work(analyzer))))?;
    receive.await.map_err(|_| ApiError::Internal)?
}
