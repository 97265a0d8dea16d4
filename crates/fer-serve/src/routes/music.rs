//! The operator's music over HTTP.

use actix_files::NamedFile;
use actix_web::{HttpResponse, web};

use crate::error::ApiError;
use crate::state::Service;

/// `GET /v1/music`: file names by emotion; an empty object without `--music`.
pub(super) async fn list(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(service.music.names())
}

/// `GET /v1/music/{emotion}/{file}`
pub(super) async fn file(
    service: web::Data<Service>,
    path: web::Path<(String, String)>,
) -> Result<NamedFile, ApiError> {
    let (emotion, name) = path.into_inner();
    let file = service.music.file(&emotion, &name).ok_or(ApiError::NotFound)?;
    NamedFile::open(file).map_err(|_| ApiError::NotFound)
}
