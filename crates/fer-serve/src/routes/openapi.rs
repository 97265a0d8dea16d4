//! The OpenAPI document, made of the handlers and of the types that they return.
//!
//! Responses are described by derived schemas. Only request bodies are described by hand here, because the handlers read them as
//! streams and not into types.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use serde_json::Value;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi as Document, RefOr};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema, ToSchema};

use super::{metrics, music, native, peers};
use crate::error::ErrorAnswer;
use crate::live;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "fer-serve",
        version = "1",
        description = "Finds faces in photos and guesses which expression people would see in them.\n\nThe output is a guess at \
            the label that people would give to an expression. It is often wrong and says nothing about what somebody feels. In \
            the EU, using it to infer emotions of people at work or in education is prohibited, except for medical or safety \
            reasons. Photos are analysed in memory and never stored or logged.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/")),
    security((), ("bearer" = []), ("header" = [])),
    paths(
        native::analyze,
        native::annotate,
        native::batch,
        live::live,
        native::model,
        music::list,
        music::file,
        peers::deepface,
        peers::fer,
        native::healthz,
        native::readyz,
        metrics::metrics,
        openapi,
    ),
    components(schemas(live::LiveFrame)),
    modifiers(&SecuritySchemes)
)]
struct Api;

/// The OpenAPI 3.1 document as JSON.
pub(crate) fn document() -> Value {
    serde_json::to_value(Api::openapi()).unwrap_or(Value::Null)
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "server",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Value, content_type = "application/json"))
)]
#[expect(dead_code, reason = "carries the description of a route whose handler is in the module of the page")]
fn openapi() {}

/// The two ways in which a client can send its API key.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKey::Header(ApiKeyValue::new("X-API-Key"));
        components.add_security_scheme("header", SecurityScheme::ApiKey(header));
    }
}

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
        let images =
            ArrayBuilder::new().items(file()).min_items(Some(1)).max_items(Some(native::MOST_IMAGES));
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
