//! The face detector: training, resuming, measuring, completing annotations, and refused input.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fer_model::weights::read_arrays;
use image::{Rgb, RgbImage, imageops};
use serde_json::{Value, json};

use super::{program, refusal, succeeds};

const HEADER: &str =
    "path,x,y,w,h,le_x,le_y,re_x,re_y,nose_x,nose_y,ml_x,ml_y,mr_x,mr_y,mc_x,mc_y,ignore,tag,source\n";

/// The sample's head within its photo, and the face there: box, then eyes, nose and corners of the mouth.
const HEAD: [u32; 4] = [140, 20, 170, 190];
const FACE: [f32; 4] = [181.0, 60.0, 88.0, 117.0];
const POINTS: [f32; 10] = [205.0, 101.7, 246.8, 103.7, 224.7, 129.0, 201.7, 139.2, 245.3, 141.9];

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Writes pictures of 320×240 pixels with the sample's head at changing positions and sizes, and others without. The first
/// picture has a second face that is to be ignored, the second picture one that is not annotated.
fn write_data(folder: &Path) {
    let sample = image::open(workspace("assets/samples/astronaut.png")).unwrap().into_rgb8();
    let [left, top, width, height] = HEAD;
    let head = imageops::crop_imm(&sample, left, top, width, height).to_image();
    let mut csv = HEADER.to_owned();
    let mut negatives = String::new();
    for number in 0..16_u32 {
        let mut picture = RgbImage::from_fn(320, 240, |x, y| {
            Rgb([(x * 3 + number * 20) as u8, (y * 2 + x) as u8, ((x ^ y) + number) as u8])
        });
        let empty = format!("empty{number}.png");
        picture.save(folder.join(&empty)).unwrap();
        negatives += &format!("{empty}\n");
        let scale = 0.55 + 0.02 * number as f32;
        let size = [width, height].map(|side| (side as f32 * scale) as u32);
        let small = imageops::resize(&head, size[0], size[1], imageops::FilterType::Triangle);
        let mut place = |x: i64, y: i64, row: Option<u8>| {
            imageops::overlay(&mut picture, &small, x, y);
            let of = |value: f32, start: u32, place: i64| (value - start as f32) * scale + place as f32;
            let Some(ignore) = row else { return };
            let [fx, fy, fw, fh] = FACE;
            let mut fields = vec![of(fx, left, x), of(fy, top, y), fw * scale, fh * scale];
            for point in POINTS.chunks_exact(2) {
                fields.extend([of(point[0], left, x), of(point[1], top, y)]);
            }
            let fields: Vec<String> = fields.iter().map(f32::to_string).collect();
            csv += &format!("face{number}.png,{},,,{ignore},,test\n", fields.join(","));
        };
        place(i64::from(number), 10 + i64::from(number % 4), Some(0));
        match number {
            0 => place(180, 60, Some(1)),
            1 => place(180, 60, None),
            _ => {}
        }
        picture.save(folder.join(format!("face{number}.png"))).unwrap();
    }
    fs::write(folder.join("faces.csv"), csv).unwrap();
    fs::write(folder.join("negatives.txt"), negatives).unwrap();
    let mut config: Value =
        serde_json::from_str(include_str!("../../../../configs/detector/mtcnn.json")).unwrap();
    config["validation_share"] = json!(0.2);
    for (stage, steps) in [("proposal", 600), ("refinement", 60), ("output", 40)] {
        config[stage]["steps"] = json!(steps);
        config[stage]["batch_size"] = json!(32);
        config[stage]["learning_rate"] = json!(0.02);
    }
    config["refinement"]["mining_threshold"] = json!(0.1);
    config["output"]["mining_threshold"] = json!(0.1);
    fs::write(folder.join("mtcnn.json"), config.to_string()).unwrap();
}

fn train(folder: &Path, name: &str) -> Command {
    let mut command = program(folder);
    command.args(["detector", "train", "--config", "mtcnn.json", "--annotations", "faces.csv"]);
    command.args(["--device", "cpu", "--threads", "1", "--name", name, "--out"]).arg(format!("out-{name}"));
    command
}

/// Runs a training that succeeds. Returns its standard error. With `--json`, standard output is one object.
fn progress(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    if command.get_args().any(|argument| argument == "--json") {
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report["ap50"].is_number() && report["photos"].is_u64(), "{report}");
    }
    said
}

#[test]
fn a_run_that_was_killed_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let printed = progress(train(folder, "whole").arg("--json"));
    for line in ["after P-Net: average precision", "after R-Net:", "after O-Net:", "R-Net: mined"] {
        assert!(printed.contains(line), "{line} is missing in {printed}");
    }
    let card: Value =
        serde_json::from_slice(&fs::read(folder.join("out-whole/model.json")).unwrap()).unwrap();
    assert_eq!(card["training"]["validation"]["stages"].as_array().unwrap().len(), 3);
    assert_eq!(card["training"]["data"]["faces_by_source"]["test"], 17);
    assert!(
        card["training"]["validation"]["ap50"].is_number()
            && card["training"]["parameters"]["P-Net"] == 8_006,
        "{card}"
    );

    // Killed inside P-Net's training, after its checkpoint.
    let mut child = train(folder, "killed").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("step    500/600") {}
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("out-killed").exists());
    // Then stopped by Ctrl-C after the next step.
    let mut child = train(folder, "killed").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("training on")));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert!(lines.any(|line| line.contains("stopped and saved; go on with the same command")));
    assert!(!child.wait().unwrap().success() && !folder.join("out-killed").exists());
    succeeds(&mut train(folder, "killed"));
    // Stopped between the stages. Without --out the networks stay below the run's folder.
    fs::create_dir_all(folder.join("runs/between")).unwrap();
    for name in ["config.json", "pnet.onnx"] {
        fs::copy(folder.join("runs/whole").join(name), folder.join("runs/between").join(name)).unwrap();
    }
    let mut between = program(folder);
    between.args(["detector", "train", "--config", "mtcnn.json", "--annotations", "faces.csv"]);
    between.args(["--device", "cpu", "--threads", "1", "--name", "between"]);
    assert!(progress(&mut between).contains("pnet.onnx is there already"));
    assert!(!folder.join("assets").exists());
    fs::rename(folder.join("runs/between/detector"), folder.join("out-between")).unwrap();
    for name in ["pnet.onnx", "rnet.onnx", "onet.onnx"] {
        let whole = fs::read(folder.join("out-whole").join(name)).unwrap();
        for other in ["out-killed", "out-between"] {
            assert!(whole == fs::read(folder.join(other).join(name)).unwrap(), "{name} of {other} differs");
        }
    }
    // A finished network of another configuration is not taken for this one's.
    let config = fs::read_to_string(folder.join("mtcnn.json")).unwrap();
    fs::write(folder.join("mtcnn.json"), config.replace("\"steps\":600", "\"steps\":601")).unwrap();
    let message = refusal(&mut train(folder, "whole"));
    assert!(message.contains("runs/whole was started with another configuration"), "{message}");
}

/// Writes the configuration that ships, with a tiny network, small crops and few steps.
fn write_single_shot(folder: &Path) {
    fn narrow(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value.as_u64()) {
                        ("channels", Some(channels @ (16 | 32 | 64))) => *value = json!(channels / 8),
                        ("width" | "height", Some(320)) => *value = json!(96),
                        _ => narrow(value),
                    }
                }
            }
            Value::Array(values) => values.iter_mut().for_each(narrow),
            _ => {}
        }
    }
    let mut config: Value =
        serde_json::from_str(include_str!("../../../../configs/detector/single_shot.json")).unwrap();
    narrow(&mut config);
    config["data"]["validation"] = json!({ "test": 0.3 });
    config["data"]["draw"] = json!({ "test": 0.7, "negatives": 0.3 });
    for (key, value) in [("epochs", 2), ("steps_per_epoch", 4), ("batch_size", 4), ("warmup_steps", 2)] {
        config[key] = json!(value);
    }
    let refinement = &mut config["refinement"]["training"];
    (refinement["steps"], refinement["batch_size"]) = (json!(2), json!(16));
    fs::write(folder.join("single_shot.json"), config.to_string()).unwrap();
}

fn train_single_shot(folder: &Path, name: &str) -> Command {
    let mut command = program(folder);
    command.args(["detector", "train", "--config", "single_shot.json", "--annotations", "faces.csv"]);
    command.args(["--device", "cpu", "--threads", "2", "--name", name]);
    command
}

#[test]
fn a_single_shot_run_that_was_killed_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    write_single_shot(folder);
    // The teacher knows the face that is not annotated.
    let teacher = "path,x,y,w,h,le_x,le_y,re_x,re_y,nose_x,nose_y,ml_x,ml_y,mr_x,mr_y,score\n\
                   face1.png,203,83,50,67,217,107,241,108,228,122,215,128,240,130,0.9\n";
    fs::write(folder.join("teacher.csv"), teacher).unwrap();
    let output = train_single_shot(folder, "whole").arg("--json").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let best: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        best["sources"]["test"]["ap50"].is_number() && best["crops_per_second"].as_f64() > Some(0.0),
        "{best}"
    );
    for file in ["curves.png", "curves.svg", "history.json", "validation.csv", "detector/model.json"] {
        assert!(folder.join("runs/whole").join(file).exists(), "{file}");
    }

    let mut child = train_single_shot(folder, "killed").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("epoch   1/2") {}
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(&mut train_single_shot(folder, "killed"));
    let history = |name: &str| -> Vec<Value> {
        let text = fs::read(folder.join("runs").join(name).join("history.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    };
    let (whole, killed) = (history("whole"), history("killed"));
    assert_eq!((whole.len(), killed.len()), (2, 2));
    for (a, b) in whole.iter().zip(&killed) {
        for key in ["score_loss", "box_loss", "landmark_loss", "overlap", "learning_rate", "sources"] {
            assert_eq!(a[key], b[key], "{key}");
        }
    }
    let network = |name: &str| fs::read(folder.join(format!("runs/{name}/detector/detector.onnx"))).unwrap();
    assert!(network("whole") == network("killed"), "the networks differ");

    the_detector_is_a_detectors_folder(folder);
    the_detector_has_a_refinement_network(folder);
    a_run_starts_from_another_ones_average(folder);
    other_settings_are_refused(folder);
}

/// The second network is part of the detector, and a finished run only copies it.
fn the_detector_has_a_refinement_network(folder: &Path) {
    succeeds(train_single_shot(folder, "whole").args(["--out", "copy"]));
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    for file in ["detector.onnx", "refinement.onnx", "model.json"] {
        assert!(read(&format!("runs/whole/detector/{file}")) == read(&format!("copy/{file}")), "{file}");
    }
    let manifest: Value = serde_json::from_slice(&read("copy/model.json")).unwrap();
    assert!(manifest["files"]["refinement"]["sha256"].is_string(), "{manifest}");
    let validation = &manifest["training"]["refinement"]["validation"]["test"];
    assert!(validation["ap50"].is_number(), "{manifest}");
}

fn the_detector_is_a_detectors_folder(folder: &Path) {
    let mut evaluate = program(folder);
    evaluate.args(["detector", "evaluate", "--annotations", "faces.csv", "--json", "--detector"]);
    evaluate.args(["runs/whole/detector", "--mistakes", "mistakes", "--min-size", "12", "--tag", ""]);
    let report: Value = serde_json::from_str(&succeeds(&mut evaluate)).unwrap();
    assert_eq!(report["faces"], 16, "{report}");
    assert!(folder.join("mistakes/mistakes.png").exists());
    let mut cascade_only = program(folder);
    cascade_only.args([
        "detector",
        "evaluate",
        "--annotations",
        "faces.csv",
        "--detector",
        "runs/whole/detector",
    ]);
    let message = refusal(cascade_only.args(["--pyramid-factor", "0.5"]));
    assert!(message.contains("belong to an MTCNN"), "{message}");
}

/// Hardly trains, and without a second network, so that the averaged weights of the first run stay.
fn a_run_starts_from_another_ones_average(folder: &Path) {
    let text = fs::read_to_string(folder.join("single_shot.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    (config["refinement"], config["learning_rate"]) = (Value::Null, 1e-9.into());
    let mut with_start = |path: &str| {
        config["init_from"] = path.into();
        fs::write(folder.join("single_shot.json"), config.to_string()).unwrap();
    };
    with_start("runs/nowhere/checkpoint.safetensors");
    let message = refusal(&mut train_single_shot(folder, "continued"));
    assert!(message.contains("cannot start from runs/nowhere/checkpoint.safetensors"), "{message}");
    with_start("runs/whole/checkpoint.safetensors");
    succeeds(&mut train_single_shot(folder, "continued"));
    fs::write(folder.join("single_shot.json"), text).unwrap();
    let [whole, continued] = ["whole", "continued"].map(|run| {
        let bytes = fs::read(folder.join("runs").join(run).join("checkpoint.safetensors")).unwrap();
        let arrays = read_arrays(&bytes, |name| name == "average.layers.0.weight").unwrap();
        arrays.into_values().next().unwrap().values
    });
    assert!(whole.iter().zip(&continued).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?} and {continued:?}");
}

fn other_settings_are_refused(folder: &Path) {
    let config = fs::read_to_string(folder.join("single_shot.json")).unwrap();
    fs::write(folder.join("single_shot.json"), config.replace("\"batch_size\":4", "\"batch_size\":5"))
        .unwrap();
    let message = refusal(&mut train_single_shot(folder, "whole"));
    assert!(message.contains("config.batch_size was 4 and is 5 now"), "{message}");
    fs::write(folder.join("single_shot.json"), config.replace("\"test\":0.7", "\"nowhere\":0.7")).unwrap();
    let output = train_single_shot(folder, "other").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("the source 'nowhere'"), "{said}");
    fs::write(folder.join("single_shot.json"), config.replace("single_shot", "double_shot")).unwrap();
    assert!(refusal(&mut train_single_shot(folder, "other")).contains("the kind 'double_shot' is unknown"));
}

#[test]
fn the_embedded_detector_measured_and_used_to_fill_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let mut evaluate = program(folder);
    evaluate.args([
        "detector",
        "evaluate",
        "--annotations",
        "faces.csv",
        "--json",
        "--predictions",
        "boxes.csv",
    ]);
    let report: Value = serde_json::from_str(&succeeds(&mut evaluate)).unwrap();
    assert_eq!((&report["photos"], &report["faces"]), (&json!(16), &json!(16)));
    // The only false positive is the face that is not annotated. The ignored face is none.
    assert_eq!((&report["recall"], &report["false_positives"]), (&json!(1.0), &json!(1)), "{report}");
    assert!(report["ap50"].as_f64().unwrap() > 0.9 && report["ap40"].as_f64().unwrap() > 0.9, "{report}");
    assert!(report["landmark_error"].as_f64().unwrap() < 0.15, "{report}");
    assert!(report["ms_per_photo"].as_f64().unwrap() > 0.0);
    let boxes = fs::read_to_string(folder.join("boxes.csv")).unwrap();
    assert!(boxes.starts_with("path,x,y,width,height,score\nface0.png,"), "{boxes}");
    // It also has the boxes below the thresholds, which the curve needs.
    let scores = boxes.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<f32>().unwrap());
    assert_eq!(scores.filter(|score| *score > 0.9).count(), 18, "{boxes}");

    let mut complete = program(folder);
    complete.args(["detector", "complete", "--annotations", "faces.csv", "--out", "all.csv", "--detector"]);
    let printed = succeeds(complete.arg(workspace("assets/models/mtcnn")));
    assert!(printed.contains("1 faces filled in, 0 places to be ignored"), "{printed}");
    let all = fs::read_to_string(folder.join("all.csv")).unwrap();
    assert_eq!(all.lines().filter(|line| line.ends_with("detector")).count(), 1, "{all}");
    let mut again = program(folder);
    again.args(["detector", "evaluate", "--annotations", "all.csv", "--json"]);
    let report: Value = serde_json::from_str(&succeeds(&mut again)).unwrap();
    assert_eq!((&report["faces"], &report["false_positives"]), (&json!(17), &json!(0)));
}

#[test]
fn what_it_cannot_train_or_measure_with_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let evaluate = |annotations: &str| {
        let mut command = program(folder);
        command.args(["detector", "evaluate", "--annotations", annotations]);
        refusal(&mut command)
    };
    assert!(evaluate("nowhere.csv").contains("nowhere.csv"));
    // One empty box does not make a file useless: it is ignored, and counted.
    let faces = fs::read_to_string(folder.join("faces.csv")).unwrap();
    fs::write(folder.join("empty.csv"), format!("{faces}face3.png,9,9,0,5,,,,,,,,,,,,,0,,test\n")).unwrap();
    let mut command = program(folder);
    let report = succeeds(command.args(["detector", "evaluate", "--annotations", "empty.csv"]));
    assert!(
        report.contains("1 boxes without an area are ignored") && report.contains("16 faces"),
        "{report}"
    );
    fs::write(folder.join("broken.csv"), format!("{faces}face3.png,9,nine,4,5,,,,,,,,,,,,,0,,test\n"))
        .unwrap();
    let message = evaluate("broken.csv");
    assert!(message.contains("broken.csv, line ") && message.contains("column y is 'nine'"), "{message}");
    fs::write(folder.join("missing.csv"), format!("{HEADER}gone.png,1,1,9,9,,,,,,,,,,,,,0,,test\n")).unwrap();
    assert!(evaluate("missing.csv").contains("gone.png"));
    fs::write(folder.join("mtcnn.json"), "{\"seed\": 1, \"sede\": 2}").unwrap();
    let message = refusal(&mut train(folder, "wrong"));
    assert!(message.contains("mtcnn.json") && message.contains("sede"), "{message}");
    fs::remove_file(folder.join("negatives.txt")).unwrap();
    write_data(folder);
    fs::remove_file(folder.join("negatives.txt")).unwrap();
    assert!(refusal(&mut train(folder, "wrong")).contains("negatives.txt"));
}
