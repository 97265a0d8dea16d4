//! Requests' bodies: an image as it is, forms, and JSON, each within bounds of size and time.

use std::time::Duration;

use actix_multipart::Multipart;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::error::ApiError;
use crate::state::BodyLimits;

async fn in_time<T>(
    limits: BodyLimits,
    reading: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let limit = Duration::from_secs(limits.seconds);
    actix_web::rt::time::timeout(limit, reading).await.map_err(|_| ApiError::TooSlow(limits.seconds))?
}

/// A field of a multipart form.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// An image as the body, or as the field of that name in a multipart form.
pub(super) async fn image(
    request: &HttpRequest,
    payload: web::Payload,
    field: &'static str,
    limits: BodyLimits,
) -> Result<Vec<u8>, ApiError> {
    let photo = if is(request, "multipart/form-data") {
        let fields = form(request, payload, limits).await?;
        let found = fields.into_iter().find(|one| one.name == field);
        found.ok_or(ApiError::MissingField(field))?.bytes
    } else {
        whole(request, payload, limits).await?
    };
    if photo.is_empty() { Err(ApiError::EmptyBody) } else { Ok(photo) }
}

/// Whether the body is said to be of a type.
pub(super) fn is(request: &HttpRequest, kind: &str) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with(kind))
}

/// All fields of a multipart form in their order.
pub(super) async fn form(
    request: &HttpRequest,
    payload: web::Payload,
    limits: BodyLimits,
) -> Result<Vec<Field>, ApiError> {
    in_time(limits, fields(request, payload, limits.bytes)).await
}

async fn fields(request: &HttpRequest, payload: web::Payload, most: usize) -> Result<Vec<Field>, ApiError> {
    let mut payload = payload.into_inner();
    let mut form = Multipart::from_request(request, &mut payload).await.map_err(|e| bad(&e))?;
    let (mut fields, mut left) = (Vec::new(), most);
    while let Some(mut field) = form.try_next().await.map_err(|e| bad(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(|e| bad(&e))?;
            left = left.checked_sub(chunk.len()).ok_or(ApiError::BodyTooLarge(most))?;
            bytes.extend_from_slice(&chunk);
        }
        fields.push(Field { name, bytes });
        if fields.len() > MOST_FIELDS {
            return Err(ApiError::BadRequest(format!("the form has more than {MOST_FIELDS} fields")));
        }
    }
    Ok(fields)
}

/// Fields without a byte cost memory too.
const MOST_FIELDS: usize = 256;

/// The body as it is.
pub(super) async fn whole(
    request: &HttpRequest,
    payload: web::Payload,
    limits: BodyLimits,
) -> Result<Vec<u8>, ApiError> {
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limits.bytes) {
        return Err(ApiError::BodyTooLarge(limits.bytes));
    }
    in_time(limits, collect(payload, limits.bytes)).await
}

async fn collect(
    mut payload: impl Stream<Item = Result<web::Bytes, actix_web::error::PayloadError>> + Unpin,
    most: usize,
) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| bad(&e))?;
        if bytes.len() + chunk.len() > most {
            return Err(ApiError::BodyTooLarge(most));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Base64, as a data URI or bare. Addresses and paths are refused: this server fetches and opens nothing for a client.
pub(super) fn base64_image(text: &str) -> Result<Vec<u8>, ApiError> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = text.trim();
    let data = match text.split_once(',') {
        Some((head, data)) if head.starts_with("data:") && head.ends_with(";base64") => data,
        Some((head, _)) if head.starts_with("data:") => {
            return Err(ApiError::BadRequest("the data URI is not base64".to_owned()));
        }
        _ => text,
    };
    let data: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let decoded = LENIENT.decode(&data).or_else(|_| general_purpose::URL_SAFE.decode(&data));
    decoded.map_err(|_| {
        let message = "the image is not base64; addresses and paths on the server are not opened";
        ApiError::BadRequest(message.to_owned())
    })
}

pub(super) fn bad(error: &impl std::fmt::Display) -> ApiError {
    ApiError::BadRequest(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_comes_bare_and_as_a_data_uri_and_nothing_else_is_opened() {
        let read = |text: &str| base64_image(text).ok();
        let image = Some(vec![0xff, 0xd8, 0xff, 0xe0]);
        for text in ["/9j/4A==", "/9j/4A", "_9j_4A==", " /9j/\n4A== ", "data:image/jpeg;base64,/9j/4A=="] {
            assert_eq!(read(text), image, "{text}");
        }
        for text in ["http://localhost/a.jpg", "C:\\faces\\a.jpg", "../a.jpg", "data:image/jpeg,abc", "a"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
