//! `fer-train detector train`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use fer_train::detector::annotations::Photo;
use fer_train::detector::config::DetectorTraining;
use fer_train::detector::corpus::Corpus;
use fer_train::detector::run_folder::RunFolder;
use fer_train::detector::single_shot::config::SingleShotTraining;
use fer_train::detector::single_shot::teacher::{self, Teacher, TeacherBox};
use fer_train::detector::single_shot::train::{Job, RunSettings};
use fer_train::detector::single_shot::{self, run_folder};
use fer_train::detector::{annotations, manifest, train};
use fer_train::training::stop::Stop;

use super::Photos;
use crate::commands::compute::ComputeArgs;

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// Training configuration, of an MTCNN or of a single-shot detector.
    #[arg(long, default_value = "configs/detector/mtcnn.json")]
    config: PathBuf,
    #[command(flatten)]
    photos: Photos,
    /// List of photos without faces, one path per line [default: negatives.txt in the image folder].
    #[arg(long)]
    negatives: Option<PathBuf>,
    /// Folder of all runs.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// CSV of another detector's boxes, which complete the annotations of a single-shot detector's training
    /// [default: teacher.csv in the image folder, if there is one].
    #[arg(long)]
    teacher: Option<PathBuf>,
    /// Name of this run's folder inside --runs [default: the configuration's kind].
    #[arg(long)]
    name: Option<String>,
    /// Folder for the trained networks and their model.json [default: detector in the run's folder].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the results on the validation photos as one JSON object; progress goes to standard error.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: ComputeArgs,
}

pub(super) fn run(args: &TrainArgs) -> Result<()> {
    if SingleShotTraining::is_kind_of(&args.config)? { single_shot(args) } else { mtcnn(args) }
}

impl TrainArgs {
    fn run_path(&self, default_name: &str) -> PathBuf {
        self.runs.join(self.name.as_deref().unwrap_or(default_name))
    }

    fn negatives(&self) -> Result<Vec<Photo>> {
        let list = self.negatives.clone().unwrap_or_else(|| self.photos.folder().join("negatives.txt"));
        annotations::read_negatives(&list)
    }

    fn teacher(&self) -> Result<Teacher> {
        let beside = self.photos.folder().join("teacher.csv");
        match &self.teacher {
            Some(csv) => teacher::read(csv),
            None if beside.exists() => teacher::read(&beside),
            None => Ok(Teacher::new()),
        }
    }
}

fn single_shot(args: &TrainArgs) -> Result<()> {
    let stop = Stop::on_ctrl_c();
    let mut config = SingleShotTraining::read(&args.config)?;
    // The first network does not depend on the second one.
    let refinement = config.refinement.take();
    let folder = run_folder::RunFolder::create(&args.run_path("single_shot"))?;
    let images = args.photos.folder();
    let (photos, negatives) = (args.photos.read()?, args.negatives()?);
    let teacher = args.teacher()?;
    let annotations_sha256 = annotations::sha256(&photos, &negatives, &format!("{:?}", sorted(&teacher)));
    let settings = RunSettings { config, annotations_sha256 };
    let config = &settings.config;
    let start = single_shot::train::starting_point(&settings, folder.path())?;
    let data = manifest::sources(&photos, negatives.len());
    eprintln!("reading {} photos with faces, {} without", photos.len(), negatives.len());
    let corpus = single_shot::corpus::Corpus::open(config, photos, negatives, &teacher, images)?;
    let compute = args.compute.open()?;
    eprintln!(
        "training on {} photos with {} faces, on {}; {} validation photos; run in {}",
        corpus.photos(),
        corpus.faces(),
        compute.name,
        corpus.validation.len(),
        folder.path().display()
    );
    let job = Job {
        settings: &settings,
        corpus: &corpus,
        data,
        images,
        compute: &compute,
        folder: &folder,
        stop: &stop,
    };
    let best = single_shot::train::train(&job, start)?;
    let validation = corpus.validation.clone();
    if let Some(refinement) = &refinement {
        let run = single_shot::refinement::Run {
            settings: &settings,
            refinement,
            images,
            compute: &compute,
            stop: &stop,
        };
        run.train(corpus, &folder)?;
    }
    folder.record_activation_ranges(&validation, images)?;
    let out = match &args.out {
        None => folder.detector(),
        Some(out) => {
            folder.copy_detector(out)?;
            out.clone()
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&best)?);
    } else {
        println!("the detector of epoch {} is in {}", best.epoch, out.display());
    }
    Ok(())
}

/// A teacher's boxes in an order that does not depend on the hashing of a run.
fn sorted(teacher: &Teacher) -> BTreeMap<&String, &Vec<TeacherBox>> {
    teacher.iter().collect()
}

fn mtcnn(args: &TrainArgs) -> Result<()> {
    let stop = Stop::on_ctrl_c();
    let config = DetectorTraining::read(&args.config)?;
    let run = RunFolder::open(&args.run_path("mtcnn"), &config)?;
    let images = args.photos.folder();
    let photos = args.photos.read()?;
    let negatives = args.negatives()?;
    let data = manifest::sources(&photos, negatives.len());
    eprintln!("reading {} photos with faces, {} without", photos.len(), negatives.len());
    let corpus = Corpus::open(&config, photos, negatives, images)?;
    let compute = args.compute.open()?;
    eprintln!("training on {}, run in {}", compute.name, run.path().display());
    let (nets, report) = train::train(&config, &corpus, images, &compute, &run, &stop)?;
    let out = args.out.clone().unwrap_or_else(|| run.path().join("detector"));
    manifest::write(&out, &nets, &config, &data, &report)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("the networks are in {}", out.display());
    }
    Ok(())
}
