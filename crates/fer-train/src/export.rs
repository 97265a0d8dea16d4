//! A bundle in another form: the served ONNX graph as a file, or the bundle with smaller numbers.

use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use fer_model::bundle::{BundleDraft, write_whole};
use fer_model::weights::WeightsDtype;
use fer_model::{Bundle, onnx};

use crate::keras;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The graph that the server runs: input `input`, output `logits`.
    Onnx,
    /// A bundle with 16-bit weights.
    BundleF16,
    /// The layers as Keras's `model_from_json` reads them.
    Keras,
}

pub(crate) fn export(bundle: &Bundle, format: Format, out: &Path) -> Result<()> {
    match format {
        Format::Onnx => write_whole(
            out,
            &onnx::graph(bundle.network().name(), bundle.network().architecture(), bundle.weights()),
        )
        .with_context(|| format!("cannot write {}", out.display())),
        Format::Keras => write_whole(out, serde_json::to_string(&keras::model(bundle.network()))?.as_bytes())
            .with_context(|| format!("cannot write {}", out.display())),
        Format::BundleF16 => {
            let draft = BundleDraft { dtype: WeightsDtype::F16, ..bundle.draft() };
            draft.write(out).context("cannot write the bundle")
        }
    }
}
