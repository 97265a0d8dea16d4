//! What operators see: counters and histograms for Prometheus, and a log line for each request. No picture, face or answer
//! is in either.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};
use fer_vision::Timing;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing::info;

use crate::startup::Service;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a route is not known, so that no client can make up labels.
const OTHER: &str = "other";

/// Of an analysis, in their order.
const STAGES: [&str; 3] = ["decode", "detect", "classify"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    stages: Family<Stage, Histogram>,
    /// Frames of live connections for which a newer one was taken.
    pub(crate) dropped_frames: Counter,
    waiting: Gauge,
    panics: Gauge<i64>,
    live: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("fer");
        let requests = Family::default();
        registry.register("http_requests", "Requests by route and status", requests.clone());
        let stages = Family::<Stage, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.001, 2.0, 14))
        });
        let help = "Time of a picture in a stage of the analysis, waiting left out";
        registry.register_with_unit("stage", help, Unit::Seconds, stages.clone());
        // There from the start, at nought.
        for stage in STAGES {
            drop(stages.get_or_create(&Stage { stage }));
        }
        let dropped_frames = Counter::default();
        registry.register("dropped_frames", "Live frames passed over for newer ones", dropped_frames.clone());
        let (waiting, panics, live) = (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("queue_waiting", "Pictures that wait for a worker", waiting.clone());
        registry.register("worker_panics", "Workers that panicked and were replaced", panics.clone());
        registry.register("live_connections", "Open live connections", live.clone());
        Self { registry, requests, stages, dropped_frames, waiting, panics, live }
    }
}

impl Metrics {
    /// A picture's times.
    pub(crate) fn picture(&self, timing: &Timing) {
        for (stage, milliseconds) in STAGES.into_iter().zip([timing.decode, timing.detect, timing.classify]) {
            self.stages.get_or_create(&Stage { stage }).observe(milliseconds / 1000.0);
        }
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(service: web::Data<Service>) -> HttpResponse {
    let metrics = &service.metrics;
    metrics.waiting.set(i64::try_from(service.workers.waiting()).unwrap_or(i64::MAX));
    metrics.panics.set(i64::try_from(service.workers.panics()).unwrap_or(i64::MAX));
    metrics.live.set(i64::try_from(service.live.count()).unwrap_or(i64::MAX));
    let mut text = String::new();
    match encode(&mut text, &metrics.registry) {
        Ok(()) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// Counts and logs every request, and gives it an id, which the answer carries too.
pub(crate) async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let id = request_id(&request);
    let method = request.method().clone();
    let mut response = next.call(request).await?;
    let route = response.request().match_pattern().unwrap_or_else(|| OTHER.to_owned());
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_millis() as u64;
    info!(request_id = %id, method = %method, route = %route, status, ms = milliseconds, "request");
    if let Some(service) = response.request().app_data::<web::Data<Service>>() {
        service.metrics.requests.get_or_create(&Request { route, status }).inc();
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// The client's, where it is a plain word, else a new one.
fn request_id(request: &ServiceRequest) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(
        || {
            let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            format!("{:x}-{number:x}", std::process::id())
        },
        str::to_owned,
    )
}
