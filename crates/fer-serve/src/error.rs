//! Errors over HTTP: one table from error to code and status, and one JSON shape.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use fer_image::DecodeError;
use fer_pool::{OverBudget, QueueFull};
use fer_vision::AnalyzeError;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// An error as clients get it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct ErrorAnswer {
    /// What was wrong.
    pub(crate) error: ErrorDetail,
    /// The message again, under the name that DeepFace's clients read. Only on the routes of DeepFace and `fer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) exception: Option<String>,
}

impl From<&ApiError> for ErrorAnswer {
    fn from(error: &ApiError) -> Self {
        Self { error: error.detail(), exception: None }
    }
}

/// What was wrong with a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorDetail {
    /// A short name that does not change between versions.
    pub(crate) code: ErrorCode,
    /// A sentence for people.
    pub(crate) message: String,
}

/// Short names of all errors. They do not change between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorCode {
    EmptyBody,
    MissingField,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooSlow,
    BodyTooLarge,
    TooManyPixels,
    NotAnImage,
    CorruptImage,
    NoFace,
    Busy,
    TooManyConnections,
    TooManyRequests,
    NoKey,
    ForbiddenOrigin,
    Internal,
}

/// What a client is told, as `{"error":{"code":…,"message":…}}`.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(test, derive(strum::EnumIter))]
pub(crate) enum ApiError {
    #[error("the request has no body; send an image")]
    EmptyBody,
    #[error("the request has no field '{0}'")]
    MissingField(&'static str),
    #[error("the request cannot be read: {0}")]
    BadRequest(String),
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this address takes {0}")]
    MethodNotAllowed(&'static str),
    #[error("the body did not arrive within {0} s")]
    TooSlow(u64),
    #[error("the body has more than {0} bytes")]
    BodyTooLarge(usize),
    #[error("{0}")]
    TooManyPixels(String),
    #[error("{0}")]
    NotAnImage(String),
    #[error("{0}")]
    CorruptImage(String),
    #[error("no face was found; with enforce_detection=false the whole picture is used as a face")]
    NoFace,
    #[error("{0}; try again in a moment")]
    Busy(String),
    #[error("{0}")]
    TooManyConnections(String),
    #[error("this client has sent too many requests; wait {0} s")]
    TooManyRequests(u64),
    #[error("this server requires an API key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")]
    NoKey,
    #[error("pages of {0} may not use this server")]
    ForbiddenOrigin(String),
    #[error("the server failed on this photo; the photo was not stored")]
    Internal,
}

impl ApiError {
    /// The table from error to code and status.
    fn code_and_status(&self) -> (ErrorCode, StatusCode) {
        match self {
            Self::EmptyBody => (ErrorCode::EmptyBody, StatusCode::BAD_REQUEST),
            Self::MissingField(_) => (ErrorCode::MissingField, StatusCode::BAD_REQUEST),
            Self::BadRequest(_) => (ErrorCode::BadRequest, StatusCode::BAD_REQUEST),
            Self::NotFound => (ErrorCode::NotFound, StatusCode::NOT_FOUND),
            Self::MethodNotAllowed(_) => (ErrorCode::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED),
            Self::TooSlow(_) => (ErrorCode::TooSlow, StatusCode::REQUEST_TIMEOUT),
            Self::BodyTooLarge(_) => (ErrorCode::BodyTooLarge, StatusCode::PAYLOAD_TOO_LARGE),
            Self::TooManyPixels(_) => (ErrorCode::TooManyPixels, StatusCode::PAYLOAD_TOO_LARGE),
            Self::NotAnImage(_) => (ErrorCode::NotAnImage, StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::CorruptImage(_) => (ErrorCode::CorruptImage, StatusCode::UNPROCESSABLE_ENTITY),
            Self::NoFace => (ErrorCode::NoFace, StatusCode::BAD_REQUEST),
            Self::Busy(_) => (ErrorCode::Busy, StatusCode::SERVICE_UNAVAILABLE),
            Self::TooManyConnections(_) => (ErrorCode::TooManyConnections, StatusCode::SERVICE_UNAVAILABLE),
            Self::TooManyRequests(_) => (ErrorCode::TooManyRequests, StatusCode::TOO_MANY_REQUESTS),
            Self::NoKey => (ErrorCode::NoKey, StatusCode::UNAUTHORIZED),
            Self::ForbiddenOrigin(_) => (ErrorCode::ForbiddenOrigin, StatusCode::FORBIDDEN),
            Self::Internal => (ErrorCode::Internal, StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// The JSON body.
    pub(crate) fn json(&self) -> Value {
        json!(ErrorAnswer::from(self))
    }

    /// The code and the sentence.
    pub(crate) fn detail(&self) -> ErrorDetail {
        ErrorDetail { code: self.code_and_status().0, message: self.to_string() }
    }

    /// A response with the status and headers of this error and the given body.
    pub(crate) fn response(&self, body: &Value) -> HttpResponse {
        let mut response = HttpResponse::build(self.code_and_status().1);
        match self {
            Self::Busy(_) | Self::TooManyConnections(_) => {
                response.insert_header((header::RETRY_AFTER, "1"));
            }
            Self::TooManyRequests(seconds) => {
                response.insert_header((header::RETRY_AFTER, seconds.to_string()));
            }
            Self::NoKey => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            Self::MethodNotAllowed(allowed) => {
                response.insert_header((header::ALLOW, *allowed));
            }
            // The rest of the body is not read, so the connection cannot be used again.
            Self::BodyTooLarge(_) | Self::TooSlow(_) => {
                response.force_close();
            }
            _ => {}
        }
        response.json(body)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.code_and_status().1
    }

    fn error_response(&self) -> HttpResponse {
        self.response(&self.json())
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Empty => Self::EmptyBody,
            DecodeError::NotAnImage => Self::NotAnImage(error.to_string()),
            DecodeError::Corrupt(_) => Self::CorruptImage(error.to_string()),
            DecodeError::TooManyPixels { .. } => Self::TooManyPixels(error.to_string()),
        }
    }
}

impl From<AnalyzeError> for ApiError {
    fn from(error: AnalyzeError) -> Self {
        match error {
            AnalyzeError::Decode(error) => error.into(),
            AnalyzeError::Detect(_) | AnalyzeError::Classify(_) => {
                tracing::error!(%error, "a network failed");
                Self::Internal
            }
            // The client has left, so nobody reads this.
            AnalyzeError::Cancelled => Self::Internal,
        }
    }
}

impl From<OverBudget> for ApiError {
    fn from(over: OverBudget) -> Self {
        Self::Busy(over.to_string())
    }
}

impl From<QueueFull> for ApiError {
    fn from(full: QueueFull) -> Self {
        Self::Busy(full.to_string())
    }
}

pub(crate) async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::NotFound)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use strum::IntoEnumIterator as _;

    use super::*;

    /// The test of the whole server reaches every code that the document has; this one sees that it has them all.
    #[test]
    fn the_document_has_every_code() {
        let document = crate::routes::document();
        let listed = &document["components"]["schemas"]["ErrorCode"]["enum"];
        let listed: BTreeSet<&str> =
            listed.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
        let codes: Vec<Value> = ApiError::iter().map(|error| json!(error.code_and_status().0)).collect();
        assert_eq!(listed, codes.iter().map(|code| code.as_str().unwrap()).collect());
        assert_eq!(listed.len(), codes.len(), "no two errors share a code");
    }

    #[test]
    fn failures_of_the_pool_and_of_photos_have_their_statuses() {
        let status = |error: ApiError| error.code_and_status();
        assert_eq!(
            status(QueueFull { waiting: 3 }.into()),
            (ErrorCode::Busy, StatusCode::SERVICE_UNAVAILABLE)
        );
        let photo = |error: DecodeError| status(AnalyzeError::from(error).into());
        assert_eq!(photo(DecodeError::Empty), (ErrorCode::EmptyBody, StatusCode::BAD_REQUEST));
        assert_eq!(
            photo(DecodeError::NotAnImage),
            (ErrorCode::NotAnImage, StatusCode::UNSUPPORTED_MEDIA_TYPE)
        );
        let cut = photo(DecodeError::Corrupt("cut".to_owned()));
        assert_eq!(cut, (ErrorCode::CorruptImage, StatusCode::UNPROCESSABLE_ENTITY));
        let large = photo(DecodeError::TooManyPixels { width: 9, height: 9, max_pixels: 80 });
        assert_eq!(large, (ErrorCode::TooManyPixels, StatusCode::PAYLOAD_TOO_LARGE));
    }

    #[test]
    fn a_busy_server_says_when_to_come_back() {
        let response = ApiError::from(QueueFull { waiting: 1 }).error_response();
        assert_eq!(response.headers().get(header::RETRY_AFTER).unwrap(), "1");
    }
}
