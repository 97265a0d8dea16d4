//! `GET /metrics`

use actix_web::{HttpResponse, web};

use crate::metrics::Gauges;
use crate::state::Service;

/// Counters and histograms for Prometheus, as OpenMetrics text.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    security(()),
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(service: web::Data<Service>) -> HttpResponse {
    let gauges = Gauges {
        waiting: service.workers.waiting(),
        panics: service.workers.panics(),
        skipped: service.workers.skipped(),
        inflight: service.workers.budget().used(),
        live: service.live.count(),
    };
    match service.metrics.text(&gauges) {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}
