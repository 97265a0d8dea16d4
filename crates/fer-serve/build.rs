//! Takes the two files of Swagger UI that `/docs` needs out of the archive in `utoipa-swagger-ui-vendored` and compresses them
//! with gzip. Nothing is downloaded.

use std::error::Error;
use std::fs::File;
use std::io::{self, Cursor};
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

const FILES: [&str; 2] = ["swagger-ui.css", "swagger-ui-bundle.js"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in FILES {
        // The archive's only folder is named after its version.
        let path = archive
            .file_names()
            .filter_map(Result::ok)
            .find(|path| path.split_once('/').is_some_and(|(_, rest)| rest == format!("dist/{name}")))
            .ok_or_else(|| format!("Swagger UI's archive has no dist/{name}"))?
            .into_owned();
        let mut file = archive.by_name(&path)?;
        let mut compressed =
            GzEncoder::new(File::create(folder.join(format!("{name}.gz")))?, Compression::best());
        io::copy(&mut file, &mut compressed)?;
        compressed.finish()?;
    }
    Ok(())
}
