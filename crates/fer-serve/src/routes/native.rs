//! Our own routes.

use std::io::Cursor;
use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use fer_pool::Lane;
use fer_vision::{Analysis, FaceRecord, Origin};
use futures_util::{StreamExt, stream};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, RgbImage};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::body;
use super::format::{AnswerFormat, FormatQuery};
use super::schemas::{BatchErrors, Bytes, GuardErrors, MOST_IMAGES, PhotoErrors, PhotoForm, PhotosForm};
use crate::error::{ApiError, ErrorAnswer};
use crate::inference::run;
use crate::state::Service;

/// JPEG quality of an annotated photo, 1 to 100.
const JPEG_QUALITY: u8 = 90;

/// Time between two attempts of a batch's photo to enter the full queue.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// How long a batch's photo tries to enter the full queue.
const ASK_FOR: Duration = Duration::from_secs(20);

/// The answer for one photo, in the form that the client asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum PhotoAnswer {
    /// The default.
    Analysis(Analysis),
    /// With `format=records`.
    Records(Vec<FaceRecord>),
}

/// Finds the faces of a photo and their emotions.
///
/// The photo is the body, or the field `image` of a form.
#[utoipa::path(
    post,
    path = "/v1/analyze",
    operation_id = "analyze",
    tag = "photos",
    params(FormatQuery),
    request_body(content(
        (PhotoForm = "multipart/form-data"),
        (Bytes = "image/jpeg"),
        (Bytes = "image/png"),
        (Bytes = "image/webp"),
        (Bytes = "application/octet-stream"),
    )),
    responses((status = 200, description = "The faces", body = PhotoAnswer), PhotoErrors)
)]
pub(super) async fn analyze(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let format = AnswerFormat::of(request.query_string())?;
    let photo = received(&service, &request, payload, "image").await?;
    let analysis = analysis(&service, photo.bytes).await?;
    let answer = match format {
        AnswerFormat::Analysis => PhotoAnswer::Analysis(analysis),
        AnswerFormat::Records => PhotoAnswer::Records(FaceRecord::of(&Origin::photo(photo.name), &analysis)),
    };
    Ok(uncached().json(answer))
}

/// Returns the photo with a box and a label drawn at each face.
///
/// The answer is a JPEG, or a PNG if `Accept` names `image/png` and not `image/jpeg`.
#[utoipa::path(
    post,
    path = "/v1/annotate",
    operation_id = "annotate",
    tag = "photos",
    request_body(content(
        (PhotoForm = "multipart/form-data"),
        (Bytes = "image/jpeg"),
        (Bytes = "image/png"),
        (Bytes = "image/webp"),
        (Bytes = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "The picture", content((Bytes = "image/jpeg"), (Bytes = "image/png"))),
        PhotoErrors,
    )
)]
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
        let (mut pixels, analysis) = analyzer.analyze_while(&photo.bytes, &needed)?;
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

/// The answer for several photos, in the form that the client asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchAnswer {
    /// The default.
    Results(BatchResults),
    /// With `format=records`.
    Records(Vec<FaceRecord>),
}

/// One result for each photo of a batch, in the order of the photos.
#[derive(Serialize, ToSchema)]
struct BatchResults {
    results: Vec<BatchResult>,
}

/// What became of one photo of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchResult {
    /// The photo was analysed.
    Analysis(Box<Analysis>),
    /// The photo could not be analysed.
    Error(ErrorAnswer),
}

/// Finds the faces of up to 64 photos in one form.
///
/// The results are in the order of the photos. A photo that cannot be analysed has an error in place of its result and does not
/// affect the others.
#[utoipa::path(
    post,
    path = "/v1/batch",
    operation_id = "batch",
    tag = "photos",
    params(FormatQuery),
    request_body(content((PhotosForm = "multipart/form-data"))),
    responses((status = 200, description = "A result for each photo", body = BatchAnswer), BatchErrors)
)]
pub(super) async fn batch(
    service: web::Data<Service>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    if !body::is(&request, "multipart/form-data") {
        return Err(ApiError::BadRequest(
            "a batch must be a multipart form with one field 'image' for each photo".to_owned(),
        ));
    }
    let format = AnswerFormat::of(request.query_string())?;
    let fields = body::form(&request, payload, &service.batch).await?;
    let (names, images): (Vec<_>, Vec<_>) = fields
        .into_iter()
        .filter(|field| field.name == "image")
        .map(|field| (field.file_name, field.body.into_shared()))
        .unzip();
    if images.is_empty() {
        return Err(ApiError::MissingField("image"));
    }
    if images.len() > MOST_IMAGES {
        let message = format!("the batch has {} photos; send at most {MOST_IMAGES}", images.len());
        return Err(ApiError::BadRequest(message));
    }
    // At most as many photos at once as there are workers, so that a batch does not fill the queue.
    let service = &service;
    let answers = stream::iter(images.into_iter().map(|image| async move {
        if image.len() > service.body.bytes {
            return Err(ApiError::BodyTooLarge(service.body.bytes));
        }
        patiently(service, image).await
    }));
    let answers: Vec<_> = answers.buffered(service.workers.count()).collect().await;
    Ok(uncached().json(match format {
        AnswerFormat::Analysis => BatchAnswer::Results(results(answers)),
        AnswerFormat::Records => BatchAnswer::Records(records(names, &answers)),
    }))
}

/// Reads a photo if the queue has room for it, so that a busy server refuses a request before it reads the body.
pub(super) async fn received(
    service: &Service,
    request: &HttpRequest,
    payload: web::Payload,
    field: &'static str,
) -> Result<body::Photo, ApiError> {
    service.workers.check_room(Lane::Photo)?;
    body::image(request, payload, field, &service.body).await
}

fn results(answers: Vec<Result<Analysis, ApiError>>) -> BatchResults {
    let result = |answer| match answer {
        Ok(analysis) => BatchResult::Analysis(Box::new(analysis)),
        Err(error) => BatchResult::Error(ErrorAnswer::from(&error)),
    };
    BatchResults { results: answers.into_iter().map(result).collect() }
}

fn records(names: Vec<Option<String>>, answers: &[Result<Analysis, ApiError>]) -> Vec<FaceRecord> {
    let rows = |(name, answer): (Option<String>, &Result<Analysis, ApiError>)| match answer {
        Ok(analysis) => FaceRecord::of(&Origin::photo(name), analysis),
        Err(error) => vec![FaceRecord::failed(&Origin::photo(name), error.to_string())],
    };
    names.into_iter().zip(answers).flat_map(rows).collect()
}

/// Analyses a photo, or refuses it at once if the queue is full.
pub(super) async fn analysis(service: &Service, photo: web::Bytes) -> Result<Analysis, ApiError> {
    let (_, analysis) = run(service, move |analyzer, cancellation| {
        Ok(analyzer.analyze_while(&photo, &|| !cancellation.is_cancelled())?)
    })
    .await?;
    service.metrics.picture(&analysis.timing_ms);
    Ok(analysis)
}

/// Analyses a photo and waits for a place in the queue, up to [`ASK_FOR`].
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

/// The model that this server uses.
#[derive(Serialize, ToSchema)]
struct ModelAnswer {
    /// Name of the emotion bundle.
    name: String,
    /// Labels that the answers follow: `fer2013` or `ferplus`.
    labels: &'static str,
    /// Inference engine: `tract` or `onnxruntime`.
    engine: &'static str,
    /// What convolutions are computed in: `f32` or `int8`.
    precision: &'static str,
    /// The engine in words for people.
    engine_detail: String,
    /// Version of this server.
    version: &'static str,
    /// Settings of group reports. Null if the server does not offer them.
    #[schema(required = true)]
    group_report: Option<GroupReport>,
    /// `model.json` of the bundle: architecture, preprocessing, scores and model card.
    #[schema(value_type = Object)]
    bundle: Value,
}

/// Settings of group reports.
#[derive(Serialize, ToSchema)]
struct GroupReport {
    /// Fewest faces about which a report says anything.
    min_faces: u32,
}

/// Describes the model: network, scores and engine.
#[utoipa::path(
    get,
    path = "/v1/model",
    operation_id = "model",
    tag = "server",
    responses((status = 200, description = "The model", body = ModelAnswer), GuardErrors)
)]
pub(super) async fn model(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(ModelAnswer {
        name: service.bundle.name().to_owned(),
        labels: service.bundle.head().label_set.name(),
        engine: service.engine.kind().name(),
        precision: service.engine.precision().name(),
        engine_detail: service.engine.describe(),
        version: env!("CARGO_PKG_VERSION"),
        group_report: service.group_min_faces.map(|min_faces| GroupReport { min_faces }),
        bundle: json!(service.bundle.manifest()),
    })
}

/// The state of the process.
#[derive(Serialize, ToSchema)]
struct Health {
    /// Always `ok`.
    status: &'static str,
    /// Pictures that wait for a worker.
    waiting: usize,
    /// Workers that panicked and were replaced since the start.
    worker_panics: u64,
}

/// Whether the process is alive.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "server",
    security(()),
    responses((status = 200, description = "The process is alive", body = Health))
)]
pub(super) async fn healthz(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        waiting: service.workers.waiting(),
        worker_panics: service.workers.panics(),
    })
}

/// Whether the server takes new requests.
#[derive(Serialize, ToSchema)]
struct Readiness {
    /// `ready` or `draining`.
    status: &'static str,
}

/// Whether new requests are welcome. They are not while the server shuts down.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "New requests are welcome", body = Readiness),
        (status = 503, description = "The server shuts down", body = Readiness),
    )
)]
pub(super) async fn readyz(service: web::Data<Service>) -> HttpResponse {
    if service.is_draining() {
        return HttpResponse::ServiceUnavailable().json(Readiness { status: "draining" });
    }
    HttpResponse::Ok().json(Readiness { status: "ready" })
}

/// A response that no cache may keep, because it is about its sender's photo.
pub(super) fn uncached() -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response
}
