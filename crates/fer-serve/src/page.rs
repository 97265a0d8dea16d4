//! The files of the page, the viewer of the API at `/docs`, and the headers that restrict what the page may load.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, web};

use crate::resource::get;
use crate::routes::document;

/// A file of the page: its path, type and content.
type TextFile = (&'static str, &'static str, &'static str);

/// The same for a file that is compressed with gzip.
type CompressedFile = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: [TextFile; 16] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/style.css", CSS, include_str!("../page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/common.js", SCRIPT, include_str!("../page/common.js")),
    ("/faces.js", SCRIPT, include_str!("../page/faces.js")),
    ("/camera.js", SCRIPT, include_str!("../page/camera.js")),
    ("/photo.js", SCRIPT, include_str!("../page/photo.js")),
    ("/live.js", SCRIPT, include_str!("../page/live.js")),
    ("/music.js", SCRIPT, include_str!("../page/music.js")),
    ("/songs.js", SCRIPT, include_str!("../page/songs.js")),
    ("/synth.js", SCRIPT, include_str!("../page/synth.js")),
    ("/about.js", SCRIPT, include_str!("../page/about.js")),
    ("/group.js", SCRIPT, include_str!("../page/group.js")),
    ("/docs.js", SCRIPT, include_str!("../page/docs.js")),
    ("/docs.css", CSS, include_str!("../page/docs.css")),
];

/// Swagger UI, taken from its crate by `build.rs`. Every browser accepts gzip, so there is no uncompressed copy.
const VIEWER: [CompressedFile; 2] = [
    ("/docs/swagger-ui.css", CSS, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
    (
        "/docs/swagger-ui-bundle.js",
        SCRIPT,
        include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz")),
    ),
];

/// Nothing from other servers and nothing inline. Photos and videos are blobs that the page made.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
     media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The policy of `/docs`: Swagger UI sets style attributes, which `style-src 'self'` forbids. Scripts stay restricted.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    for (path, content_type, body) in FILES {
        let answer = move || async move { file(content_type).body(body) };
        config.service(get(path, answer));
    }
    for (path, content_type, body) in VIEWER {
        let answer = move || async move {
            file(content_type).insert_header((header::CONTENT_ENCODING, "gzip")).body(body)
        };
        config.service(get(path, answer));
    }
    config.service(get("/docs", docs)).service(get("/openapi.json", openapi));
}

fn file(content_type: &str) -> actix_web::HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, content_type))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    response
}

async fn docs() -> HttpResponse {
    file(HTML)
        .insert_header((header::CONTENT_SECURITY_POLICY, DOCS_POLICY))
        .body(include_str!("../page/docs.html"))
}

async fn openapi() -> HttpResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
    file("application/json").body(DOCUMENT.as_str())
}

/// Headers that every response gets unless it sets them itself.
pub(crate) fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, POLICY))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::PERMISSIONS_POLICY, "camera=(self), microphone=(), geolocation=()"))
}
