//! The operator's music over HTTP.

use actix_files::NamedFile;
use actix_web::{HttpResponse, web};

use crate::error::ApiError;
use crate::state::Service;

/// The operator's music: file names by emotion. Empty if the server was started without `--music`.
pub(super) async fn list(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(service.music.names())
}

/// One of the operator's music files. `Range` requests are supported.
pub(super) async fn file(
    service: web::Data<Service>,
    path: web::Path<(String, String)>,
) -> Result<NamedFile, ApiError> {
    let (emotion, name) = path.into_inner();
    let file = service.music.file(&emotion, &name).ok_or(ApiError::NotFound)?;
    NamedFile::open(file).map_err(|_| ApiError::NotFound)
}
