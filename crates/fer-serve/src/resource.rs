//! Routes that answer other methods with our own error.

use actix_web::{HttpResponse, web};

use crate::error::ApiError;

/// A resource that answers other methods with our error.
pub(crate) fn only(path: &str, method: &'static str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::MethodNotAllowed(method))
    }))
}
