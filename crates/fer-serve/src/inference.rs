//! Hands work to the pool of inference threads and waits for its result.

use fer_pool::{Cancellation, Lane};
use fer_vision::Analyzer;
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::state::Service;

/// Runs work on a photo and returns its result. The work asks the [`Cancellation`] between its stages.
///
/// When the returned future is dropped because the client has left, the work is cancelled: it is skipped if it has not started.
///
/// # Errors
/// [`ApiError::Busy`] at once if the queue is full, [`ApiError::Internal`] if the work panics, and the errors of the work.
pub(crate) async fn run<T, F>(service: &Service, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer, &Cancellation) -> Result<T, ApiError> + Send + 'static,
{
    run_in(service, Lane::Photo, work).await
}

/// Like [`run`], in a lane of the queue.
pub(crate) async fn run_in<T, F>(service: &Service, lane: Lane, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer, &Cancellation) -> Result<T, ApiError> + Send + 'static,
{
    let cancellation = Cancellation::default();
    let _cancel_when_the_client_leaves = cancellation.cancel_on_drop();
    let (send, receive) = oneshot::channel();
    let asked = cancellation.clone();
    // Sending fails if the client has left; then nobody needs the result.
    let job = move |analyzer: &mut Analyzer| drop(send.send(work(analyzer, &asked)));
    service.workers.submit(lane, &cancellation, job)?;
    receive.await.map_err(|_| ApiError::Internal)?
}
