//! Bodies of requests: an image, a form, or JSON, within limits on their size, their time, and the bytes that all requests hold.

use std::time::Duration;

use actix_multipart::Multipart;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use fer_pool::Reservation;
use futures_util::{Stream, StreamExt, TryStreamExt};

use crate::error::ApiError;
use crate::state::BodyLimits;

/// Most fields of a form. Fields without content need memory too.
const MOST_FIELDS: usize = 256;

/// Bytes that were read, counted against the budget of the server.
pub(super) struct Body {
    bytes: Vec<u8>,
    reservation: Reservation,
}

impl Body {
    fn empty(limits: &BodyLimits) -> Result<Self, ApiError> {
        Ok(Self { bytes: Vec::new(), reservation: limits.budget.reserve(0)? })
    }

    fn append(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        self.reservation.grow(chunk.len())?;
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Another content, made from this one and no larger.
    pub(super) fn replaced_by(mut self, bytes: Vec<u8>) -> Self {
        self.reservation.shrink_to(bytes.len());
        Self { bytes, reservation: self.reservation }
    }

    /// Bytes that count against the budget until the last clone is dropped.
    pub(super) fn into_shared(self) -> web::Bytes {
        web::Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A field of a multipart form.
pub(super) struct Field {
    pub(super) name: String,
    /// The name of the file, if the sender gave one.
    pub(super) file_name: Option<String>,
    pub(super) body: Body,
}

/// A photo that was sent.
pub(super) struct Photo {
    /// The name of the file, if the sender gave one.
    pub(super) name: Option<String>,
    pub(super) bytes: web::Bytes,
}

/// An image that is the whole body or the field of that name in a multipart form.
///
/// # Errors
/// An empty or missing image, and every error of [`whole`] and [`form`].
pub(super) async fn image(
    request: &HttpRequest,
    payload: web::Payload,
    field: &'static str,
    limits: &BodyLimits,
) -> Result<Photo, ApiError> {
    let (name, body) = if is(request, "multipart/form-data") {
        let fields = form(request, payload, limits).await?;
        let found = fields.into_iter().find(|one| one.name == field);
        let found = found.ok_or(ApiError::MissingField(field))?;
        (found.file_name, found.body)
    } else {
        (None, whole(request, payload, limits).await?)
    };
    if body.as_ref().is_empty() {
        return Err(ApiError::EmptyBody);
    }
    Ok(Photo { name, bytes: body.into_shared() })
}

/// Whether the request declares a body of a media type.
pub(super) fn is(request: &HttpRequest, kind: &str) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with(kind))
}

/// All fields of a multipart form, in order.
///
/// # Errors
/// A form that is malformed, too large or too slow, and [`ApiError::Busy`] if the server holds too many bytes.
pub(super) async fn form(
    request: &HttpRequest,
    payload: web::Payload,
    limits: &BodyLimits,
) -> Result<Vec<Field>, ApiError> {
    limits.budget.check(declared_length(request).unwrap_or(0).min(limits.bytes))?;
    in_time(limits, fields(request, payload, limits)).await
}

async fn fields(
    request: &HttpRequest,
    payload: web::Payload,
    limits: &BodyLimits,
) -> Result<Vec<Field>, ApiError> {
    let mut payload = payload.into_inner();
    let mut form = Multipart::from_request(request, &mut payload).await.map_err(|e| bad(&e))?;
    let (mut fields, mut left) = (Vec::new(), limits.bytes);
    while let Some(mut field) = form.try_next().await.map_err(|e| bad(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file_name = field.content_disposition().and_then(|disposition| disposition.get_filename());
        let file_name = file_name.map(str::to_owned);
        let mut body = Body::empty(limits)?;
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(|e| bad(&e))?;
            left = left.checked_sub(chunk.len()).ok_or(ApiError::BodyTooLarge(limits.bytes))?;
            body.append(&chunk)?;
        }
        fields.push(Field { name, file_name, body });
        if fields.len() > MOST_FIELDS {
            return Err(ApiError::BadRequest(format!("the form has more than {MOST_FIELDS} fields")));
        }
    }
    Ok(fields)
}

/// The whole body.
///
/// # Errors
/// A body that is too large or too slow, and [`ApiError::Busy`] if the server holds too many bytes. Both sizes are checked against
/// `Content-Length` before anything is read, and again while reading.
pub(super) async fn whole(
    request: &HttpRequest,
    payload: web::Payload,
    limits: &BodyLimits,
) -> Result<Body, ApiError> {
    let declared = declared_length(request).unwrap_or(0);
    if declared > limits.bytes {
        return Err(ApiError::BodyTooLarge(limits.bytes));
    }
    limits.budget.check(declared)?;
    in_time(limits, collect(payload, limits)).await
}

fn declared_length(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(
    mut payload: impl Stream<Item = Result<web::Bytes, actix_web::error::PayloadError>> + Unpin,
    limits: &BodyLimits,
) -> Result<Body, ApiError> {
    let mut body = Body::empty(limits)?;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|e| bad(&e))?;
        if body.bytes.len() + chunk.len() > limits.bytes {
            return Err(ApiError::BodyTooLarge(limits.bytes));
        }
        body.append(&chunk)?;
    }
    Ok(body)
}

async fn in_time<T>(
    limits: &BodyLimits,
    reading: impl Future<Output = Result<T, ApiError>>,
) -> Result<T, ApiError> {
    let limit = Duration::from_secs(limits.seconds);
    actix_web::rt::time::timeout(limit, reading).await.map_err(|_| ApiError::TooSlow(limits.seconds))?
}

/// Decodes base64, with or without the prefix of a data URI. Addresses and paths are refused: the server fetches and opens nothing
/// for a client.
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
        let message = "the image is not base64; the server opens no addresses and no paths";
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
