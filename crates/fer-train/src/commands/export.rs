//! `fer-train export`: writes a bundle in another form.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use fer_model::LabelSet;
use fer_train::export::bundle::{self, Format};
use fer_train::open_bundle;

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Folder with model.json and weights.safetensors.
    #[arg(long)]
    bundle: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value = "onnx")]
    format: FormatArg,
    /// The file, or the new bundle's folder.
    #[arg(long)]
    out: PathBuf,
    /// Labels whose head answers first in an exported bundle, or whose logits the check of a graph compares: `fer2013` or
    /// `ferplus` [default: the bundle's].
    #[arg(long, value_name = "NAME")]
    labels: Option<LabelSet>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// The ONNX graph that the server runs, with the input `input` and the outputs `logits` and `logits_ferplus`, or one of them.
    Onnx,
    /// The same bundle with 32-bit weights.
    Bundle,
    /// The same bundle with 16-bit weights.
    BundleF16,
    /// The layers as the JSON that Keras's `model_from_json` reads, without weights.
    Keras,
}

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let format = match args.format {
        FormatArg::Onnx => Format::Onnx,
        FormatArg::Bundle => Format::Bundle,
        FormatArg::BundleF16 => Format::BundleF16,
        FormatArg::Keras => Format::Keras,
    };
    let difference =
        bundle::export(&open_bundle(&args.bundle)?.with_labels(args.labels)?, format, &args.out)?;
    if args.json {
        let format = args.format.to_possible_value().map(|value| value.get_name().to_owned());
        let report =
            serde_json::json!({ "format": format, "out": args.out, "largest_difference": difference });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if let Some(difference) = difference {
        println!("{}: logits differ by at most {difference:.1e} from the burn network's", args.out.display());
    } else {
        println!("{}", args.out.display());
    }
    Ok(())
}
