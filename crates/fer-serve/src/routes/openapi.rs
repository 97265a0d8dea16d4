//! The OpenAPI document, made of the handlers and of the types that they return.

use serde_json::Value;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{metrics, music, native, peers};
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
