//! From options to a service that can answer, or one line that says why not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::Engine;
use fer_image::DecodeLimits;
use fer_model::Bundle;
use fer_pool::Workers;
use fer_vision::{Analyzer, AnalyzerConfig};
use tokio::sync::watch;

use crate::config::Options;
use crate::guard::access::Access;
use crate::live::connections::ConnectionLimits;
use crate::metrics::Metrics;
use crate::music::Library;
use crate::state::{BodyLimits, LiveLimits, Service};

const MODEL_JSON: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/models/emotion/model.json"));
const WEIGHTS: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/models/emotion/weights.safetensors"));

pub(crate) fn service(options: &Options) -> Result<Service> {
    let detector = match &options.detector {
        Some(folder) => DetectorModel::open(folder).context("--detector")?,
        None => DetectorModel::embedded(),
    };
    let bundle = match &options.model {
        Some(folder) => Bundle::open(folder).with_context(|| format!("--model {}", folder.display()))?,
        None => Bundle::from_bytes(MODEL_JSON, WEIGHTS).context("the embedded emotion model")?,
    };
    let engine = match options.onnxruntime.clone().or_else(found_runtime) {
        Some(library) => Engine::onnx_runtime(&library)?,
        None => Engine::tract(),
    };
    let config = AnalyzerConfig {
        decode: DecodeLimits { max_pixels: options.max_pixels },
        detector: DetectorOptions { min_face: options.min_face, ..DetectorOptions::default() },
        ..AnalyzerConfig::default()
    };
    let count = match options.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let (opened, model) = (engine.clone(), bundle.clone());
    let workers = Workers::start(count, options.queue, move || {
        Analyzer::new(&opened, &detector, &model, config.clone())
    })?;
    let limits = LiveLimits {
        connections: ConnectionLimits {
            total: options.live_connections,
            per_client: options.live_per_client,
        },
        live_idle: Duration::from_secs(options.live_idle_seconds),
    };
    Ok(Service {
        workers,
        bundle,
        engine,
        body: BodyLimits { bytes: options.max_body, seconds: options.body_seconds },
        batch: BodyLimits { bytes: options.max_batch, seconds: options.body_seconds },
        access: Access::new(
            options.api_key_file.as_deref(),
            options.rate_limit,
            options.trusted_proxy.clone(),
        )?,
        metrics: Metrics::default(),
        cors_origins: options.cors_origin.clone(),
        group_min_faces: options.group_report.then_some(options.group_min_faces),
        music: options.music.as_deref().map(Library::scan).transpose()?.unwrap_or_default(),
        limits,
        live: Arc::default(),
        stopping: watch::Sender::new(false),
    })
}

/// Where `cargo xtask download-runtime` puts ONNX Runtime, seen from the working directory.
fn found_runtime() -> Option<PathBuf> {
    let file = if cfg!(target_os = "windows") {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    };
    let path = Path::new("assets/runtime").join(file);
    path.is_file().then_some(path)
}
