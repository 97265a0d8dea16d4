//! The API: our own routes (`/v1/…`), the routes of other servers whose clients work unchanged, and the operators' routes.

mod body;
pub(crate) mod format;
mod metrics;
mod music;
mod native;
mod openapi;
mod peers;
pub(crate) mod schemas;

use actix_web::middleware::from_fn;
use actix_web::web;

use crate::resource::{get, post};
use crate::{guard, live};

pub(crate) use openapi::document;

/// The operators' routes are open to everybody who reaches the port, like the page's files. Every other request passes the guard,
/// however its path is spelled: the scope matches whatever no resource before it matched.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(get("/metrics", metrics::metrics))
        .service(get("/healthz", native::healthz))
        .service(get("/readyz", native::readyz))
        .service(
            web::scope("")
                .wrap(from_fn(guard::guard))
                .service(post("/v1/analyze", native::analyze))
                .service(post("/v1/annotate", native::annotate))
                .service(post("/v1/batch", native::batch))
                .service(get("/v1/live", live::live))
                .service(get("/v1/model", native::model))
                .service(get("/v1/music", music::list))
                .service(get("/v1/music/{emotion}/{file}", music::file))
                .service(post("/analyze", peers::deepface))
                .service(post("/detect_emotions", peers::fer)),
        );
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, web};
    use clap::Parser as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Options;
    use crate::error::ApiError;
    use crate::inference::run;
    use crate::state::Service;

    async fn panics(service: web::Data<Service>) -> Result<String, ApiError> {
        run(&service, |_, _| panic!("as a network might")).await
    }

    /// The caller gets an error, a new worker answers the next photo, and operators see the count.
    #[actix_web::test]
    async fn a_worker_that_panics_is_replaced() {
        let options = Options::parse_from(["fer-serve", "--workers", "1"]);
        let service = web::Data::new(crate::startup::service(&options).unwrap());
        let app =
            App::new().app_data(service.clone()).route("/panic", web::post().to(panics)).configure(routes);
        let app = init_service(app).await;
        let photo = include_bytes!("../../../../assets/samples/astronaut.png").as_slice();
        for round in 1..=3_u64 {
            let answer = call_service(&app, TestRequest::post().uri("/panic").to_request()).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let error: Value = read_body_json(answer).await;
            assert_eq!(error["error"]["code"], "internal");
            let photo = TestRequest::post().uri("/v1/analyze").set_payload(photo).to_request();
            let analysis: Value = read_body_json(call_service(&app, photo).await).await;
            assert_eq!(analysis["faces"].as_array().map(Vec::len), Some(1), "{analysis}");
            let health = call_service(&app, TestRequest::get().uri("/healthz").to_request()).await;
            let health: Value = read_body_json(health).await;
            assert_eq!(health, json!({"status": "ok", "waiting": 0, "worker_panics": round}));
        }
    }
}
