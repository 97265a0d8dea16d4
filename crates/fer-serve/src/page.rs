//! The page's files and the API's description, embedded, and the headers that keep it to itself.

use actix_web::http::header;
use actix_web::middleware::DefaultHeaders;
use actix_web::{HttpResponse, web};

use crate::resource::get;

/// A file of the page: its path, type and content.
type File = (&'static str, &'static str, &'static str);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: [File; 16] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/style.css", CSS, include_str!("../page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
    ("/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/common.js", SCRIPT, include_str!("../page/common.js")),
    ("/camera.js", SCRIPT, include_str!("../page/camera.js")),
    ("/photo.js", SCRIPT, include_str!("../page/photo.js")),
    ("/live.js", SCRIPT, include_str!("../page/live.js")),
    ("/music.js", SCRIPT, include_str!("../page/music.js")),
    ("/songs.js", SCRIPT, include_str!("../page/songs.js")),
    ("/synth.js", SCRIPT, include_str!("../page/synth.js")),
    ("/about.js", SCRIPT, include_str!("../page/about.js")),
    ("/group.js", SCRIPT, include_str!("../page/group.js")),
    ("/docs", HTML, include_str!("../page/docs.html")),
    ("/docs.js", SCRIPT, include_str!("../page/docs.js")),
    ("/openapi.json", "application/json", include_str!("../page/openapi.json")),
];

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    for (path, content_type, body) in FILES {
        let answer = move || async move {
            HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, content_type))
                .insert_header((header::CACHE_CONTROL, "no-cache"))
                .body(body)
        };
        config.service(get(path, answer));
    }
}

/// Nothing from elsewhere, nothing inline; photos and videos come as blobs of the page itself.
pub(crate) fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
             media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::PERMISSIONS_POLICY, "camera=(self), microphone=(), geolocation=()"))
}
