//! A bundle in another form: the served ONNX graph as a file, the bundle with smaller numbers, or Keras's JSON. What holds
//! numbers is run beside the burn network before it is called done.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use clap::ValueEnum;
use fer_engine::{Engine, Tensor};
use fer_model::Bundle;
use fer_model::bundle::{BundleDraft, write_whole};
use fer_model::spec::{InputSpec, LOGITS};
use fer_model::weights::WeightsDtype;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::evaluation::scorer::Scorer;
use crate::export::keras;
use crate::training::shards::Shards;

/// Inputs that an export is checked with.
const SAMPLES: usize = 8;

/// By how much logits may differ: rounding in another order, and 16 bits in place of 32.
const ROUNDING: f32 = 1e-4;
const HALF: f32 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The graph that the server runs: input `input`, output `logits`.
    Onnx,
    /// The same bundle with 32-bit weights.
    Bundle,
    /// A bundle with 16-bit weights.
    BundleF16,
    /// The layers as Keras's `model_from_json` reads them.
    Keras,
}

/// Writes a file, or a bundle's folder.
pub fn run(bundle: &Bundle, format: Format, out: &Path, json: bool) -> Result<()> {
    let difference = match format {
        Format::Onnx => {
            let graph = bundle.graph();
            let difference = difference(&logits_of_graph(&graph, bundle)?, &logits(bundle)?);
            ensure!(difference < ROUNDING, "the graph's logits differ by {difference} from the network's");
            write(out, &graph)?;
            Some(difference)
        }
        Format::Keras => {
            let alone = bundle.members().len() == 1;
            ensure!(alone, "{} is an ensemble; Keras's JSON is of one network", bundle.name());
            write(out, &serde_json::to_vec(&keras::model(bundle.network()))?)?;
            None
        }
        Format::Bundle | Format::BundleF16 => {
            let (dtype, most) = match format {
                Format::BundleF16 => (WeightsDtype::F16, HALF),
                _ => (WeightsDtype::F32, 0.0),
            };
            BundleDraft { dtype, ..bundle.draft() }.write(out).context("cannot write the bundle")?;
            let difference = difference(&logits(&crate::open_bundle(out)?)?, &logits(bundle)?);
            ensure!(difference <= most, "the new bundle's logits differ by {difference}");
            Some(difference)
        }
    };
    if json {
        let format = format.to_possible_value().map(|value| value.get_name().to_owned());
        let report = serde_json::json!({ "format": format, "out": out, "largest_difference": difference });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if let Some(difference) = difference {
        println!("{}: logits differ by at most {difference:.1e} from the burn network's", out.display());
    } else {
        println!("{}", out.display());
    }
    Ok(())
}

fn write(out: &Path, bytes: &[u8]) -> Result<()> {
    write_whole(out, bytes).with_context(|| format!("cannot write {}", out.display()))
}

/// Preprocessed noise, the same each time.
fn samples(input: InputSpec) -> Vec<f32> {
    let mut random = StdRng::seed_from_u64(1);
    (0..SAMPLES * input.channels * input.height * input.width)
        .map(|_| random.random_range(-2.0_f32..2.0))
        .collect()
}

/// Of the burn network, or of an ensemble of them.
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
    let mut outputs = Engine::tract().open(graph)?.run(samples)?;
    Ok(outputs.take(LOGITS)?.data().to_vec())
}

/// Infinite where they cannot be compared.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() || a.iter().chain(b).any(|logit| !logit.is_finite()) {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
