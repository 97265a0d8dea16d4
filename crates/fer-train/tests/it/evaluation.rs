//! What `evaluate`, `ensemble`, `explore` and `predict` do with several runs and with damaged files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::training::{train, write_data};
use super::{program, succeeds};

/// Evaluates a bundle of the folder on a split and returns the JSON.
fn evaluate(folder: &Path, bundle: &str, split: &str) -> Value {
    let mut command = program(folder);
    command.args(["evaluate", "--data", "faces.csv", "--device", "cpu", "--threads", "1", "--json"]);
    command.args(["--bundle", bundle, "--split", split]);
    serde_json::from_str(&succeeds(&mut command)).unwrap()
}

fn weights_of_report(folder: &Path, report: &str) -> Value {
    let text = fs::read(folder.join(report).join("evaluation.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["weights_sha256"].clone()
}

/// Issue 13, fault 16: the report of a second seed overwrote that of the first.
#[test]
fn each_run_has_its_own_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    for (name, seed) in [("seed1", "1"), ("seed2", "2")] {
        succeeds(train(folder, name).args(["--epochs", "1", "--seed", seed]));
    }
    let first = evaluate(folder, "runs/seed1/bundle", "public");
    let second = evaluate(folder, "runs/seed2/bundle", "public");
    assert_ne!(first["weights_sha256"], second["weights_sha256"]);
    assert_eq!(weights_of_report(folder, "runs/seed1/evaluation-public"), first["weights_sha256"]);
    assert_eq!(weights_of_report(folder, "runs/seed2/evaluation-public"), second["weights_sha256"]);
    // The same bundle again replaces its own report; another bundle in a folder of the same name gets a number.
    evaluate(folder, "runs/seed1/bundle", "public");
    assert!(!folder.join("runs/seed1/evaluation-public-2").exists());
    fs::create_dir_all(folder.join("elsewhere/seed1")).unwrap();
    fs::rename(folder.join("runs/seed2/bundle"), folder.join("elsewhere/seed1/bundle")).unwrap();
    evaluate(folder, "elsewhere/seed1/bundle", "public");
    assert_eq!(weights_of_report(folder, "runs/seed1/evaluation-public"), first["weights_sha256"]);
    assert_eq!(weights_of_report(folder, "runs/seed1/evaluation-public-2"), second["weights_sha256"]);
}

/// Issue 13, fault 16: the count of scorings on PrivateTest began at zero in ensembles.
#[test]
fn an_ensemble_counts_its_members_private_scorings() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    for (name, seed) in [("a", "1"), ("b", "2")] {
        succeeds(train(folder, name).args(["--epochs", "1", "--seed", seed]));
    }
    assert_eq!(evaluate(folder, "runs/a/bundle", "private")["private_scorings"], 1);
    assert_eq!(evaluate(folder, "runs/a/bundle", "private")["private_scorings"], 2);
    assert_eq!(evaluate(folder, "runs/b/bundle", "private")["private_scorings"], 1);
    let bundles = ["runs/a/bundle", "runs/b/bundle"];
    succeeds(program(folder).arg("ensemble").args(bundles).args(["--out", "two"]));
    assert_eq!(evaluate(folder, "two", "private")["private_scorings"], 4);
    assert_eq!(evaluate(folder, "two", "public")["private_scorings"], Value::Null);
}

/// Issue 13, fault 16: the report did not say that a teacher may know the validation rows.
#[test]
fn the_report_says_what_training_knew() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    succeeds(train(folder, "teacher").args(["--epochs", "1"]));
    let teacher = "teacher={\"bundle\": \"runs/teacher/bundle\"}";
    let mut taught = train(folder, "taught");
    taught.args(["--epochs", "1", "--set", teacher]);
    succeeds(taught.args(["--set", "validation={\"kind\": \"stratified\"}"]));
    let plain = evaluate(folder, "runs/teacher/bundle", "public");
    assert_eq!(plain["caveats"], Value::Null);
    let taught = evaluate(folder, "runs/taught/bundle", "public");
    let caveats: Vec<&str> = taught["caveats"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(caveats.len(), 1, "{caveats:?}");
    let page = fs::read_to_string(folder.join("runs/taught/evaluation-public/index.html")).unwrap();
    assert!(caveats[0].contains("runs/teacher/bundle"), "{caveats:?}");
    assert!(page.contains("validation score may be too high"), "{caveats:?}");
}

/// Issue 13, fault 16: errors of reading in folders were swallowed, or stopped at the first.
#[test]
fn unreadable_pictures_are_named_and_the_others_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (emotion, level) in [("happy", 200), ("sad", 60)] {
        let place = folder.join("photos/train").join(emotion);
        fs::create_dir_all(&place).unwrap();
        image::GrayImage::from_pixel(60, 60, image::Luma([level])).save(place.join("good.png")).unwrap();
        fs::write(place.join("damaged.jpg"), "none").unwrap();
    }
    let explored = program(folder).args(["explore", "--data", "photos", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&explored.stdout).unwrap();
    assert_eq!(
        (&report["splits"][0]["faces"], report["failures"].as_array().map(Vec::len)),
        (&json!(2), Some(2))
    );
    let message = String::from_utf8_lossy(&explored.stderr);
    assert_eq!(explored.status.code(), Some(1), "{message}");
    for file in ["happy/damaged.jpg", "sad/damaged.jpg", "2 pictures cannot be read"] {
        assert!(message.contains(file), "{message}");
    }
    // A file in the place of an emotion's folder is no missing emotion.
    fs::write(folder.join("photos/train/fear"), "none").unwrap();
    let explored = super::refusal(program(folder).args(["explore", "--data", "photos"]));
    assert!(explored.contains("photos/train/fear"), "{explored}");
}

/// Pictures in folders by emotion are scored as a whole or by the face that is found in them; broken ones are named.
#[test]
fn labelled_pictures_are_scored() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    succeeds(train(folder, "run").args(["--epochs", "1"]));
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
    for emotion in ["happy", "sad"] {
        fs::create_dir_all(folder.join("faces").join(emotion)).unwrap();
    }
    fs::copy(sample, folder.join("faces/happy/astronaut.png")).unwrap();
    image::GrayImage::from_pixel(60, 60, image::Luma([90])).save(folder.join("faces/sad/grey.png")).unwrap();
    let evaluate = |detected: bool| {
        let mut command = program(folder);
        command.args([
            "evaluate",
            "--bundle",
            "runs/run/bundle",
            "--faces",
            "faces",
            "--device",
            "cpu",
            "--json",
        ]);
        if detected { command.arg("--detected").output() } else { command.output() }.unwrap()
    };
    let scores = |detected| {
        let output = evaluate(detected);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["samples"].clone(), report["pictures"].clone())
    };
    let pictures = |detected, without_face| json!({"folder": "faces", "detected": detected, "pictures": 2, "without_face": without_face});
    assert_eq!(scores(false), (Some(0), json!(2), pictures(false, 0)));
    assert_eq!(scores(true), (Some(0), json!(1), pictures(true, 1)));
    let page = fs::read_to_string(folder.join("runs/run/evaluation-pictures/index.html")).unwrap();
    assert!(page.contains("a face in 1 of 2"), "{page}");
    // A broken picture is named after the scores of the others.
    fs::write(folder.join("faces/sad/broken.jpg"), "none").unwrap();
    let output = evaluate(false);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("sad/broken.jpg"));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["samples"], 2);
    let empty =
        super::refusal(program(folder).args(["evaluate", "--bundle", "runs/run/bundle", "--faces", "runs"]));
    assert!(empty.contains("runs holds no labelled pictures"), "{empty}");
}

/// Issue 13, section 2: folders of pictures were decoded and converted to grey in another way than photos are served.
#[test]
fn pictures_in_folders_are_read_as_they_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for split in ["train", "test"] {
        fs::create_dir_all(folder.join("photos").join(split).join("happy")).unwrap();
    }
    let clear = image::RgbaImage::from_pixel(60, 60, image::Rgba([0; 4]));
    clear.save(folder.join("photos/train/happy/clear.png")).unwrap();
    let green = image::RgbImage::from_pixel(60, 60, image::Rgb([0, 255, 0]));
    green.save(folder.join("photos/test/happy/green.png")).unwrap();
    let explored = succeeds(program(folder).args(["explore", "--data", "photos", "--json"]));
    let explored: Value = serde_json::from_str(&explored).unwrap();
    let mean = |split: usize| explored["splits"][split]["mean"].as_f64().unwrap();
    assert!((mean(0) - 1.0).abs() < 1e-6, "transparent pixels are white: {explored}");
    assert!((mean(1) - 150.0 / 255.0).abs() < 1e-6, "green by Rec. 601: {explored}");
}
