//! `cargo xtask download-dataset`: writes FER-2013 as a CSV, from Kaggle or from the user's own copy. It verifies every row
//! before the file gets its name.

use std::borrow::Cow;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use fer_dataset::{HEADER, Rows, Usage, labelled_pictures, read_face, write_row};
use fer_emotion::Emotion;
use md5::{Digest, Md5};
use ureq::http::StatusCode;

use crate::download::{self, Refused};
use crate::workspace;

const COMPETITION: &str = "challenges-in-representation-learning-facial-expression-recognition-challenge";

/// MD5 of the CSV as the competition published it.
const ORIGINAL_MD5: &str = "f8428a1edbd21e88f42c73edd2a14f95";

/// File names of the CSV in archives.
const CSV_NAMES: [&str; 2] = ["fer2013.csv", "icml_face_data.csv"];

/// Rows of FER-2013 by split and by label.
const FER2013: Counts =
    Counts { splits: [28_709, 3_589, 3_589], classes: [4_953, 547, 5_121, 8_989, 6_077, 4_002, 6_198] };

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Your own copy: .csv, .csv.xz, .csv.gz, .zip, .tar.gz, or a folder with train/<emotion>/*.jpg and test/<emotion>/*.jpg
    /// [default: download from Kaggle].
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// The CSV to write [default: datasets/fer2013.csv in this workspace].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Installs FER-2013, unless the file exists and is FER-2013 already.
///
/// # Errors
/// The existing file or the copy is not FER-2013, or the download fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    let out = options.out.clone().unwrap_or_else(|| workspace("datasets/fer2013.csv"));
    if out.exists() {
        let found = verify(&out, &FER2013)
            .or_else(|error| verify_pictures(&out, &FER2013, false).map_err(|_| error))
            .with_context(|| {
                format!("{} exists and is not FER-2013; move it away or choose another --out", out.display())
            })?;
        println!("{} exists already: {found}", out.display());
        return Ok(());
    }
    let folder = out.parent().context("--out has no file name")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let found = if let Some(path) = &options.from {
        install(path, &out, &FER2013)?
    } else {
        let Some(authorization) = authorization()? else { bail!(HOW_TO_GET_A_TOKEN) };
        let archive = folder.join("fer2013.tar.gz");
        let url =
            format!("https://www.kaggle.com/api/v1/competitions/data/download/{COMPETITION}/fer2013.tar.gz");
        from_kaggle(&url, &authorization, &archive, &out, &FER2013)?
    };
    println!("{}: {found}", out.display());
    Ok(())
}

const HOW_TO_GET_A_TOKEN: &str = "Downloading FER-2013 needs a free Kaggle account, and no Kaggle token was found.

  1. Sign in at https://www.kaggle.com and accept the rules of the competition:
     https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge/rules
  2. On https://www.kaggle.com/settings, under API, create a token. Kaggle sends a file kaggle.json:
     move it to ~/.kaggle/kaggle.json, or set KAGGLE_USERNAME and KAGGLE_KEY to its values.
  3. Run `cargo xtask download-dataset` again.

If you already have the data (.csv, .csv.xz, .csv.gz, .zip, .tar.gz, or a folder with train/angry/*.jpg and so on):
     cargo xtask download-dataset --from PATH";

/// The `Authorization` header for Kaggle, from the environment or from kaggle.json. Returns `None` without a token.
fn authorization() -> Result<Option<String>> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(user), Some(key)) = (variable("KAGGLE_USERNAME"), variable("KAGGLE_KEY")) {
        return Ok(Some(basic(&user, &key)));
    }
    let folder = std::env::var_os("KAGGLE_CONFIG_DIR")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".kaggle")));
    let Some(path) = folder.map(|folder| folder.join("kaggle.json")).filter(|path| path.is_file()) else {
        return Ok(None);
    };
    let token: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)
        .with_context(|| format!("{} is not JSON", path.display()))?;
    match (token["username"].as_str(), token["key"].as_str()) {
        (Some(user), Some(key)) => Ok(Some(basic(user, key))),
        _ => bail!(
            "{} has no username and key; create a new token on https://www.kaggle.com/settings",
            path.display()
        ),
    }
}

fn basic(user: &str, key: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{key}")))
}

fn from_kaggle(
    url: &str,
    authorization: &str,
    archive: &Path,
    out: &Path,
    expected: &Counts,
) -> Result<String> {
    let fetched = download::fetch(url, authorization, archive, Duration::from_secs(1));
    fetched.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(Refused(StatusCode::UNAUTHORIZED)) => {
            error.context("Kaggle rejected the token; create a new one on https://www.kaggle.com/settings")
        }
        Some(Refused(StatusCode::FORBIDDEN)) => error.context(format!(
            "accept the competition's rules first: https://www.kaggle.com/c/{COMPETITION}/rules"
        )),
        _ => error.context("FER-2013 was not downloaded; run the same command again to continue"),
    })?;
    let installed = install(archive, out, expected);
    // The archive is no longer needed if its data was verified, and useless otherwise.
    fs::remove_file(archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    installed
}

/// Unpacks and verifies the data, and only then gives the CSV its name. Returns a description of the data.
fn install(path: &Path, out: &Path, expected: &Counts) -> Result<String> {
    let folder = out.parent().unwrap_or(Path::new("."));
    let mut unpacked = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    let not_it = || format!("{} is not FER-2013", path.display());
    let found = if path.is_dir() {
        let whole = gather(path, &mut unpacked)?;
        verify_pictures(unpacked.path(), expected, whole).with_context(not_it)?
    } else {
        unpack(path, &mut unpacked).with_context(|| format!("cannot read {}", path.display()))?;
        verify(unpacked.path(), expected).with_context(not_it)?
    };
    unpacked.persist(out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(found)
}

/// Copies the CSV to `out`; `path` is the CSV, a compressed CSV or an archive.
fn unpack(path: &Path, out: &mut impl Write) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let file = BufReader::new(File::open(path)?);
    let mut copy = |reader: &mut dyn Read| io::copy(reader, out).map(drop);
    if name.ends_with(".csv") {
        copy(&mut { file })?;
    } else if name.ends_with(".csv.xz") {
        copy(&mut liblzma::read::XzDecoder::new_multi_decoder(file))?;
    } else if name.ends_with(".csv.gz") {
        copy(&mut flate2::read::MultiGzDecoder::new(file))?;
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(file));
        for entry in archive.entries()? {
            let mut entry = entry?;
            if is_csv(&entry.path()?) {
                return Ok(copy(&mut entry)?);
            }
        }
        bail!("the archive contains no {}", CSV_NAMES[0]);
    } else if name.ends_with(".zip") {
        let mut archive = zip::ZipArchive::new(file)?;
        let inside = archive.file_names().flatten().find(|name| is_csv(Path::new(&**name)));
        let Some(inside) = inside.map(Cow::into_owned) else {
            bail!("the archive contains no {}", CSV_NAMES[0]);
        };
        copy(&mut archive.by_name(&inside)?)?;
    } else {
        bail!("unknown file type; expected .csv, .csv.xz, .csv.gz, .zip or .tar.gz");
    }
    Ok(())
}

/// Writes the pictures of `train/<emotion>/` and `test/<emotion>/` as a CSV. Returns whether all test pictures say in their
/// names which test they belong to.
fn gather(root: &Path, out: &mut impl Write) -> Result<bool> {
    let pictures = labelled_pictures(root)?;
    let mut out = io::BufWriter::new(out);
    writeln!(out, "{HEADER}")?;
    for picture in &pictures {
        write_row(&mut out, picture.usage, picture.label, &*read_face(&picture.path)?)?;
    }
    out.flush()?;
    Ok(pictures.iter().all(|picture| !picture.usage_assumed))
}

/// Checks what [`gather`] wrote; `whole` says whether the two tests are apart in it.
fn verify_pictures(csv: &Path, expected: &Counts, whole: bool) -> Result<String> {
    let counts = count(csv)?;
    let tests = |counts: &Counts| counts.of(Usage::PublicTest) + counts.of(Usage::PrivateTest);
    let same = counts.classes == expected.classes
        && counts.of(Usage::Training) == expected.of(Usage::Training)
        && if whole { counts.splits == expected.splits } else { tests(&counts) == tests(expected) };
    ensure!(same, "it holds {counts}, but FER-2013 has {expected}");
    let faces = counts.faces();
    Ok(if whole {
        format!("FER-2013, {faces} faces, from pictures")
    } else {
        format!(
            "FER-2013, {faces} faces, from pictures whose names do not all say which test they belong to. {} are \
             PublicTest and {} PrivateTest; train with `--set validation.kind=stratified`",
            counts.of(Usage::PublicTest),
            counts.of(Usage::PrivateTest)
        )
    })
}

fn is_csv(path: &Path) -> bool {
    path.file_name().is_some_and(|name| CSV_NAMES.iter().any(|csv| name.eq_ignore_ascii_case(csv)))
}

/// Checks every row and all counts, and says which copy it is.
fn verify(csv: &Path, expected: &Counts) -> Result<String> {
    let counts = count(csv)?;
    ensure!(counts == *expected, "it holds {counts}, but FER-2013 has {expected}");
    let mut digest = Md5::new();
    io::copy(&mut File::open(csv)?, &mut HashWriter(&mut digest))?;
    let md5: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let kind = if md5 == ORIGINAL_MD5 { "original" } else { "equivalent copy" };
    Ok(format!("FER-2013, {} faces, {kind} (md5 {md5})", counts.faces()))
}

struct HashWriter<'a>(&'a mut Md5);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Numbers of rows.
#[derive(Debug, Default, PartialEq)]
struct Counts {
    /// In the order of [`Usage::ALL`].
    splits: [usize; Usage::ALL.len()],
    /// By label.
    classes: [usize; Emotion::COUNT],
}

impl Counts {
    fn of(&self, split: Usage) -> usize {
        self.splits[split as usize]
    }

    fn faces(&self) -> usize {
        self.splits.iter().sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let splits = Usage::ALL.map(Usage::name).into_iter().zip(self.splits);
        let classes = Emotion::ALL.map(Emotion::name).into_iter().zip(self.classes);
        let list: Vec<_> = splits.chain(classes).map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&list.join(", "))
    }
}

fn count(csv: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    for row in Rows::open(csv)? {
        let (usage, sample) = row?;
        counts.splits[usage as usize] += 1;
        counts.classes[sample.label.index()] += 1;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::tests::serve;
    use fer_dataset::PIXELS;

    /// The data set, but smaller.
    fn expected() -> Counts {
        Counts { splits: [10, 2, 2], classes: [2; 7] }
    }

    fn csv() -> Vec<u8> {
        let usages = [["Training"; 10].as_slice(), &["PublicTest"; 2], &["PrivateTest"; 2]].concat();
        let mut csv = format!("{HEADER}\n").into_bytes();
        for (row, usage) in usages.into_iter().enumerate() {
            writeln!(csv, "{},{},{usage}", row % 7, "200 ".repeat(PIXELS).trim_end()).unwrap();
        }
        csv
    }

    fn tar_gz(csv: &[u8]) -> Vec<u8> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        let mut header = tar::Header::new_gnu();
        header.set_size(csv.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, "fer2013/fer2013.csv", csv).unwrap();
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn every_kind_of_file_gives_the_csv_and_a_wrong_one_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let csv = csv();
        let mut zipped = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        zipped.start_file("fer2013.csv", zip::write::SimpleFileOptions::default()).unwrap();
        zipped.write_all(&csv).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(&csv).unwrap();
        let files = [
            ("a.csv.xz", xz.finish().unwrap()),
            ("b.tar.gz", tar_gz(&csv)),
            ("c.zip", zipped.finish().unwrap().into_inner()),
        ];
        for (name, bytes) in files {
            let from = folder.path().join(name);
            fs::write(&from, bytes).unwrap();
            let out = folder.path().join("out.csv");
            assert!(install(&from, &out, &expected()).unwrap().contains("equivalent copy"), "{name}");
            assert_eq!(fs::read(&out).unwrap().len(), csv.len(), "{name}");
            fs::remove_file(&out).unwrap();
            fs::remove_file(&from).unwrap();
        }
        let text = String::from_utf8(csv).unwrap();
        let first_rows = text.lines().take(8).collect::<Vec<_>>().join("\n");
        let wrong = [
            ("cut.csv", &text[..text.len() - 30], "line 15, column pixels"),
            ("few.csv", &first_rows, "but FER-2013 has"),
            ("pixels.csv", &text.replacen("200", "300", 1), "line 2, column pixels: pixel 0 is '300'"),
            ("usage.csv", &text.replace("PrivateTest", "Other"), "column Usage: unknown 'Other'"),
            ("not.txt", "", "unknown file type"),
        ];
        for (name, bytes, reason) in wrong {
            let from = folder.path().join(name);
            fs::write(&from, bytes).unwrap();
            let message =
                format!("{:#}", install(&from, &folder.path().join("out.csv"), &expected()).unwrap_err());
            assert!(message.contains(reason), "{name}: {message}");
            assert_eq!(names(folder.path()), [name]);
            fs::remove_file(&from).unwrap();
        }
    }

    #[test]
    fn a_folder_of_pictures_gives_the_csv() {
        let folder = tempfile::tempdir().unwrap();
        let (root, out) = (folder.path().join("pictures"), folder.path().join("out.csv"));
        // Ten to train with and four to test with, two of each emotion in all.
        let places =
            (0..14).map(|row| (row, Emotion::ALL[row % 7].name(), if row < 10 { "train" } else { "test" }));
        for (row, emotion, part) in places {
            let name = match row {
                0..10 => "Training",
                10..12 => "PublicTest",
                _ => "PrivateTest",
            };
            for part in ["train", "test"] {
                fs::create_dir_all(root.join(part).join(emotion)).unwrap();
            }
            let file = root.join(part).join(emotion).join(format!("{name}_{row}.png"));
            image::GrayImage::from_pixel(48, 48, image::Luma([200])).save(file).unwrap();
        }
        assert_eq!(install(&root, &out, &expected()).unwrap(), "FER-2013, 14 faces, from pictures");
        let rows = |csv: Vec<u8>| {
            let text = String::from_utf8(csv).unwrap();
            let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
            rows.sort();
            rows
        };
        assert_eq!(rows(fs::read(&out).unwrap()), rows(csv()));
        let nameless = root.join("test").join(Emotion::Happy.name());
        fs::rename(nameless.join("PublicTest_10.png"), nameless.join("10.png")).unwrap();
        assert!(install(&root, &out, &expected()).unwrap().contains("validation.kind=stratified"));
        fs::remove_file(&out).unwrap();
        fs::remove_file(nameless.join("10.png")).unwrap();
        let few = format!("{:#}", install(&root, &out, &expected()).unwrap_err());
        assert!(few.contains("but FER-2013 has") && !out.exists(), "{few}");
        fs::write(nameless.join("10.png"), "none").unwrap();
        let damaged = format!("{:#}", install(&root, &out, &expected()).unwrap_err());
        assert!(damaged.contains("10.png") && !out.exists(), "{damaged}");
    }

    #[test]
    fn kaggles_answers() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, out) = (folder.path().join("fer2013.tar.gz"), folder.path().join("fer2013.csv"));
        let get = |url: &str| from_kaggle(url, &basic("me", "key"), &archive, &out, &expected());
        for (status, advice) in [("401 Unauthorized", "create a new one"), ("403 Forbidden", "/rules")] {
            let (url, _requests) = serve(Vec::new(), vec![(status, 0)]);
            let message = format!("{:#}", get(&url).unwrap_err());
            assert!(message.contains(advice) && names(folder.path()).is_empty(), "{message}");
        }
        let (url, _requests) = serve(tar_gz(b"emotion,pixels,Usage\n"), vec![("200 OK", usize::MAX)]);
        let message = format!("{:#}", get(&url).unwrap_err());
        assert!(message.contains("is not FER-2013") && names(folder.path()).is_empty(), "{message}");
        let (url, requests) = serve(tar_gz(&csv()), vec![("200 OK", usize::MAX)]);
        get(&url).unwrap();
        assert_eq!(names(folder.path()), ["fer2013.csv"]);
        assert!(requests.recv().unwrap().contains("authorization: basic bwu6a2v5"), "me:key, in lower case");
    }
}
