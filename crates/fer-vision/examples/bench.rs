//! Times the pipeline on one photo, on one thread, and prints one JSON object; `cargo xtask bench` runs it.
//!
//! Times are medians over the repetitions, in milliseconds. `other_share` is the fraction of the time of `analyze` that passes
//! outside of the engine's sessions (decoding, pyramid, crops, non-maximum suppression).

use std::path::PathBuf;

use clap::Parser;
use fer_detect::DetectorModel;
use fer_engine::Engine;
use fer_model::Bundle;
use fer_vision::{Analyzer, AnalyzerConfig};

/// Times the pipeline on one photo.
#[derive(Parser)]
struct Options {
    /// A detector's folder; without it the embedded detector is used.
    #[arg(long)]
    detector: Option<PathBuf>,
    /// Emotion bundle.
    #[arg(long)]
    model: PathBuf,
    /// Photo.
    #[arg(long)]
    image: PathBuf,
    /// ONNX Runtime's library; tract without it.
    #[arg(long)]
    onnxruntime: Option<PathBuf>,
    /// Measured runs, after a few warm-up runs.
    #[arg(long, default_value_t = 20)]
    repeat: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let engine = match &options.onnxruntime {
        Some(library) => Engine::onnx_runtime(library)?,
        None => Engine::tract(),
    };
    let detector = DetectorModel::select(options.detector.as_deref())?;
    let bundle = Bundle::open(&options.model)?;
    let mut analyzer = Analyzer::new(&engine, &detector, &bundle, AnalyzerConfig::default())?;
    let photo = std::fs::read(&options.image)?;
    let faces = analyzer.analyze(&photo)?.faces.len();
    analyzer.analyze(&photo)?;
    let mut timings = Vec::new();
    for _ in 0..options.repeat.max(1) {
        timings.push(analyzer.analyze(&photo)?.timing_ms);
    }
    let median = |of: &dyn Fn(&fer_vision::Timing) -> f64| {
        let mut values: Vec<f64> = timings.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let json = serde_json::json!({
        "engine": engine.kind().name(),
        "faces": faces,
        "decode_ms": median(&|t| t.decode),
        "detect_ms": median(&|t| t.detect),
        "classify_ms": median(&|t| t.classify),
        "total_ms": median(&|t| t.total),
        "other_share": median(&|t| 1.0 - t.sessions / t.total),
    });
    println!("{json}");
    Ok(())
}
