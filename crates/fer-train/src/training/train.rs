//! Starts or continues a training run: reads everything that it needs, refuses what does not fit, and runs the loop.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use fer_dataset::Sample;
use fer_model::weights::Weights;
use fer_model::{Bundle, LabelSet, NetworkSpec};
use fer_network::Network;
use serde::Serialize;
use serde_json::{Value, json};

use crate::data::batches::{Batches, Blend};
use crate::data::targets::Targets;
use crate::evaluation::test_set::labelled_by;
use crate::training::checkpoint::{self, Checkpoint};
use crate::training::config::TrainingConfig;
use crate::training::data::TrainingData;
use crate::training::device::Compute;
use crate::training::distillation::{open_teacher, teach, teacher_knowledge};
use crate::training::ema::Ema;
use crate::training::gpu_check;
use crate::training::initial::{self, Initial};
use crate::training::optimizer::{Optimizer, OptimizerState};
use crate::training::progress::Progress;
use crate::training::run::Run;
use crate::training::run_folder::{BUNDLE_FOLDER, RunFolder};
use crate::training::settings::{RunSettings, rows_sha256};
use crate::training::shards::Shards;
use crate::training::state::{EpochReport, RunState};
use crate::training::stop::Stop;

/// The outcome of a run.
#[derive(Serialize)]
pub struct Trained {
    /// Folder of the best epoch's bundle.
    pub bundle: PathBuf,
    /// Number of finished epochs.
    pub epochs: usize,
    /// Figures of the best epoch.
    pub best: Option<EpochReport>,
}

/// Trains a network into `folder`. With `resume` it continues the run whose checkpoint is there; without, there must be
/// none. With `json` it prints one JSON object per epoch in place of text.
///
/// # Errors
/// If the configuration, the data or the checkpoint do not fit; nothing is written then. During the run: if a file cannot
/// be written, if the training diverges, or after Ctrl-C.
pub fn train(
    config: &TrainingConfig,
    spec: &NetworkSpec,
    compute: &Compute,
    folder: &Path,
    resume: bool,
    json: bool,
) -> Result<Trained> {
    config.check()?;
    let notice = |text: String| {
        if !json {
            println!("{text}");
        }
    };
    let mut data = TrainingData::read(config, spec)?;
    if let Some(copies) = data.copies_left_out {
        notice(format!("{copies} training rows have a copy in a test split and are left out"));
    }
    let validation = by_head(&data.validation, spec)?;
    let teacher = config.teacher.as_ref().map(|teacher| open_teacher(teacher, spec)).transpose()?;
    let settings = RunSettings {
        config: config.clone(),
        network: spec.clone(),
        rows_sha256: rows_sha256([&data.training, &data.validation]),
        teacher_sha256: teacher.as_ref().map(|bundle| bundle.manifest().weights.sha256.clone()),
    };
    let start = starting_point(&settings, folder, resume, notice)?;
    let provenance = provenance(config, compute, &data, teacher.as_ref());
    let shards = Shards::of(compute)?;
    if let Some((teacher, bundle)) = config.teacher.as_ref().zip(teacher.as_ref()) {
        notice(format!("{} classifies the training rows", teacher.bundle.display()));
        teach(teacher, bundle, &mut data.training, compute, &shards);
    }
    let targets = Targets::new(spec, config.label_smoothing, config.class_weights.as_ref(), &data.training);
    let batches = Batches { config, spec, targets, training: data.training };
    if let Some(gpu) = &compute.gpu {
        notice(gpu.first_step_notice());
    }
    check_gpu(&batches, compute, &start.weights)?;
    let folder = RunFolder::create(folder, settings, provenance)?;
    let network = Network::new(spec.architecture(), &start.weights, &compute.device.clone().autodiff());
    let mut optimizer = Optimizer::new(&network, config.optimizer.clone());
    optimizer.restore(&network, start.optimizer, &compute.device)?;
    let average = config.ema.zip(start.average);
    let ema = average.map(|(decay, weights)| Ema::new(decay, spec.architecture(), &weights, &compute.device));
    let stop = Stop::on_ctrl_c();
    let progress = Progress::open(json, spec.name(), config, batches.steps())?;
    let mut run =
        Run { batches, validation, shards, optimizer, ema, state: start.state, folder, progress, stop };
    run.epochs(network)?;
    let Run { folder, state, .. } = run;
    Ok(Trained { bundle: folder.path.join(BUNDLE_FOLDER), epochs: state.epoch, best: state.best().cloned() })
}

/// The validation rows with the labels of each head.
fn by_head(validation: &[Sample], spec: &NetworkSpec) -> Result<Vec<Vec<Sample>>> {
    let of_set = |&set: &LabelSet| {
        let labelled = labelled_by(set, validation.to_vec());
        ensure!(
            !labelled.is_empty(),
            "no validation row has a label of {set}, by which its head could be scored"
        );
        Ok(labelled)
    };
    spec.label_sets().iter().map(of_set).collect()
}

/// Compares a GPU's step on the first rows with the CPU's.
fn check_gpu(batches: &Batches, compute: &Compute, weights: &Weights) -> Result<()> {
    let Batches { config, spec, .. } = batches;
    let rows: Vec<usize> = (0..config.batch_size).collect();
    let blend = Blend::of(&rows, config, 0)?;
    let architecture = spec.architecture();
    let subject = gpu_check::Subject { compute, architecture, weights, samples: rows.len() };
    gpu_check::check(&subject, |shards, network| {
        let (gradients, tally) =
            shards.classification_step(network, spec, config.seed, rows.len(), |range| {
                batches.part(&rows[range.clone()], &blend, range.start, 0)
            });
        (gradients, tally.loss)
    })
}

/// The checkpoint to resume from, or initial weights.
fn starting_point(
    settings: &RunSettings,
    folder: &Path,
    resume: bool,
    notice: impl Fn(String),
) -> Result<Checkpoint<RunState>> {
    match (folder.join(checkpoint::FILE).exists(), resume) {
        (true, true) => Checkpoint::read(folder, settings.network.architecture(), settings),
        (true, false) => bail!(
            "{} holds a run already; continue it with --resume, or choose another --name",
            folder.display()
        ),
        (false, true) => bail!("{} holds no checkpoint to resume", folder.display()),
        (false, false) => {
            let weights = initial_weights(&settings.config, &settings.network, notice)?;
            Ok(Checkpoint {
                state: RunState::default(),
                average: settings.config.ema.is_some().then(|| weights.clone()),
                weights,
                optimizer: OptimizerState::new(),
            })
        }
    }
}

fn initial_weights(config: &TrainingConfig, spec: &NetworkSpec, notice: impl Fn(String)) -> Result<Weights> {
    let Some(path) = &config.init_from else {
        return Ok(Weights::init(spec.architecture(), config.seed));
    };
    let Initial { weights, missing, unused } = initial::read(path, spec, config.seed)?;
    for (what, names) in [("fresh, not in the file", missing), ("in the file, but unused", unused)] {
        if !names.is_empty() {
            notice(format!("{what}: {}", names.join(", ")));
        }
    }
    Ok(weights)
}

/// What `model.json` says about the training, without the epoch.
fn provenance(
    config: &TrainingConfig,
    compute: &Compute,
    data: &TrainingData,
    teacher: Option<&Bundle>,
) -> serde_json::Map<String, Value> {
    let mut provenance = serde_json::Map::new();
    provenance.insert("config".to_owned(), json!(config));
    provenance.insert("device".to_owned(), json!(compute.name));
    provenance.insert("selected_on".to_owned(), json!(config.validation.name()));
    if let Some(copies) = data.copies_left_out {
        provenance.insert("copies_left_out".to_owned(), json!(copies));
    }
    if let Some(bundle) = teacher {
        let manifest = bundle.manifest();
        let teacher = json!({
            "name": bundle.name(),
            "weights_sha256": manifest.weights.sha256,
            "knows_validation_rows": teacher_knowledge(&manifest.training, config),
        });
        provenance.insert("teacher".to_owned(), teacher);
    }
    provenance
}
