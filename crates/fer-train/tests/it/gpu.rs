//! Training through wgpu on a software renderer gives the numbers that it gives on the CPU.
//!
//! The tests need a Vulkan driver that computes on the CPU (Debian: mesa-vulkan-drivers) and `XDG_RUNTIME_DIR`; without
//! them they are skipped. `cargo xtask check gpu` also runs the ones at the sizes of real runs.

use std::path::Path;
use std::sync::OnceLock;

use burn::module::ParamId;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use fer_engine::Engine;
use fer_model::weights::Weights;
use fer_model::{Bundle, NetworkSpec};
use fer_network::Network;
use fer_train::training::device::{Compute, DeviceChoice, Gpu, open};
use fer_train::training::gpu_check::{self, Subject};
use fer_train::training::optimizer::{Optimizer, OptimizerConfig};
use fer_train::training::shards::{MiniBatch, Shards, host};
use serde_json::{Value, json};

use super::training::write_data;
use super::{program, refusal, succeeds};

const TOLERANCE: f64 = 1e-3;

/// Norm that counts as zero: a bias directly under a batch norm has no gradient except for rounding.
const ZERO: f64 = 1e-3;

/// The software renderer, or None if the tests are to be skipped.
fn software_gpu() -> Option<&'static Compute> {
    // A process can open a driver only once.
    static OPENED: OnceLock<Result<Compute, String>> = OnceLock::new();
    let opened = OPENED
        .get_or_init(|| open(DeviceChoice::SoftwareGpu, 0, false).map_err(|error| format!("{error:#}")));
    opened.as_ref().map_err(|error| fer_testing::skip("software-gpu", error)).ok()
}

/// An emotion network of these layers and a dense one on grey faces of 48×48 pixels.
fn network(layers: &Value) -> NetworkSpec {
    let mut layers = layers.as_array().unwrap().clone();
    layers.push(json!({"kind": "dense", "units": 7}));
    let spec = json!({
        "name": "test",
        "input": {"channels": 1, "height": 48, "width": 48},
        "preprocessing": {"mean": 0.5, "std": 0.25},
        "labels": ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"],
        "layers": layers
    });
    NetworkSpec::from_json(&spec.to_string()).unwrap()
}

/// Convolution, batch norm and pooling as cnn6 has them, with the channels of the first convolution and of the others.
fn plain([first, others]: [usize; 2]) -> Value {
    json!([
        {"kind": "conv", "channels": first, "kernel": 3},
        {"kind": "batch_norm"},
        {"kind": "relu"},
        {"kind": "conv", "channels": others, "kernel": 3, "bias": false},
        {"kind": "batch_norm"},
        {"kind": "relu"},
        {"kind": "max_pool", "size": 2},
        {"kind": "conv", "channels": others, "kernel": 5},
        {"kind": "relu"},
        {"kind": "max_pool", "size": 4},
        {"kind": "flatten"},
        {"kind": "dropout", "rate": 0.3}
    ])
}

/// The other kinds of layers.
fn blocks() -> Value {
    json!([
        {"kind": "conv", "channels": 4, "kernel": 3},
        {"kind": "elu", "alpha": 0.7},
        {"kind": "inverted_residual", "channels": 4, "expansion": 2},
        {"kind": "avg_pool", "size": 2},
        {"kind": "tap", "name": "wide"},
        {"kind": "max_pool", "size": 2},
        {"kind": "upsample", "factor": 2},
        {"kind": "add", "tap": "wide", "layers": [{"kind": "conv", "channels": 4, "kernel": 1}]},
        {"kind": "residual",
         "body": [{"kind": "conv", "channels": 8, "kernel": 3, "stride": 2, "groups": 2}, {"kind": "relu6"}],
         "shortcut": [{"kind": "conv", "channels": 8, "kernel": 1, "stride": 2}, {"kind": "batch_norm"}]},
        {"kind": "global_avg_pool"},
        {"kind": "dense", "units": 12, "bias": false},
        {"kind": "batch_norm"},
        {"kind": "relu"}
    ])
}

/// Pixels and one-hot targets that are the same for every device.
fn mini_batch(rows: std::ops::Range<usize>) -> MiniBatch {
    let pixel = |row: usize, i: usize| ((row * 7919 + i * 2_654_435) % 10_007) as f32 / 5_003.5 - 1.0;
    let pixels = rows.clone().flat_map(|row| (0..48 * 48).map(move |i| pixel(row, i))).collect();
    let targets = rows.flat_map(|row| (0..7).map(move |label| f32::from(u8::from(row % 7 == label))));
    MiniBatch { pixels, targets: targets.collect() }
}

/// Every number that training comes to, by name: of each step the loss and the gradients, at the end the weights with
/// their running statistics.
fn trained(device: &Device, spec: &NetworkSpec, samples: usize, steps: usize) -> Vec<(String, Vec<f32>)> {
    let architecture = spec.architecture();
    let shards = Shards::new(device.clone(), 1).unwrap();
    let mut network = Network::new(architecture, &Weights::init(architecture, 3), &device.clone().autodiff());
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
    let mut optimizer = Optimizer::new(&network, sgd);
    let mut numbers = Vec::new();
    for step in 0..steps {
        let (gradients, tally) = shards.classification_step(&network, spec, step as u64, samples, mini_batch);
        numbers.push((format!("step {step}: loss"), vec![tally.loss as f32]));
        let mut all = Vec::new();
        for (id, parameter) in (1..).zip(architecture.parameters()).filter(|(_, p)| p.trainable) {
            all.extend(gradient(&gradients, ParamId::from(id), parameter.shape.len()));
        }
        numbers.push((format!("step {step}: gradients"), all));
        network = optimizer.step(network, gradients, 0.01, step, None);
    }
    let weights = network.weights(architecture).unwrap();
    numbers.extend(weights.iter().map(|(name, array)| (name.to_owned(), array.values.clone())));
    numbers
}

fn gradient(gradients: &GradientsParams, id: ParamId, rank: usize) -> Vec<f32> {
    let values = match rank {
        1 => gradients.get::<1>(id).map(host),
        2 => gradients.get::<2>(id).map(host),
        _ => gradients.get::<4>(id).map(host),
    };
    values.unwrap()
}

#[track_caller]
fn assert_close(what: &str, expected: &[f32], measured: &[f32]) {
    assert_eq!(expected.len(), measured.len(), "{what}");
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let distance = norm(&mut expected.iter().zip(measured).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let size = norm(&mut expected.iter().map(|value| f64::from(*value)));
    assert!(distance <= TOLERANCE * size.max(ZERO), "{what}: distance {distance}, norm {size}");
}

#[track_caller]
fn assert_trains_alike(gpu: &Compute, layers: &Value, samples: usize, steps: usize) {
    let spec = network(layers);
    let expected = trained(&Device::flex(), &spec, samples, steps);
    let measured = trained(&gpu.device, &spec, samples, steps);
    for ((what, expected), (_, measured)) in expected.iter().zip(&measured) {
        assert_close(&format!("{samples} samples, {what}"), expected, measured);
    }
}

/// The driver's fault that `fer_network`'s layers for GPUs work around, in as few operations as possible: Mesa 22.3.6
/// adds up 65,532 of 70,000 ones. A driver without the limit passes as well.
#[test]
fn llvmpipe_ends_loops_early() {
    let Some(gpu) = software_gpu() else { return };
    let ones = Tensor::<2>::ones([70_000, 4], &gpu.device);
    let at_once = host(ones.clone().sum_dim(0));
    let in_stages = host(ones.reshape([100, 700, 4]).sum_dim(1).sum_dim(0));
    assert_eq!(in_stages, [70_000.0; 4]);
    assert!(at_once[0] == 70_000.0 || at_once[0] < 65_536.0, "{at_once:?}");
}

/// 29 faces are the first whose pixels are more than the iterations that llvmpipe gives a loop.
#[test]
#[ignore = "takes minutes; `cargo xtask check gpu` runs it"]
fn convolutions_and_batch_norm_train_alike() {
    let Some(gpu) = software_gpu() else { return };
    for samples in [3, 32] {
        assert_trains_alike(gpu, &plain([4, 4]), samples, 3);
    }
}

#[test]
#[ignore = "takes minutes; `cargo xtask check gpu` runs it"]
fn blocks_and_the_other_layers_train_alike() {
    let Some(gpu) = software_gpu() else { return };
    assert_trains_alike(gpu, &blocks(), 32, 3);
}

#[test]
#[ignore = "takes minutes; `cargo xtask check gpu` runs it"]
fn real_sizes_train_alike() {
    let Some(gpu) = software_gpu() else { return };
    // The first convolution and its batch norm have 128 × 64 × 48 × 48 activations. With 64 channels in the other
    // convolutions too, a software renderer takes hours.
    assert_trains_alike(gpu, &plain([64, 8]), 128, 1);
    assert_trains_alike(gpu, &blocks(), 128, 2);
}

/// The check as a run does it, with the weights of one kind of layer changed on the GPU.
fn check(gpu: &Compute, spec: &NetworkSpec, corrupted: Option<&str>, trusted: bool) -> Result<(), String> {
    let driver = gpu.gpu.as_ref().unwrap().driver.clone();
    let device = gpu.device.clone();
    let corrupted = corrupted.map(str::to_owned);
    let compute =
        Compute { device, shards: 1, name: gpu.name.clone(), gpu: Some(Gpu { driver, trusted, corrupted }) };
    let (architecture, samples) = (spec.architecture(), 30);
    let weights = Weights::init(architecture, 1);
    let subject = Subject { compute: &compute, architecture, weights: &weights, samples };
    let checked = gpu_check::check(&subject, |shards, network| {
        let (gradients, tally) = shards.classification_step(network, spec, 5, samples, mini_batch);
        (gradients, tally.loss)
    });
    checked.map_err(|error| format!("{error:#}"))
}

#[test]
#[ignore = "takes minutes; `cargo xtask check gpu` runs it"]
fn the_check_passes_and_names_the_layer_that_is_wrong() {
    let Some(gpu) = software_gpu() else { return };
    let spec = network(&plain([4, 4]));
    check(gpu, &spec, None, false).unwrap();
    for (kind, layer) in [("conv", "layers.0"), ("batch_norm", "layers.1"), ("dense", "layers.12")] {
        let refusal = check(gpu, &spec, Some(kind), false).unwrap_err();
        let named = format!("{layer} ({kind})");
        for part in [named.as_str(), &gpu.name, &gpu.gpu.as_ref().unwrap().driver, "--trust-gpu"] {
            assert!(refusal.contains(part), "no {part} in: {refusal}");
        }
        check(gpu, &spec, Some(kind), true).unwrap();
    }
}

fn train(folder: &Path, name: &str, more: &[&str]) -> std::process::Command {
    let mut command = program(folder);
    command.args(["--config", "training.json", "--epochs", "1", "--name", name]).args(more);
    command
}

#[test]
#[ignore = "takes minutes; `cargo xtask check gpu` runs it"]
fn a_bundle_that_was_trained_there_is_served() {
    let Some(gpu) = software_gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);

    let refused =
        refusal(&mut train(folder, "no", &["--device", "software-gpu", "--corrupt-gpu-check", "conv"]));
    assert!(refused.contains("layers.0 (conv)") && refused.contains(&gpu.name), "{refused}");
    assert!(!folder.join("runs/no").exists());

    let printed = succeeds(&mut train(folder, "yes", &["--device", "software-gpu"]));
    assert!(printed.contains(&gpu.name), "{printed}");
    let bundle = Bundle::open(&folder.join("runs/yes/bundle")).unwrap();
    let (spec, weights) = bundle.members().next().unwrap();
    let pixels = mini_batch(0..5).pixels;
    let shape = [5, 1, 48, 48];
    let network = Network::new(spec.architecture(), weights, &gpu.device);
    let images = Tensor::<4>::from_data(burn::tensor::TensorData::new(pixels.clone(), shape), &gpu.device);
    let trained = host(network.forward(images).remove(0));
    let served = fer_engine::Tensor::new(shape, pixels).unwrap();
    let mut served = Engine::tract().open(&bundle.graph()).unwrap().run(&served).unwrap();
    assert_close("logits", served.take(&bundle.head().output).unwrap().data(), &trained);
}

#[test]
fn a_software_renderer_is_never_chosen_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    write_data(folder.path());
    let printed = succeeds(&mut train(folder.path(), "auto", &["--device", "auto"]));
    assert!(!printed.contains("llvmpipe"), "{printed}");
}
