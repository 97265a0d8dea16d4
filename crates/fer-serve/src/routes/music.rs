//! The operator's music over HTTP.

use actix_files::NamedFile;
use actix_web::{HttpResponse, web};
use fer_vision::EmotionSchema;

use super::schemas::{Bytes, GuardErrors, MusicErrors};
use crate::error::ApiError;
use crate::state::Service;

/// The operator's music: file names by emotion. Empty if the server was started without `--music`.
#[utoipa::path(
    get,
    path = "/v1/music",
    operation_id = "music",
    tag = "server",
    responses((status = 200, description = "File names by emotion", body = HashMap<EmotionSchema, Vec<String>>), GuardErrors)
)]
pub(super) async fn list(service: web::Data<Service>) -> HttpResponse {
    HttpResponse::Ok().json(service.music.names())
}

/// One of the operator's music files. `Range` requests are supported.
#[utoipa::path(
    get,
    path = "/v1/music/{emotion}/{file}",
    operation_id = "song",
    tag = "server",
    params(("emotion" = EmotionSchema, Path, description = "Mood"), ("file" = String, Path, description = "File name")),
    responses((status = 200, description = "The file", body = Bytes, content_type = "audio/*"), MusicErrors)
)]
pub(super) async fn file(
    service: web::Data<Service>,
    path: web::Path<(String, String)>,
) -> Result<NamedFile, ApiError> {
    let (emotion, name) = path.into_inner();
    let file = service.music.file(&emotion, &name).ok_or(ApiError::NotFound)?;
    NamedFile::open(file).map_err(|_| ApiError::NotFound)
}
