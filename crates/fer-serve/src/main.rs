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
    .bind(&options.bind)
    .with_context(|| format!("cannot listen on {}; choose another address with --bind", options.bind))?;
    for address in server.addrs() {
        println!("fer-serve on http://{address}: {}", service.describe());
    }
    actix_web::rt::System::new().block_on(server.run()).context("the server stopped")
}
