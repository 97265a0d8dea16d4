//! A data set anew with level eyes: each face found by the detector, turned, cut out and written under its label.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use fer_detect::{DetectorModel, DetectorOptions, Face, FaceDetector};
use fer_engine::Engine;
use fer_image::BoundingBox;
use fer_image::{CropRule, FaceCrop, FaceLocation};
use fer_model::Emotion;
use fer_model::bundle::{write_whole, write_whole_with};
use image::RgbImage;
use indicatif::{ParallelProgressIterator, ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde::Serialize;

use crate::data::dataset::{Dataset, Labelled, PIXELS, SIDE, Sample, Usage, labelled_pictures, picture};
use crate::report::sheet::Sheet;

/// A face crop is shown to the detector this many times enlarged, ...
const ENLARGED: usize = 3;

/// ... with its border repeated for this share of its side all around, since the detector wants some room.
const ROOM: f32 = 0.35;

/// A face in a crop lies where the crop does, or it is something else.
const LEAST_OVERLAP: f32 = 0.3;

/// Eyes that are steeper are a mistake of the detector.
const MOST_DEGREES: f32 = 45.0;

/// Pairs of before and after in the report.
const SHOWN: usize = 48;
const ACROSS: usize = 12;

#[derive(Args)]
pub struct AlignArgs {
    /// FER-2013 CSV, or a folder of photos with train/<emotion>/*.png or jpg and test/…, of which the largest face counts.
    #[arg(long, default_value = "datasets/fer2013.csv")]
    data: PathBuf,
    /// The new CSV; aligned.csv in the report's folder if not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder of the report.
    #[arg(long, default_value = "runs/align")]
    report: PathBuf,
    /// Leave rows out that cannot be aligned; else faces of a CSV stay as they are, so that rows keep their numbers.
    #[arg(long)]
    leave_out: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What came of one picture.
struct Aligned {
    name: String,
    label: Emotion,
    usage: Usage,
    before: Option<Box<[u8; PIXELS]>>,
    /// The face and the angle by which its eyes were off, in degrees; or why there is none.
    after: Result<(Box<[u8; PIXELS]>, f32), String>,
}

#[derive(Serialize)]
struct Report {
    pictures: usize,
    aligned: usize,
    /// Of the aligned ones, the angle by which the eyes were off, in degrees without its sign.
    mean_degrees: f32,
    /// Pictures that could not be aligned and are in the new data as they were.
    kept: usize,
    /// Of each emotion, how many could not be aligned.
    failures_by_emotion: Vec<(Emotion, usize)>,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    /// Line of the CSV, or path.
    picture: String,
    emotion: Emotion,
    reason: String,
}

/// Runs the command.
pub fn run(args: &AlignArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| args.report.join("aligned.csv"));
    std::fs::create_dir_all(&args.report)
        .with_context(|| format!("cannot create {}", args.report.display()))?;
    let all = if args.data.is_dir() {
        let pictures = labelled_pictures(&args.data)?;
        align_all(&pictures, |detector, Labelled { usage, label, path }| Aligned {
            name: path.display().to_string(),
            label: *label,
            usage: *usage,
            before: None,
            after: align_photo(detector, path).map_err(|error| format!("{error:#}")),
        })?
    } else {
        let rows = Dataset::read(&args.data)?.into_rows();
        align_all(&rows, |detector, (usage, sample)| Aligned {
            name: format!("line {}", sample.line),
            label: sample.label,
            usage: *usage,
            before: Some(sample.pixels.clone()),
            after: align_crop(detector, sample).map_err(|error| format!("{error:#}")),
        })?
    };
    let kept = write_csv(&all, args.leave_out, &out)?;
    let report = Report::of(&all, kept);
    let json = serde_json::to_string_pretty(&report)?;
    let path = args.report.join("align.json");
    write_whole(&path, json.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    sheet(&all).write(&args.report, "aligned")?;
    if args.json {
        println!("{json}");
        return Ok(());
    }
    println!(
        "{} of {} faces aligned, by {:.1}° on average; {} of the others kept as they were",
        report.aligned, report.pictures, report.mean_degrees, report.kept
    );
    for (emotion, count) in &report.failures_by_emotion {
        println!("  not aligned: {count:>5} {emotion}");
    }
    println!("the new data is {}, the report {}", out.display(), path.display());
    Ok(())
}

/// On all cores, in order.
fn align_all<T: Sync>(
    pictures: &[T],
    align: impl Fn(&mut dyn FaceDetector, &T) -> Aligned + Sync,
) -> Result<Vec<Aligned>> {
    let engine = Engine::tract();
    let bar = ProgressBar::new(pictures.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} faces, {eta} left") {
        bar.set_style(style);
    }
    let model = DetectorModel::embedded();
    let open = || model.detector(&engine, &DetectorOptions::default());
    pictures
        .par_iter()
        .progress_with(bar)
        .map_init(open, |detector, picture| match detector {
            Ok(detector) => Ok(align(detector.as_mut(), picture)),
            Err(error) => Err(anyhow!("{error}")),
        })
        .collect()
}

/// The largest face of a photo.
fn align_photo(detector: &mut dyn FaceDetector, path: &Path) -> Result<(Box<[u8; PIXELS]>, f32)> {
    let photo = image::ImageReader::open(path)?.with_guessed_format()?.decode()?.into_rgb8();
    let faces = detector.detect(&photo)?;
    let area = |face: &Face| face.bounding_box.width * face.bounding_box.height;
    let largest = faces.iter().max_by(|a, b| area(a).total_cmp(&area(b)));
    level(&photo, largest.context("no face found")?)
}

/// The face of a picture that is hardly more than it.
fn align_crop(detector: &mut dyn FaceDetector, sample: &Sample) -> Result<(Box<[u8; PIXELS]>, f32)> {
    let side = SIDE * ENLARGED;
    let crop = FaceCrop::from_square(sample.pixels.as_slice(), SIDE, [side; 2]).context("not square")?;
    let room = (ROOM * side as f32) as u32;
    let canvas = RgbImage::from_fn(side as u32 + 2 * room, side as u32 + 2 * room, |x, y| {
        let at = |place: u32| (place.saturating_sub(room) as usize).min(side - 1);
        image::Rgb([crop.luma()[at(y) * side + at(x)]; 3])
    });
    let whole = BoundingBox { x: room as f32, y: room as f32, width: side as f32, height: side as f32 };
    let faces = detector.detect(&canvas)?;
    let overlap = |face: &Face| face.bounding_box.iou(&whole);
    let best = faces.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b))).context("no face found")?;
    if overlap(best) < LEAST_OVERLAP {
        return Err(anyhow!("what was found fills too little of the picture"));
    }
    level(&canvas, best)
}

/// Cuts a face out with its eyes level, and says by how many degrees they were off.
fn level(picture: &RgbImage, face: &Face) -> Result<(Box<[u8; PIXELS]>, f32)> {
    let place = FaceLocation { bounding_box: face.bounding_box, eyes: face.landmarks.eyes() };
    let degrees = place.roll().to_degrees();
    if degrees.abs() > MOST_DEGREES {
        return Err(anyhow!("its eyes seem to be {degrees:.0}° off"));
    }
    let rule = CropRule { level_eyes: true, ..CropRule::default() };
    let crop = FaceCrop::extract(picture, &place, rule, [SIDE; 2]).context("the face is empty")?;
    let mut pixels = Box::new([0; PIXELS]);
    pixels.copy_from_slice(crop.luma());
    Ok((pixels, degrees))
}

/// Returns how many faces are in it as they were.
fn write_csv(all: &[Aligned], leave_out: bool, path: &Path) -> Result<usize> {
    let mut kept = 0;
    write_whole_with(path, |file| {
        let mut file = std::io::BufWriter::new(file);
        writeln!(file, "emotion,pixels,Usage")?;
        for Aligned { label, usage, before, after, .. } in all {
            let pixels = match (after, before) {
                (Ok((pixels, _)), _) => pixels,
                (Err(_), Some(before)) if !leave_out => {
                    kept += 1;
                    before
                }
                (Err(_), _) => continue,
            };
            write!(file, "{},", label.index())?;
            for (index, pixel) in pixels.iter().enumerate() {
                write!(file, "{}{pixel}", if index == 0 { "" } else { " " })?;
            }
            writeln!(file, ",{}", usage.name())?;
        }
        file.flush()
    })
    .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(kept)
}

impl Report {
    fn of(all: &[Aligned], kept: usize) -> Self {
        let degrees: Vec<f32> =
            all.iter().filter_map(|one| one.after.as_ref().ok()).map(|(_, degrees)| degrees.abs()).collect();
        let failures: Vec<Failure> = all
            .iter()
            .filter_map(|one| {
                let reason = one.after.as_ref().err()?.clone();
                Some(Failure { picture: one.name.clone(), emotion: one.label, reason })
            })
            .collect();
        let of = |emotion| failures.iter().filter(|failure| failure.emotion == emotion).count();
        Self {
            pictures: all.len(),
            aligned: degrees.len(),
            mean_degrees: degrees.iter().sum::<f32>() / degrees.len().max(1) as f32,
            kept,
            failures_by_emotion: Emotion::ALL.map(|emotion| (emotion, of(emotion))).to_vec(),
            failures,
        }
    }
}

/// The faces that were turned the most, before and after, where there is a before.
fn sheet(all: &[Aligned]) -> Sheet {
    let mut turned: Vec<_> = all.iter().filter_map(|one| Some((one, one.after.as_ref().ok()?))).collect();
    turned.sort_by(|(_, (_, a)), (_, (_, b))| b.abs().total_cmp(&a.abs()));
    turned.truncate(SHOWN);
    let mut sheet = Sheet::new(ACROSS);
    for row in turned.chunks(ACROSS) {
        let before: Vec<_> = row
            .iter()
            .filter_map(|(one, _)| Some((picture(one.before.as_deref()?), one.name.clone())))
            .collect();
        if !before.is_empty() {
            sheet.row("before", before);
        }
        let after = row.iter().map(|(_, (pixels, degrees))| (picture(pixels), format!("{degrees:+.0}°")));
        sheet.row("after", after.collect());
    }
    sheet
}
