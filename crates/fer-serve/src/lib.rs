//! `fer-serve`: the web page and the HTTP API in front of one pool of inference threads.
//!
//! actix's threads handle HTTP and never run a network. The pool's threads run networks and know nothing of HTTP.

mod config;
mod error;
mod guard;
mod inference;
mod live;
mod metrics;
mod music;
mod observe;
mod page;
mod resource;
mod routes;
mod startup;
mod state;
mod tls;

use std::io::IsTerminal;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use actix_cors::Cors;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result};

pub use crate::config::Options;
use crate::config::{LogFormat, Tls};

/// Serves until SIGTERM or Ctrl-C. Calls `listening` once per address, such as `http://127.0.0.1:8080`, with a description of the
/// model and the engine.
///
/// # Errors
/// Whatever keeps the server from starting, in one line.
pub fn serve(options: &Options, listening: impl Fn(&str, &str)) -> Result<()> {
    start_log(options.log);
    let service = Arc::new(startup::service(options)?);
    let state = web::Data::from(Arc::clone(&service));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .wrap(cors(&state.cors_origins))
            .wrap(page::security_headers())
            .wrap(from_fn(observe::observe))
            .configure(page::routes)
            .configure(routes::routes)
            .default_service(web::to(error::not_found))
    })
    .workers(2)
    .disable_signals()
    // A client that closes its connection has left: its request is dropped, and its work is cancelled.
    .h1_allow_half_closed(false)
    .shutdown_timeout(options.shutdown_seconds);
    let addresses: Vec<SocketAddr> = options
        .bind
        .to_socket_addrs()
        .with_context(|| format!("--bind: {} is not an address such as 127.0.0.1:8080", options.bind))?
        .collect();
    let tls = match options.tls()? {
        Tls::Files { certificate, key } => Some(tls::from_files(&certificate, &key)?),
        Tls::SelfSigned => Some(tls::self_signed(&addresses)?),
        Tls::Off => None,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = match tls {
        Some(tls) => server.bind_rustls_0_23(addresses.as_slice(), tls),
        None => server.bind(addresses.as_slice()),
    }
    .with_context(|| format!("cannot listen on {}; choose another address with --bind", options.bind))?;
    for address in server.addrs() {
        listening(&format!("{scheme}://{address}"), &service.describe());
    }
    if scheme == "http" && addresses.iter().any(|address| !address.ip().is_loopback()) {
        tracing::warn!(
            "browsers allow the camera only on pages over HTTPS or on localhost: use --tls-cert, --tls-self-signed, or a proxy \
             that speaks HTTPS"
        );
    }
    actix_web::rt::System::new().block_on(run(server.run(), service)).context("the server stopped")
}

fn start_log(format: LogFormat) {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let (layer, level) = match format {
        LogFormat::Text => (layer.with_ansi(std::io::stderr().is_terminal()).boxed(), LevelFilter::INFO),
        LogFormat::Json => (layer.json().flatten_event(true).boxed(), LevelFilter::INFO),
        LogFormat::Off => (layer.with_ansi(false).boxed(), LevelFilter::ERROR),
    };
    // actix logs a client's malformed frame as an error. Clients must not be able to fill the log.
    let targets = Targets::new().with_default(level).with_target("actix_http", LevelFilter::OFF);
    tracing_subscriber::registry().with(layer).with(targets).init();
}

/// Allows pages of other sites only if their origin is configured.
fn cors(origins: &[String]) -> Cors {
    let named = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    named
        .allowed_methods(["GET", "HEAD", "POST"])
        .allowed_headers([header::ACCEPT, header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header("x-api-key")
        .block_on_origin_mismatch(false)
        .max_age(3600)
}

/// Runs until the process is told to stop, then lets running requests finish within the configured time.
async fn run(server: actix_web::dev::Server, service: Arc<state::Service>) -> std::io::Result<()> {
    let handle = server.handle();
    let stop = async move {
        told_to_stop().await;
        service.drain();
        tracing::info!("stopping after the running requests have finished");
        handle.stop(true).await;
    };
    actix_web::rt::spawn(stop);
    server.await
}

/// Completes at SIGTERM or Ctrl-C.
async fn told_to_stop() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            let interrupt = std::pin::pin!(tokio::signal::ctrl_c());
            let terminated = std::pin::pin!(terminate.recv());
            futures_util::future::select(terminated, interrupt).await;
            return;
        }
    }
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
