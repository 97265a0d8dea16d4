//! Our own routes.

use std::io::Cursor;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use fer_pool::Lane;
use fer_vision::Analysis;
use futures_util::{StreamExt, stream};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use super::body;
use crate::error::ApiError;
use crate::inference::run;
use crate::state::Service;

/// Of an annotated photo.
const JPEG_QUALITY: u8 = 90;

/// Images of one batch.
const MOST_IMAGES: usize = 64;

/// While the queue is full, the images of a batch ask again: this often, and for this long.
const ASK_AGAIN: Duration = Duration::from_millis(50);
const ASK_FOR: Duration = Duration::from_secs(20);

/// An image as the body, or as the field `image` of a multipart form.
pub(super) async fn analyze(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let photo = received(&service, &request, payload, "image").await?;
    let analysis = analysis(&service, photo).await?;
    Ok(uncached().json(analysis))
}

/// The same photo with boxes and labels: PNG where `Accept` asks for it and for no JPEG, else JPEG.
pub(super) async fn annotate(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let photo = received(&service, &request, payload, "image").await?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let accepted = |kind: &str| accept.is_some_and(|accept| accept.contains(kind));
    let png = accepted("image/png") && !accepted("image/jpeg");
    let (bytes, timing) = run(&service, move |analyzer, cancellation| {
        let needed = || !cancellation.is_cancelled();
        let (mut pixels, analysis) = analyzer.analyze_while(&photo, &needed)?;
        fer_vision::annotate(&mut pixels, &analysis);
        Ok((encode(&pixels, png)?, analysis.timing_ms))
    })
    .await?;
    service.metrics.picture(&timing);
    Ok(uncached().content_type(if png { "image/png" } else { "image/jpeg" }).body(bytes))
}

fn encode(pixels: &RgbImage, png: bool) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Cursor::new(Vec::new());
    let written = if png {
        pixels.write_to(&mut bytes, ImageFormat::Png)
    } else {
        pixels.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY))
    };
    written.map_err(|_| ApiError::Internal)?;
    Ok(bytes.into_inner())
}

/// Every file of a multipart form: `{"results": […]}` in their order, each an analysis or an error.
pub(super) async fn batch(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    if !body::is(&request, "multipart/form-data") {
        return Err(ApiError::BadRequest(
            "a batch is a multipart form with a field 'image' for each".to_owned(),
        ));
    }
    let fields = body::form(&request, payload, &service.batch).await?;
    let images = fields.into_iter().filter(|field| field.name == "image");
    let images: Vec<web::Bytes> = images.map(|field| field.body.into_shared()).collect();
    if images.is_empty() {
        return Err(ApiError::MissingField("image"));
    }
    if images.len() > MOST_IMAGES {
        let message = format!("{} images; a batch takes at most {MOST_IMAGES}", images.len());
        return Err(ApiError::BadRequest(message));
    }
    // As many at once as there are workers, so that a batch leaves the queue to others.
    let service = &service;
    let answers = stream::iter(images.into_iter().map(|image| async move {
        if image.len() > service.body.bytes {
            return Err(ApiError::BodyTooLarge(service.body.bytes));
        }
        patiently(service, image).await
    }));
    let answers: Vec<_> = answers.buffered(service.workers.count()).collect().await;
    let result = |answer: Result<Analysis, ApiError>| match answer {
        Ok(analysis) => serde_json::to_value(analysis).unwrap_or(Value::Null),
        Err(error) => error.json(),
    };
    Ok(uncached().json(json!({ "results": answers.into_iter().map(result).collect::<Vec<_>>() })))
}

/// Reads a photo if the queue has room for it, so that a busy server refuses a request before it reads the body.
pub(super) async fn received(
    service: &Service,
    request: &HttpRequest,
    payload: web::Payload,
    field: &'static str,
) -> Result<web::Bytes, ApiError> {
    service.workers.check_room(Lane::Photo)?;
    body::image(request, payload, field, &service.body).await
}

/// Of a photo, at once or not at all.
pub(super) async fn analysis(service: &Service, photo: web::Bytes) -> Result<Analysis, ApiError> {
    let (_, analysis) = run(service, move |analyzer, cancellation| {
        Ok(analyzer.analyze_while(&photo, &|| !cancellation.is_cancelled())?)
    })
    .await?;
    service.metrics.picture(&analysis.timing_ms);
    Ok(analysis)
}

/// An analysis that waits for a place in the queue.
async fn patiently(service: &Service, photo: web::Bytes) -> Result<Analysis, ApiError> {
    let started = Instant::now();
    loop {
        match analysis(service, photo.clone()).await {
            Err(ApiError::Busy(_)) if started.elapsed() < ASK_FOR => {
                actix_web::rt::time::sleep(ASK_AGAIN).await;
            }
            answer => return answer,
        }
    }
}

/// Facts of the bundle, the architecture's JSON, and the engine.
pub(super) async fn model(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "name": service.bundle.name(),
        "engine": service.engine.kind().name(),
        "engine_detail": service.engine.describe(),
        "version": env!("CARGO_PKG_VERSION"),
        "group_report": service.group_min_faces.map(|faces| json!({ "min_faces": faces })),
        "bundle": service.bundle.manifest(),
    }))
}

/// That the process lives.
pub(super) async fn healthz(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "ok",
        "waiting": service.workers.waiting(),
        "worker_panics": service.workers.panics(),
    }))
}

/// Whether new requests are welcome: not while the server drains.
pub(super) async fn readyz(service: web::Data<Service>) -> HttpResponse {
    if service.is_draining() {
        return HttpResponse::ServiceUnavailable().json(json!({ "status": "draining" }));
    }
    HttpResponse::Ok().json(json!({ "status": "ready" }))
}

/// What is said of a photo is for the one who sent it.
pub(super) fn uncached() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}
