//! Writes a bundle in another form: the served ONNX graph, a bundle with smaller numbers, or Keras's JSON. Every form that
//! holds weights is checked against the burn network.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use fer_engine::{Engine, Tensor};
use fer_model::Bundle;
use fer_model::bundle::BundleBuilder;
use fer_model::file::write_atomically;
use fer_model::spec::InputSpec;
use fer_model::weights::WeightsDtype;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::evaluation::scorer::Scorer;
use crate::export::keras;
use crate::training::shards::Shards;

/// Number of inputs that an export is checked with.
const SAMPLES: usize = 8;

/// Largest difference of logits that are computed in another order.
const MAX_ROUNDING: f32 = 1e-4;

/// Largest difference of logits after rounding the weights to 16 bits.
const MAX_HALF_ROUNDING: f32 = 0.05;

/// The forms in which a bundle can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The ONNX graph that the server runs, with the input `input` and the outputs `logits` and `logits_ferplus`, or one of them.
    Onnx,
    /// The same bundle with 32-bit weights. The answering head becomes the first one.
    Bundle,
    /// The same with 16-bit weights.
    BundleF16,
    /// The layers as the JSON that Keras's `model_from_json` reads, without weights.
    Keras,
}

/// Writes a bundle in another form, to a file or to a bundle's folder. Returns the largest difference between the exported
/// model's logits and those of the burn network; `None` for Keras's JSON, which holds no weights.
///
/// # Errors
/// If the logits differ by more than rounding, if an ensemble is to become Keras's JSON, or if `out` cannot be written.
pub fn export(bundle: &Bundle, format: Format, out: &Path) -> Result<Option<f32>> {
    match format {
        Format::Onnx => {
            let graph = bundle.graph();
            let difference = difference(&logits_of_graph(&graph, bundle)?, &logits(bundle)?);
            ensure!(
                difference < MAX_ROUNDING,
                "the graph's logits differ by {difference} from the network's"
            );
            write(out, &graph)?;
            Ok(Some(difference))
        }
        Format::Keras => {
            let single = bundle.members().len() == 1;
            ensure!(single, "{} is an ensemble; Keras's JSON describes a single network", bundle.name());
            ensure!(
                bundle.network().label_sets().len() == 1,
                "{} has several heads; Keras's JSON is written for networks with one",
                bundle.name()
            );
            write(out, &serde_json::to_vec(&keras::model(bundle.network()))?)?;
            Ok(None)
        }
        Format::Bundle => write_bundle(bundle, WeightsDtype::F32, 0.0, out).map(Some),
        Format::BundleF16 => write_bundle(bundle, WeightsDtype::F16, MAX_HALF_ROUNDING, out).map(Some),
    }
}

fn write_bundle(bundle: &Bundle, dtype: WeightsDtype, max_difference: f32, out: &Path) -> Result<f32> {
    let mut builder = BundleBuilder { dtype, ..bundle.to_builder() };
    builder.heads.sort_by_key(|head| head.label_set != bundle.head().label_set);
    builder.write(out).context("cannot write the bundle")?;
    let difference = difference(&logits(&crate::open::open_bundle(out)?)?, &logits(bundle)?);
    ensure!(difference <= max_difference, "the new bundle's logits differ by {difference}");
    Ok(difference)
}

fn write(out: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(out, bytes).with_context(|| format!("cannot write {}", out.display()))
}

/// Preprocessed noise, the same in each call.
fn samples(input: InputSpec) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(1);
    (0..SAMPLES * input.channels * input.height * input.width)
        .map(|_| random.random_range(-2.0_f32..2.0))
        .collect()
}

/// Logits of the burn network, or of an ensemble of burn networks.
fn logits(bundle: &Bundle) -> Result<Vec<f32>> {
    let shards = Shards::new(Device::flex(), 1)?;
    let input = bundle.network().input();
    let (samples, one) = (samples(input), input.channels * input.height * input.width);
    let scorer = Scorer::of_bundle(&shards, bundle, &Device::flex());
    Ok(scorer.logits(SAMPLES, |range| samples[range.start * one..range.end * one].to_vec()).concat())
}

fn logits_of_graph(graph: &[u8], bundle: &Bundle) -> Result<Vec<f32>> {
    let input = bundle.network().input();
    let samples = Tensor::new([SAMPLES, input.channels, input.height, input.width], samples(input))?;
    let mut outputs = Engine::tract().open(graph)?.run(&samples)?;
    Ok(outputs.take(&bundle.head().output)?.data().to_vec())
}

/// The largest difference; infinite if the logits cannot be compared.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() || a.iter().chain(b).any(|logit| !logit.is_finite()) {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
