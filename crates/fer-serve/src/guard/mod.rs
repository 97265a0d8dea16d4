//! The middleware in front of every route that needs a key.

pub(crate) mod access;
pub(crate) mod client_address;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{ResponseError, web};

use crate::error::ApiError;
use crate::state::Service;

/// Refuses requests without a valid key and clients that send too many. A live connection may send its key in its first message,
/// because browsers cannot add a header to a WebSocket.
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
