//! Request bodies and error responses as the OpenAPI document describes them.
//!
//! The schemas of answers are derived from their types. Request bodies are described by hand, because the handlers read them as
//! streams and not into types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use utoipa::openapi::RefOr;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaFormat, Type,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

use crate::error::ErrorAnswer;

/// Largest number of photos in one batch.
pub(super) const MOST_IMAGES: usize = 64;

/// The error responses with these statuses.
fn errors<const N: usize>(statuses: [StatusCode; N]) -> BTreeMap<String, RefOr<Response>> {
    let response = |status| {
        let schema = Ref::from_schema_name(ErrorAnswer::name());
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new().description(description(status));
        response.content("application/json", content).build()
    };
    statuses.map(|status| (status.as_u16().to_string(), response(status).into())).into()
}

fn description(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "The request cannot be read, or it requires a face and none was found",
        StatusCode::UNAUTHORIZED => "The server requires an API key",
        StatusCode::FORBIDDEN => "Pages of this origin may not use the server",
        StatusCode::NOT_FOUND => "There is nothing at this address",
        StatusCode::REQUEST_TIMEOUT => "The body came too slowly",
        StatusCode::PAYLOAD_TOO_LARGE => "The body or the picture is too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "The body is not a JPEG, PNG or WebP picture",
        StatusCode::UNPROCESSABLE_ENTITY => "The picture is damaged or cut off",
        StatusCode::TOO_MANY_REQUESTS => {
            "The client sends too many requests; Retry-After says when to come back"
        }
        StatusCode::SERVICE_UNAVAILABLE => "The server is busy; Retry-After says when to come back",
        _ => "The server failed on this photo",
    }
}

/// Errors of a route that takes one photo.
pub(super) enum PhotoErrors {}

impl IntoResponses for PhotoErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors([
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ])
    }
}

/// Errors of a batch as a whole; those of single photos are part of its answer.
pub(super) enum BatchErrors {}

impl IntoResponses for BatchErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors([
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ])
    }
}

/// Errors of a route that requires an API key and nothing else.
pub(super) enum GuardErrors {}

impl IntoResponses for GuardErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors([StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS])
    }
}

/// Errors of one of the operator's music files.
pub(super) enum MusicErrors {}

impl IntoResponses for MusicErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors([StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS])
    }
}

/// Errors of a live connection before it is open.
pub(crate) enum LiveErrors {}

impl IntoResponses for LiveErrors {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors([
            StatusCode::BAD_REQUEST,
            StatusCode::FORBIDDEN,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ])
    }
}

fn file() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
        .content_media_type("application/octet-stream")
}

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description))
}

/// Bytes of a file.
pub(super) enum Bytes {}

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        file().into()
    }
}

impl ToSchema for Bytes {
    fn name() -> Cow<'static, str> {
        "File".into()
    }
}

/// A form with one photo in the field `image`.
pub(super) enum PhotoForm {}

impl PartialSchema for PhotoForm {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().property("image", file()).required("image").into()
    }
}

impl ToSchema for PhotoForm {}

/// A form with several photos, each in a field `image`.
pub(super) enum PhotosForm {}

impl PartialSchema for PhotosForm {
    fn schema() -> RefOr<Schema> {
        let images = ArrayBuilder::new().items(file()).min_items(Some(1)).max_items(Some(MOST_IMAGES));
        ObjectBuilder::new().property("image", images).required("image").into()
    }
}

impl ToSchema for PhotosForm {}

/// A form as DeepFace's clients send it.
pub(super) enum DeepFaceForm {}

impl PartialSchema for DeepFaceForm {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .property("img", file())
            .property("actions", text("Only `emotion`"))
            .property("enforce_detection", text("`false` classifies the whole picture if no face is found"))
            .required("img")
            .into()
    }
}

impl ToSchema for DeepFaceForm {}

/// A JSON request as DeepFace's clients send it.
pub(super) enum DeepFaceRequest {}

impl PartialSchema for DeepFaceRequest {
    fn schema() -> RefOr<Schema> {
        let emotion = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["emotion"]));
        let actions = OneOfBuilder::new()
            .item(ArrayBuilder::new().items(emotion))
            .item(ObjectBuilder::new().schema_type(Type::String))
            .description(Some("Only `emotion`"));
        let enforce = OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(ObjectBuilder::new().schema_type(Type::String))
            .description(Some(
                "`false` classifies the whole picture if no face is found. The default is `true`.",
            ));
        ObjectBuilder::new()
            .property("img", text("The photo as base64 or as a data URI"))
            .property("actions", actions)
            .property("enforce_detection", enforce)
            .required("img")
            .into()
    }
}

impl ToSchema for DeepFaceRequest {}
