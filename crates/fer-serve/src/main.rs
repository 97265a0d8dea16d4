//! `fer-serve`: the page and the API over one pool of inference workers.
//!
//! actix's threads speak HTTP and never run a network; the pool's threads run networks and know no HTTP.

mod api;
mod error;
mod options;
mod page;
mod startup;

use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use anyhow::{Context, Result};
use clap::Parser;

use crate::options::Options;

fn main() -> std::process::ExitCode {
    match serve(&Options::parse()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fer-serve: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> Result<()> {
    let service = Arc::new(startup::service(options)?);
    let state = web::Data::from(Arc::clone(&service));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .wrap(page::security_headers())
            .configure(api::routes)
            .configure(page::routes)
            .default_service(web::to(error::not_found))
    })
    .workers(2)
    .disable_signals()
    .shutdown_timeout(options.shutdown_seconds)
    .bind(&options.bind)
    .with_context(|| format!("cannot listen on {}; choose another address with --bind", options.bind))?;
    for address in server.addrs() {
        println!("fer-serve on http://{address}: {}", service.describe());
    }
    actix_web::rt::System::new().block_on(run(server.run(), service)).context("the server stopped")
}

/// Until it is told to stop; then what is under way is finished within the bound.
async fn run(server: actix_web::dev::Server, service: Arc<startup::Service>) -> std::io::Result<()> {
    let handle = server.handle();
    let stop = async move {
        told_to_stop().await;
        service.drain();
        eprintln!("fer-serve: stopping; requests under way are finished");
        handle.stop(true).await;
    };
    actix_web::rt::spawn(stop);
    server.await
}

/// SIGTERM or Ctrl-C.
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
