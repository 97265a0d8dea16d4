//! From the configuration to a service that can answer requests, or an error of one line.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_image::DecodeLimits;
use fer_model::Bundle;
use fer_pool::{Bounds, Workers};
use fer_vision::{Analyzer, AnalyzerConfig};
use tokio::sync::watch;

use crate::config::Options;
use crate::guard::access::Access;
use crate::guard::client_address::TrustedProxies;
use crate::live::connections::ConnectionLimits;
use crate::metrics::Metrics;
use crate::music::Library;
use crate::state::{BodyLimits, LiveLimits, Service};

/// Loads the models and starts the inference threads.
///
/// # Errors
/// A model, library, key file or folder that cannot be used; the message names the flag.
pub(crate) fn service(options: &Options) -> Result<Service> {
    let access = Access::new(
        options.api_key_file.as_deref(),
        options.rate_limit,
        TrustedProxies::new(&options.trusted_proxy, options.proxy_header),
    )?;
    let music = options.music.as_deref().map(Library::scan).transpose()?.unwrap_or_default();
    let bundle = match &options.model {
        Some(folder) => Bundle::open(folder).with_context(|| format!("--model {}", folder.display()))?,
        None => Bundle::embedded().context("the embedded emotion model")?,
    };
    let bundle = bundle.with_labels(options.labels).context("--labels")?;
    let engine = Engine::select(options.engine.kind(), options.onnxruntime.as_deref())?
        .with_precision(options.precision)?;
    let workers = workers(options, &engine, &bundle)?;
    let limits =
        |bytes| BodyLimits { bytes, seconds: options.body_seconds, budget: workers.budget().clone() };
    Ok(Service {
        body: limits(options.max_body),
        encoded_body: limits(options.max_encoded_body()),
        batch: limits(options.max_batch),
        access,
        metrics: Metrics::default(),
        cors_origins: options.cors_origin.clone(),
        group_min_faces: options.group_report.then_some(options.group_min_faces),
        music,
        limits: LiveLimits {
            connections: ConnectionLimits {
                total: options.live_connections,
                per_client: options.live_per_client,
            },
            live_idle: Duration::from_secs(options.live_idle_seconds),
        },
        workers,
        bundle,
        engine,
        live: Arc::default(),
        stopping: watch::Sender::new(false),
    })
}

fn workers(options: &Options, engine: &Engine, bundle: &Bundle) -> Result<Workers<Analyzer>> {
    let detector = DetectorModel::select(options.detector.as_deref()).context("--detector")?;
    let config = AnalyzerConfig {
        decode: DecodeLimits { max_pixels: options.max_pixels },
        detector: DetectorOptions { min_face: options.min_face, ..DetectorOptions::default() },
        ..AnalyzerConfig::default()
    };
    let count = match options.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let bounds = Bounds { jobs: options.queue, bytes: options.inflight_bytes() };
    let (engine, bundle) = (engine.clone(), bundle.clone());
    Ok(Workers::start(count, bounds, move || Analyzer::new(&engine, &detector, &bundle, config.clone()))?)
}
