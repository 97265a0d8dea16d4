//! `fer corpus plan`: lists folders and stores once.

use std::path::Path;

use anyhow::{Result, bail};
use fer_corpus::store::Listed;
use fer_corpus::{Planner, local, runtime};

use super::PlanArgs;
use crate::commands::Outcome;
use crate::inputs::{self, Filter, Place};

/// Runs the command.
pub(super) fn run(args: &PlanArgs) -> Result<Outcome> {
    let filter = Filter::new(&args.include, &args.exclude)?;
    let plan = runtime()?.block_on(async {
        let mut planner = Planner::new(&args.out, args.part, args.timeout, args.force).await?;
        for input in &args.inputs {
            match input.to_str().filter(|text| is_folder_of_store(text)) {
                // It may hold more objects than fit into memory.
                Some(address) => planner.add_folder(address, |path| filter.selects(path)).await?,
                None => {
                    for object in list(input, &filter, args)? {
                        planner.add(object).await?;
                    }
                }
            }
        }
        let plan = planner.finish().await?;
        anyhow::Ok(plan)
    })?;
    let gigabytes = plan.bytes as f64 / 1e9;
    eprintln!("{} objects, {gigabytes:.1} GB, {} parts in {}", plan.objects, plan.parts, args.out);
    Ok(Outcome::Well)
}

/// Whether an address names a folder of a store, which is listed page by page. Web servers have no folders.
fn is_folder_of_store(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !matches!(scheme, "http" | "https" | "file"))
        && !inputs::has_extension(Path::new(text))
}

/// What any other input names.
fn list(input: &std::ffi::OsString, filter: &Filter, args: &PlanArgs) -> Result<Vec<Listed>> {
    // Listing waits for stores, which no thread of the async runtime may do.
    let found = std::thread::scope(|scope| {
        let list = || inputs::list(std::slice::from_ref(input), filter, args.timeout);
        scope.spawn(list).join().unwrap_or_else(|_| bail!("listing ended unexpectedly; this is a bug"))
    })?;
    let mut objects = Vec::with_capacity(found.len());
    for input in found {
        objects.push(match input.place {
            Place::File(path) => {
                local(&path).map_err(|problem| anyhow::anyhow!("{}: {problem}", input.name))?
            }
            Place::Object => Listed { uri: input.name, size: None, etag: None },
            Place::Stdin => bail!("standard input cannot be part of a manifest"),
            Place::Nowhere(problem) => bail!("{}: {problem}", input.name),
        });
    }
    Ok(objects)
}
