//! The options that choose model, detector and engine, and what they open. They are those of `fer-serve`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use fer_detect::{DetectorModel, DetectorOptions};
use fer_engine::{Engine, EngineKind, Precision};
use fer_image::DecodeLimits;
use fer_model::{Bundle, LabelSet};
use fer_table::Metadata;
use fer_vision::{AnalyzeError, Analyzer, AnalyzerConfig};
use sha2::{Digest as _, Sha256};

/// Which engine runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[cfg_attr(feature = "corpus", derive(serde::Serialize, serde::Deserialize))]
enum EngineChoice {
    /// ONNX Runtime if its library is found, otherwise tract.
    Auto,
    /// The built-in engine.
    Tract,
    /// ONNX Runtime; it is an error if its library is not found.
    Onnxruntime,
}

impl EngineChoice {
    /// The engine that it insists on.
    fn kind(self) -> Option<EngineKind> {
        match self {
            Self::Auto => None,
            Self::Tract => Some(EngineKind::Tract),
            Self::Onnxruntime => Some(EngineKind::OnnxRuntime),
        }
    }
}

/// Model, detector, engine and threads.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Emotion bundle (model.json, weights.safetensors) to use instead of the embedded one.
    #[arg(long, env = "FER_MODEL", value_name = "DIR")]
    model: Option<PathBuf>,
    /// Labels that the answers follow: `fer2013` or `ferplus`. The default is the model's; a model knows those it was trained on.
    #[arg(long, env = "FER_LABELS", value_name = "NAME")]
    labels: Option<LabelSet>,
    /// Folder of a face detector to use instead of the embedded default, or `mtcnn` for the embedded MTCNN.
    #[arg(long, env = "FER_DETECTOR", value_name = "DIR")]
    detector: Option<PathBuf>,
    /// Engine that runs the networks.
    #[arg(long, env = "FER_ENGINE", value_enum, default_value = "auto")]
    engine: EngineChoice,
    /// Shared library of ONNX Runtime. Without this flag it is looked for beside the program and, if it was built in a checkout, in
    /// the checkout's assets/runtime.
    #[arg(long, env = "ORT_DYLIB_PATH", value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// What convolutions are computed in: `f32` or `int8`. The default is `int8` for ONNX Runtime on processors that are made for
    /// it, and otherwise `f32`.
    #[arg(long, env = "FER_PRECISION", value_name = "NAME")]
    precision: Option<Precision>,
    /// Inference threads; 0 starts one per core. The result does not depend on it.
    #[arg(long, env = "FER_WORKERS", default_value_t = 0)]
    threads: usize,
    /// Smallest face in pixels, measured in the photo after reducing its longer side to 800. The default is the detector's.
    #[arg(long, env = "FER_MIN_FACE", value_name = "PIXELS")]
    min_face: Option<f32>,
    /// Largest photo or frame, in pixels.
    #[arg(long, env = "FER_MAX_PIXELS", default_value_t = 40_000_000)]
    pub(crate) max_pixels: u64,
}

/// The options that decide about the rows. They travel to other machines, where the paths must exist too.
#[cfg(feature = "corpus")]
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct ModelSettings {
    model: Option<PathBuf>,
    labels: LabelSet,
    detector: Option<PathBuf>,
    engine: EngineChoice,
    precision: Precision,
    min_face: Option<f32>,
    pub(crate) max_pixels: u64,
}

#[cfg(feature = "corpus")]
impl ModelSettings {
    /// What of the options decides about the rows, with the labels and the engine that were found.
    ///
    /// # Errors
    /// If the working directory is gone.
    pub(crate) fn of(args: &ModelArgs, models: &Models) -> Result<Self> {
        let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
        let detector = match &args.detector {
            Some(name) if name == Path::new(DetectorModel::MTCNN) => Some(name.clone()),
            folder => absolute(folder)?,
        };
        let engine = match models.parts.engine.kind() {
            EngineKind::Tract => EngineChoice::Tract,
            EngineKind::OnnxRuntime => EngineChoice::Onnxruntime,
        };
        let labels = models.parts.bundle.head().label_set;
        let ModelArgs { min_face, max_pixels, .. } = *args;
        let precision = models.parts.engine.precision();
        Ok(Self { model: absolute(&args.model)?, labels, detector, engine, precision, min_face, max_pixels })
    }

    /// The options again, with what each machine chooses for itself.
    pub(crate) fn to_args(&self, threads: usize, onnxruntime: Option<PathBuf>) -> ModelArgs {
        let Self { model, labels, detector, engine, precision, min_face, max_pixels } = self.clone();
        let labels = Some(labels);
        let precision = Some(precision);
        ModelArgs { model, labels, detector, engine, onnxruntime, precision, threads, min_face, max_pixels }
    }
}

/// What an [`Analyzer`] is made of.
#[derive(Clone)]
pub(crate) struct Parts {
    engine: Engine,
    detector: DetectorModel,
    bundle: Bundle,
    config: AnalyzerConfig,
}

impl Parts {
    /// An analyzer for one thread.
    ///
    /// # Errors
    /// If a graph does not open, or a setting is out of range.
    pub(crate) fn analyzer(&self) -> Result<Analyzer, AnalyzeError> {
        Analyzer::new(&self.engine, &self.detector, &self.bundle, self.config.clone())
    }
}

/// The opened models.
pub(crate) struct Models {
    /// Copied into the threads that make analyzers.
    pub(crate) parts: Parts,
    /// Number of inference threads, at least one.
    pub(crate) threads: usize,
    /// Identity of the detector's files.
    detector_name: String,
}

impl Models {
    /// Opens what the options name.
    ///
    /// # Errors
    /// If a folder or a library cannot be used; the message names the flag.
    pub(crate) fn open(args: &ModelArgs) -> Result<Self> {
        let bundle = match &args.model {
            Some(folder) => Bundle::open(folder).with_context(|| format!("--model {}", folder.display()))?,
            None => Bundle::embedded().context("the embedded emotion model")?,
        };
        let bundle = bundle.with_labels(args.labels).context("--labels")?;
        let detector = DetectorModel::select(args.detector.as_deref()).context("--detector")?;
        let detector_name = match &args.detector {
            Some(name) if name == Path::new(DetectorModel::MTCNN) => DetectorModel::MTCNN.to_owned(),
            Some(folder) => digest(folder)?,
            None => "embedded".to_owned(),
        };
        let config = AnalyzerConfig {
            decode: DecodeLimits { max_pixels: args.max_pixels },
            detector: DetectorOptions { min_face: args.min_face, ..DetectorOptions::default() },
            ..AnalyzerConfig::default()
        };
        let threads = threads_of(args.threads);
        let parts = Parts {
            engine: Engine::select(args.engine.kind(), args.onnxruntime.as_deref())?
                .with_precision(args.precision)?,
            detector,
            bundle,
            config,
        };
        Ok(Self { parts, threads, detector_name })
    }

    /// What a table says about the models that made it.
    pub(crate) fn metadata(&self) -> Metadata {
        let Parts { engine, bundle, config, .. } = &self.parts;
        let min_face = config.detector.min_face.map_or("detector's".to_owned(), |side| side.to_string());
        let pairs = [
            ("fer.version", env!("CARGO_PKG_VERSION").to_owned()),
            ("fer.model", bundle.name().to_owned()),
            ("fer.model.labels", bundle.head().label_set.name().to_owned()),
            ("fer.model.sha256", bundle.manifest().weights.sha256.clone()),
            ("fer.detector", self.detector_name.clone()),
            ("fer.engine", engine.kind().name().to_owned()),
            ("fer.precision", engine.precision().name().to_owned()),
            ("fer.settings.min_face", min_face),
            ("fer.settings.max_pixels", config.decode.max_pixels.to_string()),
            ("fer.notice", NOTICE.to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The number of inference threads that an option asks for.
pub(crate) fn threads_of(option: usize) -> usize {
    match option {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Stands in every table and report.
pub(crate) const NOTICE: &str = "The values are guesses at the labels that people would give to expressions. They are often wrong, \
                                 error rates differ between groups of people, and they say nothing about what somebody feels.";

/// The SHA-256 of a detector's files, in the order of their names.
fn digest(folder: &Path) -> Result<String> {
    let cannot = || format!("--detector {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "json" || extension == "onnx") {
            files.push(path);
        }
    }
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        hash.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
