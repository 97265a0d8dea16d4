//! The API: `POST /v1/analyze`, `GET /v1/model`, `GET /healthz`.

use actix_multipart::Multipart;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use crate::error::ApiError;
use crate::startup::Service;

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only("/v1/analyze", "POST", web::post().to(analyze)))
        .service(only("/v1/model", "GET", web::get().to(model)))
        .service(only("/healthz", "GET", web::get().to(healthz)));
}

/// A resource that answers other methods with our error.
pub(crate) fn only(path: &str, method: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::MethodNotAllowed(method))
    }))
}

/// An image as the body, or as the field `image` of a multipart form.
async fn analyze(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let most = service.max_body;
    let photo = if is_multipart(&request) {
        form_image(&request, payload, most).await?
    } else {
        let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if declared.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > most) {
            return Err(ApiError::BodyTooLarge(most));
        }
        collect(payload, most).await?
    };
    if photo.is_empty() {
        return Err(ApiError::EmptyBody);
    }
    let (send, receive) = oneshot::channel();
    let job = Box::new(move |analyzer: &mut fer_vision::Analyzer| analyzer.analyze(&photo));
    // A client that went away no longer receives.
    let answer = Box::new(move |result| drop(send.send(result)));
    service.workers.submit(job, answer)?;
    let analysis = receive.await.map_err(|_| ApiError::Internal)??;
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(analysis))
}

fn is_multipart(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"))
}

/// The bytes of the form's field `image`; other fields are passed over, all of them within the bound.
async fn form_image(request: &HttpRequest, payload: web::Payload, most: usize) -> Result<Vec<u8>, ApiError> {
    let mut payload = payload.into_inner();
    let mut form = Multipart::from_request(request, &mut payload).await.map_err(|e| bad(&e))?;
    let mut left = most;
    while let Some(mut field) = form.try_next().await.map_err(|e| bad(&e))? {
        let wanted = field.name() == Some("image");
        let mut bytes = Vec::new();
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(|e| bad(&e))?;
            left = left.checked_sub(chunk.len()).ok_or(ApiError::BodyTooLarge(most))?;
            if wanted {
                bytes.extend_from_slice(&chunk);
            }
        }
        if wanted {
            return Ok(bytes);
        }
    }
    Err(ApiError::MissingField)
}

async fn collect(
    mut payload: impl Stream<Item = Result<web::Bytes, actix_web::error::PayloadError>> + Unpin,
    most: usize,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| bad(&e))?;
        if bytes.len() + chunk.len() > most {
            return Err(ApiError::BodyTooLarge(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn bad(error: &impl std::fmt::Display) -> ApiError {
    ApiError::BadRequest(error.to_string())
}

/// Facts of the bundle, the architecture's JSON, and the engine.
async fn model(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({
        "name": service.bundle.name(),
        "engine": service.engine.kind().name(),
        "engine_detail": service.engine.describe(),
        "version": env!("CARGO_PKG_VERSION"),
        "bundle": service.bundle.manifest(),
    }))
}

async fn healthz(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(serde_json::json!({
        "status": "ok",
        "waiting": service.workers.waiting(),
        "worker_panics": service.workers.panics(),
    }))
}
