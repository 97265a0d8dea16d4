//! Counts and logs every request. No picture, face or result is in the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web;
use tracing::info;

use crate::state::Service;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route label of every unknown path, so that clients cannot create labels.
const OTHER: &str = "other";

/// Counts and logs a request, and gives it an id, which the response carries in `X-Request-Id`.
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
        service.metrics.request(route, status);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    Ok(response)
}

/// The client's id when it consists of letters, digits and hyphens, otherwise a new one.
fn request_id(request: &ServiceRequest) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    given.map_or_else(
        || {
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            format!("{:x}-{number:x}", std::process::id())
        },
        str::to_owned,
    )
}
