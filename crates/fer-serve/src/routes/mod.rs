//! The API: our own routes (`/v1/…`), those of peers whose clients need not change, and what operators ask.

mod body;
mod metrics;
mod music;
mod native;
mod peers;

use actix_web::middleware::from_fn;
use actix_web::web;

use crate::resource::only;
use crate::{guard, live};

/// What operators ask is open to all who reach the port, like the page's files. Everything else passes the guard, whatever its path
/// looks like: this scope matches all that nothing before it did.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(only("/metrics", "GET", web::get().to(metrics::metrics)))
        .service(only("/healthz", "GET", web::get().to(native::healthz)))
        .service(only("/readyz", "GET", web::get().to(native::readyz)))
        .service(
            web::scope("")
                .wrap(from_fn(guard::guard))
                .service(only("/v1/analyze", "POST", web::post().to(native::analyze)))
                .service(only("/v1/annotate", "POST", web::post().to(native::annotate)))
                .service(only("/v1/batch", "POST", web::post().to(native::batch)))
                .service(only("/v1/live", "GET", web::get().to(live::live)))
                .service(only("/v1/model", "GET", web::get().to(native::model)))
                .service(only("/v1/music", "GET", web::get().to(music::list)))
                .service(only("/v1/music/{emotion}/{file}", "GET", web::get().to(music::file)))
                .service(only("/analyze", "POST", web::post().to(peers::deepface)))
                .service(only("/detect_emotions", "POST", web::post().to(peers::fer))),
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
        run(&service, |_| panic!("as a network might")).await
    }

    /// Its caller is told, the photos behind it are answered by a new worker, and operators see it.
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
