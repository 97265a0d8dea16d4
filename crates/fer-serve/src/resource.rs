//! Resources that answer one method, and every other method with our own error.

use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, guard, web};

use crate::error::ApiError;

/// A resource for GET and HEAD. HEAD gets the headers of GET without the body.
pub(crate) fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let either = guard::Any(guard::Get()).or(guard::Head());
    only(path, "GET, HEAD", web::route().guard(either).to(handler))
}

/// A resource for POST.
pub(crate) fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    only(path, "POST", web::post().to(handler))
}

fn only(path: &str, allowed: &'static str, route: actix_web::Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(move || async move {
        Err::<HttpResponse, _>(ApiError::MethodNotAllowed(allowed))
    }))
}
