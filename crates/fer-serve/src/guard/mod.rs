//! The middleware in front of every route that needs a key.

pub(crate) mod access;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use crate::error::ApiError;
use crate::state::Service;

/// Refuses who has no key or asks too often. A live connection may bring its key in the first message, because browsers cannot
/// send it earlier.
pub(crate) async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, actix_web::Error> {
    if let Some(service) = request.app_data::<web::Data<Service>>() {
        let access = &service.access;
        let refused = match access.count(access.client(request.request())) {
            Err(seconds) => Some(ApiError::TooManyRequests(seconds)),
            Ok(()) => match access.admits(request.headers()) {
                Some(true) => None,
                None if request.path() == "/v1/live" => None,
                _ => Some(ApiError::NoKey),
            },
        };
        if let Some(error) = refused {
            return Ok(request.into_response(error.error_response()).map_into_right_body());
        }
    }
    Ok(next.call(request).await?.map_into_left_body())
}
