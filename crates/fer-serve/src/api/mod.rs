//! The API: our own routes (`/v1/…`), those of peers whose clients need not change, and what operators ask.

mod body;
mod live;
mod native;
mod peers;

use actix_web::{HttpResponse, web};
use fer_vision::{Analyzer, Lane};
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::startup::Service;

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only("/v1/analyze", "POST", web::post().to(native::analyze)))
        .service(only("/v1/annotate", "POST", web::post().to(native::annotate)))
        .service(only("/v1/batch", "POST", web::post().to(native::batch)))
        .service(only("/v1/live", "GET", web::get().to(live::live)))
        .service(only("/v1/model", "GET", web::get().to(native::model)))
        .service(only("/analyze", "POST", web::post().to(peers::deepface)))
        .service(only("/detect_emotions", "POST", web::post().to(peers::fer)))
        .service(only("/metrics", "GET", web::get().to(crate::metrics::metrics)))
        .service(only("/healthz", "GET", web::get().to(native::healthz)))
        .service(only("/readyz", "GET", web::get().to(native::readyz)));
}

/// A resource that answers other methods with our error.
pub(crate) fn only(path: &str, method: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::MethodNotAllowed(method))
    }))
}

pub(crate) use live::Connections;

/// Work on a photo, and its answer; refused at once where all are busy and the queue is full.
async fn run<T, F>(service: &Service, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer) -> Result<T, ApiError> + Send + 'static,
{
    run_in(service, Lane::Photo, work).await
}

/// The same in a lane.
async fn run_in<T, F>(service: &Service, lane: Lane, work: F) -> Result<T, ApiError>
where
    T: Send + 'static,
    F: FnOnce(&mut Analyzer) -> Result<T, ApiError> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    // A client that went away no longer receives.
    service.workers.submit(lane, move |analyzer| drop(send.send(work(analyzer))))?;
    receive.await.map_err(|_| ApiError::Internal)?
}
