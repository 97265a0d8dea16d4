//! A bundle in another form: the served ONNX graph as a file, or the bundle with smaller numbers.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use fer_model::Bundle;
use fer_model::bundle::{BundleDraft, write_whole};
use fer_model::weights::WeightsDtype;

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
    let bytes = match format {
        Format::Onnx => bundle.graph(),
        Format::Keras => {
            ensure!(
                bundle.members().len() == 1,
                "{} is an ensemble; Keras's JSON is of one network",
                bundle.name()
            );
            serde_json::to_vec(&keras::model(bundle.network()))?
        }
        Format::BundleF16 => {
            let draft = BundleDraft { dtype: WeightsDtype::F16, ..bundle.draft() };
            return draft.write(out).context("cannot write the bundle");
        }
    };
    write_whole(out, &bytes).with_context(|| format!("cannot write {}", out.display()))
}
