//! Emotion networks on a small CSV: train, interrupt, resume, evaluate, export, and what is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{program, refusal, succeeds};

/// Bright faces are happy, dark ones sad.
pub(crate) fn write_data(folder: &Path) {
    let mut csv = "emotion,pixels,Usage\n".to_owned();
    for (usage, rows) in [("Training", 96), ("PublicTest", 24), ("PrivateTest", 16)] {
        for row in 0..rows {
            let happy = row % 2 == 0;
            let level = if happy { 190 } else { 60 };
            let pixels: Vec<String> =
                (0..48 * 48).map(|i| (level + (i * 7 + row * 13) % 40).to_string()).collect();
            writeln!(csv, "{},{},{usage}", if happy { 3 } else { 4 }, pixels.join(" ")).unwrap();
        }
    }
    fs::write(folder.join("faces.csv"), csv).unwrap();
    let network = json!({
        "name": "small",
        "input": {"channels": 1, "height": 48, "width": 48},
        "preprocessing": {"mean": 0.5, "std": 0.25},
        "labels": ["happy", "sad"],
        "layers": [
            {"kind": "conv", "channels": 4, "kernel": 3, "bias": false},
            {"kind": "batch_norm"},
            {"kind": "relu"},
            {"kind": "max_pool", "size": 4},
            {"kind": "flatten"},
            {"kind": "dropout", "rate": 0.2},
            {"kind": "dense", "units": 2}
        ]
    });
    fs::write(folder.join("small.json"), network.to_string()).unwrap();
    let config = include_str!("../../../../configs/training/cnn6.json");
    let mut config: Value = serde_json::from_str(config).unwrap();
    config["model"] = json!("small.json");
    config["data"] = json!("faces.csv");
    config["epochs"] = json!(8);
    config["batch_size"] = json!(16);
    config["warmup_steps"] = json!(4);
    config["augmentation"]["brightness"] = json!(0.0);
    fs::write(folder.join("training.json"), config.to_string()).unwrap();
}

pub(crate) fn train(folder: &Path, name: &str) -> Command {
    train_on(folder, name, "1")
}

fn train_on(folder: &Path, name: &str, threads: &str) -> Command {
    let mut command = program(folder);
    command.args(["--config", "training.json", "--device", "cpu", "--threads", threads, "--name", name]);
    command
}

#[test]
fn a_run_from_data_to_export() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let printed = succeeds(&mut train(folder, "whole"));
    assert_eq!(printed.matches("PublicTest").count(), 8, "{printed}");
    assert!(printed.contains("(best)") && printed.contains("images/s"), "{printed}");

    let bundle = folder.join("runs/whole/bundle");
    let evaluate = |split: &str| -> Value {
        let mut command = program(folder);
        command.args(["evaluate", "--data", "faces.csv", "--device", "cpu", "--json", "--split", split]);
        serde_json::from_str(&succeeds(command.arg("--bundle").arg(&bundle))).unwrap()
    };
    let (public, private) = (evaluate("public"), evaluate("private"));
    assert_eq!((&public["split"], &public["samples"]), (&json!("public"), &json!(24)));
    assert_eq!((&private["split"], &private["samples"]), (&json!("private"), &json!(16)));
    assert!(private["accuracy"].as_f64().unwrap() > 0.9, "{private}");
    assert_eq!(private["per_class"].as_object().unwrap().keys().collect::<Vec<_>>(), ["happy", "sad"]);
    assert!(private["per_class"]["happy"]["recall"].is_f64(), "{private}");
    for key in ["accuracy_tta", "accuracy_ten_crop", "balanced_accuracy", "ece"] {
        assert!(private[key].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{key}: {private}");
    }
    let confusion = private["confusion"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(confusion.map(|count| count.as_u64().unwrap()).sum::<u64>(), 16);
    assert_eq!((&public["private_scorings"], &private["private_scorings"]), (&Value::Null, &json!(1)));
    let manifest: Value = serde_json::from_slice(&fs::read(bundle.join("model.json")).unwrap()).unwrap();
    assert_eq!(manifest["heads"][0]["scores"]["PublicTest"]["accuracy"], public["accuracy"]);
    assert!(manifest["heads"][0]["scores"]["PrivateTest"].is_null(), "training does not look at PrivateTest");
    succeeds(
        program(folder)
            .args(["evaluate", "--data", "faces.csv", "--device", "cpu", "--split", "private"])
            .args(["--bundle", "runs/whole/bundle", "--record"]),
    );
    let recorded: Value = serde_json::from_slice(&fs::read(bundle.join("model.json")).unwrap()).unwrap();
    assert_eq!(recorded["heads"][0]["scores"]["PrivateTest"]["accuracy"], private["accuracy"]);
    assert_eq!(recorded["training"]["private_scorings"], 2);
    assert_eq!(recorded["weights"], manifest["weights"]);

    reports(folder);
    exports(folder);
    predicts(folder);
}

/// Checks the evaluation's report, the comparison and the exploration.
fn reports(folder: &Path) {
    let report = fs::read_to_string(folder.join("runs/whole/evaluation-private/index.html")).unwrap();
    assert!(report.contains("small on the private test") && report.contains("Most confidently wrong"));
    for file in ["evaluation.json", "confusion.png", "confusion.svg", "reliability.png", "mistakes.png"] {
        assert!(folder.join("runs/whole/evaluation-private").join(file).is_file(), "{file}");
    }
    assert!(folder.join("runs/whole/curves.png").is_file());
    succeeds(program(folder).args(["compare", "runs/whole"]));
    assert!(folder.join("runs/compare/compare.svg").is_file());
    let explored = succeeds(program(folder).args(["explore", "--data", "faces.csv", "--json"]));
    let explored: Value = serde_json::from_str(&explored).unwrap();
    assert_eq!(explored["splits"][0]["counts"][3], json!(["happy", 48]));
    for file in ["counts.svg", "samples.png", "means.png"] {
        assert!(folder.join("runs/explore").join(file).is_file(), "{file}");
    }
}

/// Checks every format of `export`, and that the ONNX graph computes what was learnt.
fn exports(folder: &Path) {
    let export = ["export", "--bundle", "runs/whole/bundle", "--out", "small.onnx", "--json"];
    let exported: Value = serde_json::from_str(&succeeds(program(folder).args(export))).unwrap();
    assert!(exported["largest_difference"].as_f64().unwrap() < 1e-4, "{exported}");
    let onnx = fs::read(folder.join("small.onnx")).unwrap();
    let mut session = fer_engine::Engine::tract().open(&onnx).unwrap();
    let bright = fer_engine::Tensor::new([1, 1, 48, 48], vec![1.3; 48 * 48]).unwrap();
    let logits = session.run(&bright).unwrap().take("logits").unwrap();
    let most = (0..2).max_by(|&a, &b| logits.data()[a].total_cmp(&logits.data()[b]));
    assert_eq!((logits.shape(), most), ([1, 2].as_slice(), Some(0)));
    python_agrees(&folder.join("small.onnx"), logits.data());
    let half = ["export", "--bundle", "runs/whole/bundle", "--format", "bundle-f16", "--out", "half"];
    succeeds(program(folder).args(half));
    assert!(fer_model::Bundle::open(&folder.join("half")).is_ok());
    let keras = ["export", "--bundle", "runs/whole/bundle", "--format", "keras", "--out", "small.keras.json"];
    succeeds(program(folder).args(keras));
    let keras: Value = serde_json::from_slice(&fs::read(folder.join("small.keras.json")).unwrap()).unwrap();
    assert_eq!(keras["config"]["layers"].as_array().unwrap().len(), 8, "{keras}");
}

/// Checks that Python's onnxruntime gives the same logits, if it is installed.
fn python_agrees(graph: &Path, logits: &[f32]) {
    const SCRIPT: &str = "import sys, json
try:
    import numpy, onnxruntime
except ImportError:
    sys.exit(77)
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
bright = numpy.full((1, 1, 48, 48), 1.3, numpy.float32)
print(json.dumps(session.run(['logits'], {'input': bright})[0][0].tolist()))";
    let output = Command::new("python3").args(["-c", SCRIPT]).arg(graph).output();
    let Some(output) = output.ok().filter(|output| output.status.code() != Some(77)) else {
        return fer_testing::skip("python", "there is no python3 with onnxruntime and numpy");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let python: Vec<f32> = serde_json::from_slice(&output.stdout).unwrap();
    let differ = python.iter().zip(logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(python.len() == logits.len() && differ < 1e-4, "{python:?} and {logits:?}");
}

/// Pictures of faces by folder, glob and name, with the bundle that was trained just before.
fn predicts(folder: &Path) {
    fs::create_dir(folder.join("faces")).unwrap();
    for (name, level) in [("bright.png", 210), ("dark.jpg", 80)] {
        let picture = image::GrayImage::from_pixel(60, 60, image::Luma([level]));
        picture.save(folder.join("faces").join(name)).unwrap();
    }
    fs::write(folder.join("faces/notes.txt"), "no picture").unwrap();
    let predict = |arguments: &[&str]| {
        let mut command = program(folder);
        command.args(["predict", "--bundle", "runs/whole/bundle"]).args(arguments);
        command
    };
    let json: Value = serde_json::from_str(&succeeds(&mut predict(&["faces", "--json"]))).unwrap();
    let dominant = |i: usize| json[i]["dominant"].as_str().unwrap();
    assert_eq!((json.as_array().unwrap().len(), dominant(0), dominant(1)), (2, "happy", "sad"));
    assert!(json[0]["probabilities"]["happy"].as_f64().unwrap() > 0.5);
    succeeds(&mut predict(&["faces/*.png", "--format", "csv", "--out", "answers.csv"]));
    let csv = fs::read_to_string(folder.join("answers.csv")).unwrap();
    assert!(
        csv.starts_with("path,dominant,uncertain,angry,") && csv.contains("faces/bright.png,happy,false,"),
        "{csv}"
    );
    assert!(refusal(&mut predict(&["nothing*.png"])).contains("nothing*.png: no such picture"));
    let one_is_none = predict(&["faces/notes.txt", "faces/dark.jpg"]).output().unwrap();
    assert!(!one_is_none.status.success());
    assert!(String::from_utf8_lossy(&one_is_none.stderr).contains("faces/notes.txt"));
    assert!(String::from_utf8_lossy(&one_is_none.stdout).contains("sad"), "the others are answered");
}

/// The sample's head as a FER-2013 row, turned, beside a row that is no face; then the photo in a folder.
#[test]
fn faces_are_aligned_under_their_labels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/samples/astronaut.png");
    let sample = image::open(&photo).unwrap().into_luma8();
    let tilt = 18.0_f32.to_radians();
    // A square of 110 pixels about the face, whose middle is at (225, 118), turned.
    let pixel = |x: usize, y: usize| {
        let (u, v) = ((x as f32 - 23.5) * 110.0 / 48.0, (y as f32 - 23.5) * 110.0 / 48.0);
        let (right, down) = (tilt.cos() * u + tilt.sin() * v, tilt.cos() * v - tilt.sin() * u);
        sample.get_pixel((225.0 + right) as u32, (118.0 + down) as u32).0[0]
    };
    let row = |of: &dyn Fn(usize, usize) -> u8| {
        let pixels = (0..48 * 48).map(|i| of(i % 48, i / 48).to_string());
        pixels.collect::<Vec<_>>().join(" ")
    };
    let blank = row(&|x, y| (x * 2 + y) as u8);
    let csv = format!(
        "emotion,pixels,Usage\n3,{},Training\n6,{blank},PublicTest\n3,{},PrivateTest\n",
        row(&pixel),
        row(&pixel)
    );
    fs::write(folder.join("faces.csv"), csv).unwrap();
    let align = |arguments: &[&str]| -> (Value, Vec<String>) {
        let mut command = program(folder);
        command.args(["align", "--out", "new.csv", "--json", "--data"]).args(arguments);
        let report = serde_json::from_str(&succeeds(&mut command)).unwrap();
        let rows = fs::read_to_string(folder.join("new.csv")).unwrap();
        (report, rows.lines().map(str::to_owned).collect())
    };
    let (report, rows) = align(&["faces.csv"]);
    assert_eq!((&report["pictures"], &report["aligned"], &report["kept"]), (&json!(3), &json!(2), &json!(1)));
    let degrees = report["mean_degrees"].as_f64().unwrap();
    assert!((degrees - 18.0).abs() < 6.0, "the head itself is turned by a degree or two: {report}");
    assert_eq!(report["failures"][0]["picture"], "line 3");
    let ends: Vec<_> = rows[1..].iter().map(|row| (&row[..2], row.rsplit(',').next().unwrap())).collect();
    assert_eq!(ends, [("3,", "Training"), ("6,", "PublicTest"), ("3,", "PrivateTest")]);
    assert!(rows[2].contains(&blank) && rows[1] != rows[3] && rows[1].contains(&rows[3][2..200]));
    assert!(image::open(folder.join("runs/align/aligned.png")).is_ok());
    // Aligned once more, there is little left to turn.
    fs::rename(folder.join("new.csv"), folder.join("level.csv")).unwrap();
    let (again, rows) = align(&["level.csv", "--leave-out"]);
    assert!(again["mean_degrees"].as_f64().unwrap() < 6.0, "{again}");
    assert_eq!((rows.len(), &again["kept"]), (3, &json!(0)));

    fs::create_dir_all(folder.join("photos/train/happy")).unwrap();
    fs::copy(&photo, folder.join("photos/train/happy/astronaut.png")).unwrap();
    fs::write(folder.join("photos/train/happy/damaged.jpg"), "none").unwrap();
    let mut command = program(folder);
    let output = command.args(["align", "--out", "new.csv", "--json", "--data", "photos"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["aligned"], &report["unreadable"], report["failures"].as_array().unwrap().len()),
        (&json!(1), &json!(1), 1),
        "{report}"
    );
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && message.contains("photos/train/happy/damaged.jpg"),
        "{message}"
    );
    let rows = fs::read_to_string(folder.join("new.csv")).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert!(rows.len() == 2 && rows[1].starts_with("3,") && rows[1].ends_with(",Training"));
}

#[test]
fn an_audit_leaves_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let lines: Vec<String> =
        fs::read_to_string(folder.join("faces.csv")).unwrap().lines().map(str::to_owned).collect();
    // The first training row once more, in the public test.
    let planted = lines[1].replace("Training", "PublicTest");
    fs::write(folder.join("faces.csv"), [&lines[..], &[planted]].concat().join("\n")).unwrap();
    let printed = succeeds(program(folder).args(["audit", "--data", "faces.csv", "--json"]));
    let report: Value = serde_json::from_str(&printed).unwrap();
    let list = report["list"].as_array().unwrap();
    let found = list.iter().find(|pair| pair["lines"] == json!([2, 138])).unwrap();
    assert_eq!(found["splits"], json!(["Training", "PublicTest"]));
    assert_eq!(fs::read(folder.join("runs/audit/audit.json")).unwrap(), printed.trim_end().as_bytes());
    assert!(image::open(folder.join("runs/audit/pairs.png")).is_ok());
    let rows: usize = report["training_rows_in_tests"].as_u64().unwrap() as usize;
    assert!(rows >= 1);
}

/// The tensors of a run's checkpoint (weights, running statistics, moving average, optimiser) and where the run stands.
fn checkpoint(folder: &Path, run: &str) -> (BTreeMap<String, Vec<u8>>, Value) {
    let file = fs::read(folder.join("runs").join(run).join("checkpoint.safetensors")).unwrap();
    let state = serde_json::from_str(&fer_model::weights::read_metadata(&file).unwrap()["state"]).unwrap();
    let tensors = fer_model::weights::read_arrays(&file, |_| true).unwrap().into_iter();
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect();
    (tensors.map(|(name, array)| (name, bytes(array.values))).collect(), state)
}

/// That two runs ended with the same numbers, byte for byte.
#[track_caller]
fn assert_same_end(folder: &Path, run: &str, other: &str) {
    let [(tensors, state), (others, other_state)] = [run, other].map(|run| checkpoint(folder, run));
    assert_eq!((&state["epoch"], &state["step"]), (&other_state["epoch"], &other_state["step"]));
    let differ: Vec<&String> = tensors.keys().filter(|name| tensors[*name] != others[*name]).collect();
    assert!(differ.is_empty() && tensors.len() == others.len(), "{run} and {other} differ in {differ:?}");
    let bundle =
        |run: &str| fs::read(folder.join("runs").join(run).join("bundle/weights.safetensors")).unwrap();
    assert_eq!(bundle(run), bundle(other), "the bundles of {run} and {other}");
}

/// Starts a run and waits until it has printed so many epochs. Their checkpoint is written before they are printed. The
/// reader must stay open, because a run ends when nobody reads its lines.
fn start(command: &mut Command, epochs: usize) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let lines = reader.by_ref().lines().map(Result::unwrap);
    assert_eq!(lines.filter(|line| line.starts_with("epoch")).take(epochs).count(), epochs);
    (child, reader)
}

/// Kills a run after so many epochs, and starts it anew where it was over before the signal came.
fn train_and_kill(folder: &Path, name: &str, epochs: usize, train: impl Fn() -> Command) {
    for _ in 0..10 {
        let (mut child, _reader) = start(&mut train(), epochs);
        child.kill().unwrap();
        child.wait().unwrap();
        let (_, state) = checkpoint(folder, name);
        let done = state["epoch"].as_u64().unwrap() as usize;
        assert!(done >= epochs, "epoch {epochs} was printed, but the checkpoint is of epoch {done}");
        if done < 8 {
            return;
        }
        fs::remove_dir_all(folder.join("runs").join(name)).unwrap();
    }
    panic!("{name} was always over before it could be killed");
}

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    // The plain recipe, and one with state of every kind.
    let plain: &[&str] = &[];
    let full = &[
        "optimizer={\"kind\": \"adamw\"}",
        "learning_rate=0.003",
        "schedule={\"kind\": \"reduce_on_plateau\", \"factor\": 0.3, \"patience\": 0}",
        "ema=0.9",
        "gradient_clip=1.0",
        "early_stopping=6",
        "augmentation.mixup=0.3",
        "validation={\"kind\": \"stratified\"}",
        "class_weights=balanced",
    ];
    for (recipe, set, kills) in [("plain", plain, [1, 4]), ("full", full, [2, 3])] {
        let train = |name: &str| {
            let mut command = train(folder, name);
            set.iter().for_each(|field| {
                command.args(["--set", field]);
            });
            command
        };
        let whole = format!("{recipe}-whole");
        succeeds(&mut train(&whole));
        for kill_after in kills {
            let name = format!("{recipe}-killed-{kill_after}");
            train_and_kill(folder, &name, kill_after, || train(&name));
            let again = refusal(&mut train(&name));
            assert!(again.contains("--resume"), "{again}");
            succeeds(train(&name).arg("--resume"));
            assert_same_end(folder, &name, &whole);
        }
    }
}

/// Ctrl-C writes a checkpoint inside of an epoch. It has the batch-norm statistics of the last step, and a residual block
/// and dropout go on as if nothing had happened.
#[cfg(unix)]
#[test]
fn a_run_that_is_stopped_inside_an_epoch_goes_on_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    write_residual_network(folder);
    for threads in ["1", "4"] {
        let train = |name: &str| {
            let mut command = train_on(folder, name, threads);
            command.args(["--model", "residual.json", "--epochs", "4"]);
            // 24 steps an epoch.
            command.args(["--batch-size", "4", "--set", "ema=0.9"]);
            command
        };
        let [whole, stopped] = ["whole", "stopped"].map(|name| format!("{name}-{threads}"));
        succeeds(&mut train(&whole));
        let (mut child, _reader) = start(&mut train(&stopped), 1);
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(1), "a run that is stopped reports it");
        let (_, state) = checkpoint(folder, &stopped);
        assert!(state["step"].as_u64().unwrap() > 0, "stopped inside of an epoch: {state}");
        succeeds(train(&stopped).arg("--resume"));
        assert_same_end(folder, &stopped, &whole);
    }
}

#[test]
fn two_runs_on_four_threads_give_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    write_residual_network(folder);
    for name in ["first", "second"] {
        succeeds(train_on(folder, name, "4").args(["--model", "residual.json", "--epochs", "3"]));
    }
    assert_same_end(folder, "first", "second");
}

/// Batch norm, dropout on maps and on vectors, and a block whose branches meet again.
fn write_residual_network(folder: &Path) {
    let mut spec: Value = serde_json::from_slice(&fs::read(folder.join("small.json")).unwrap()).unwrap();
    spec["layers"] = json!([
        {"kind": "conv", "channels": 6, "kernel": 3, "stride": 2, "bias": false},
        {"kind": "batch_norm"},
        {"kind": "dropout", "rate": 0.1},
        {"kind": "residual", "body": [
            {"kind": "conv", "channels": 6, "kernel": 3, "bias": false},
            {"kind": "batch_norm"},
            {"kind": "relu"}
        ]},
        {"kind": "max_pool", "size": 4},
        {"kind": "flatten"},
        {"kind": "dropout", "rate": 0.4},
        {"kind": "dense", "units": 2}
    ]);
    fs::write(folder.join("residual.json"), spec.to_string()).unwrap();
}

/// Neither pixels nor labels of PrivateTest have any influence on a bundle.
#[test]
fn training_does_not_look_at_the_private_test() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    succeeds(train(folder, "before").args(["--epochs", "3"]));
    let faces = fs::read_to_string(folder.join("faces.csv")).unwrap();
    let scrambled = faces.lines().map(|line| {
        let Some(row) = line.strip_suffix(",PrivateTest") else { return line.to_owned() };
        let (label, pixels) = row.split_once(',').unwrap();
        let label = if label == "3" { "4" } else { "3" };
        let pixels: Vec<&str> = pixels.split(' ').rev().collect();
        format!("{label},{},PrivateTest", pixels.join(" ").replace('7', "1"))
    });
    let scrambled: Vec<String> = scrambled.collect();
    fs::write(folder.join("faces.csv"), scrambled.join("\n")).unwrap();
    assert_ne!(fs::read_to_string(folder.join("faces.csv")).unwrap(), faces.trim_end());
    succeeds(train(folder, "after").args(["--epochs", "3"]));
    for file in ["model.json", "weights.safetensors"] {
        let read = |run: &str| fs::read(folder.join("runs").join(run).join("bundle").join(file)).unwrap();
        assert_eq!(read("before"), read("after"), "{file}");
    }
}

#[test]
fn a_checkpoint_survives_a_full_disk_and_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    train_and_kill(folder, "run", 2, || train(folder, "run"));
    let checkpoint = folder.join("runs/run/checkpoint.safetensors");
    let whole = fs::read(&checkpoint).unwrap();
    let mut resume = train(folder, "run");
    resume.arg("--resume");
    #[cfg(target_os = "linux")]
    {
        // Whoever writes to this device is told that the disk is full.
        let partial = folder.join("runs/run/checkpoint.safetensors.partial");
        let _ = fs::remove_file(&partial);
        std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
        let full = refusal(&mut resume);
        assert!(full.contains("No space left") && full.contains("unharmed"), "{full}");
        assert!(fs::read(&checkpoint).unwrap() == whole && !partial.exists());
    }
    fs::write(&checkpoint, &whole[..whole.len() - 100]).unwrap();
    let truncated = refusal(&mut resume);
    assert!(truncated.contains("cannot resume from runs/run/checkpoint.safetensors"), "{truncated}");
    fs::write(&checkpoint, &whole).unwrap();
    let other = refusal(train(folder, "run").args(["--resume", "--seed", "5"]));
    assert!(
        other.contains("another configuration: config.seed was") && other.contains("is 5 now"),
        "{other}"
    );
    let spec = fs::read_to_string(folder.join("small.json")).unwrap();
    fs::write(folder.join("small.json"), spec.replace("\"channels\":4", "\"channels\":5")).unwrap();
    let other = refusal(&mut resume);
    assert!(other.contains("network.layers.0.channels was 4 and is 5 now"), "{other}");
    // A change that leaves all shapes as they are.
    fs::write(folder.join("small.json"), spec.replace("\"rate\":0.2", "\"rate\":0.6")).unwrap();
    let other = refusal(&mut resume);
    assert!(other.contains("network.layers.5.rate was 0.2 and is 0.6 now"), "{other}");
    fs::write(folder.join("small.json"), spec).unwrap();
    let faces = fs::read_to_string(folder.join("faces.csv")).unwrap();
    fs::write(folder.join("faces.csv"), faces.replacen("\n3,", "\n4,", 1)).unwrap();
    let other = refusal(&mut resume);
    assert!(other.contains("rows_sha256 was"), "{other}");
    fs::write(folder.join("faces.csv"), faces).unwrap();
    assert!(fs::read(&checkpoint).unwrap() == whole, "a refusal changes nothing");
    succeeds(&mut resume);

    fs::write(folder.join("file"), "").unwrap();
    let no_folder = refusal(train(folder, "run").args(["--runs", "file"]));
    assert!(no_folder.contains("cannot create file/run"), "{no_folder}");
}

#[test]
fn a_run_that_diverges_stops_and_keeps_the_last_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let spec = fs::read_to_string(folder.join("small.json")).unwrap();
    let bare = spec.replace("{\"kind\":\"batch_norm\"},", "");
    assert_ne!(bare, spec);
    fs::write(folder.join("bare.json"), bare).unwrap();
    // Without a batch norm it is the loss that is no number, with one its running statistics are none before.
    for (model, reason) in [("bare.json", "the loss is NaN"), ("small.json", "layers.1.running_var")] {
        let explode = || {
            let mut command = train(folder, model);
            command.args(["--model", model, "--learning-rate", "90", "--epochs", "40"]);
            command.args(["--set", "optimizer.weight_decay=0.9"]);
            command
        };
        let message = refusal(&mut explode());
        let place = message.split_once("diverged at epoch ").unwrap().1;
        assert!(place.contains(", step ") && !place.starts_with('1'), "{message}");
        assert!(message.contains("last good checkpoint is kept") && message.contains(reason), "{message}");
        let again = refusal(explode().arg("--resume"));
        assert_eq!(again, message, "the checkpoint from before is whole, and the run ends where it did");
    }
}

#[test]
fn snapshots_make_an_ensemble() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let cycles = ["--set", "snapshots=4", "--set", "schedule.cycles=4"];
    succeeds(train(folder, "run").args(cycles));
    let join = ["ensemble", "runs/run", "runs/run/bundle", "--name", "five", "--out", "five", "--json"];
    let joined: Value = serde_json::from_str(&succeeds(program(folder).args(join))).unwrap();
    assert_eq!((&joined["members"], &joined["trainable_params"]), (&json!(5), &json!(5 * 1_198)), "{joined}");
    let bundle = fer_model::Bundle::open(&folder.join("five")).unwrap();
    let training: Vec<_> = bundle.manifest().training["members"].as_array().unwrap().iter().collect();
    assert_eq!(training[..4].iter().map(|t| t["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 4, 6, 8]);

    let evaluate = |split: &str| -> Value {
        let mut command = program(folder);
        command.args(["evaluate", "--data", "faces.csv", "--device", "cpu", "--bundle", "five", "--record"]);
        serde_json::from_str(&succeeds(command.args(["--json", "--split", split]))).unwrap()
    };
    assert!(evaluate("public")["accuracy"].as_f64().unwrap() > 0.9);
    assert_eq!(evaluate("private")["private_scorings"], 1);
    succeeds(program(folder).args(["export", "--bundle", "five", "--out", "five.onnx"]));
    let mut session = fer_engine::Engine::tract().open(&fs::read(folder.join("five.onnx")).unwrap()).unwrap();
    let bright = fer_engine::Tensor::new([1, 1, 48, 48], vec![1.3; 48 * 48]).unwrap();
    let logits = session.run(&bright).unwrap().take("logits").unwrap();
    let sum: f32 = logits.data().iter().map(|logit| logit.exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5 && logits.data()[0] > logits.data()[1], "{:?}", logits.data());
    let keras = ["export", "--bundle", "five", "--format", "keras", "--out", "five.json"];
    assert!(refusal(program(folder).args(keras)).contains("five is an ensemble"));
    let alone = refusal(program(folder).args(["ensemble", "runs/run/bundle", "--out", "one"]));
    assert!(alone.contains("at least two"), "{alone}");
    let nothing = refusal(program(folder).args(["ensemble", "runs", "--out", "one"]));
    assert!(nothing.contains("neither a bundle nor a run with snapshots"), "{nothing}");
}

#[test]
fn weights_are_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    succeeds(train(folder, "run").args(["--set", "snapshots=2", "--epochs", "4"]));
    let average = |bundles: &[&str]| {
        let mut command = program(folder);
        command.args(["ensemble", "--average-weights", "--out", "mean", "--device", "cpu"]).args(bundles);
        command
    };
    let without_data = refusal(&mut average(&["runs/run"]));
    assert!(
        without_data.contains("small has batch norms") && without_data.contains("--data"),
        "{without_data}"
    );
    assert!(!folder.join("mean").exists(), "a refusal writes nothing");
    let printed = succeeds(average(&["runs/run"]).args(["--data", "faces.csv"]));
    assert!(printed.contains("small: the mean of 2 networks, 1198 trainable parameters"), "{printed}");
    let bundle = |name: &str| fer_model::Bundle::open(&folder.join(name)).unwrap();
    let snapshots = ["epoch-002", "epoch-004"].map(|name| bundle(&format!("runs/run/snapshots/{name}")));
    let mean = bundle("mean");
    assert_eq!((mean.name(), mean.members().len()), ("small", 1));
    let values =
        |bundle: &fer_model::Bundle, name: &str| bundle.members().next().unwrap().1.get(name).clone();
    let trained = |name: &str| !name.contains("running");
    for (name, array) in mean.members().next().unwrap().1.iter().filter(|(name, _)| trained(name)) {
        let [a, b] = [&snapshots[0], &snapshots[1]].map(|bundle| values(bundle, name).values);
        let expected = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0);
        assert!(array.values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{name}");
    }
    let measured = convolution_statistics(folder, &values(&mean, "layers.0.weight").values);
    for (name, expected) in ["layers.1.running_mean", "layers.1.running_var"].into_iter().zip(measured) {
        let found = values(&mean, name).values;
        let close = |(a, b): (&f32, f64)| (f64::from(*a) - b).abs() < 1e-3 * (1.0 + b.abs());
        assert!(found.iter().zip(expected.iter().copied()).all(close), "{name}: {found:?}, not {expected:?}");
    }
    let training = &mean.manifest().training["averaged"];
    assert_eq!((&training[0]["epoch"], &training[1]["epoch"]), (&json!(2), &json!(4)));
    let spec = fs::read_to_string(folder.join("small.json")).unwrap();
    fs::write(folder.join("other.json"), spec.replace("\"rate\":0.2", "\"rate\":0.3")).unwrap();
    succeeds(train(folder, "other").args(["--model", "other.json", "--epochs", "1"]));
    let refused = refusal(&mut average(&["runs/run", "runs/other/bundle"]));
    assert!(refused.contains("only weights of the same network"), "{refused}");
}

/// Mean and variance of the four channels of a 3×3 convolution over all training rows.
fn convolution_statistics(folder: &Path, kernels: &[f32]) -> [Vec<f64>; 2] {
    let csv = fs::read_to_string(folder.join("faces.csv")).unwrap();
    let rows = csv.lines().filter(|row| row.ends_with(",Training")).map(|row| -> Vec<f64> {
        let pixels = row.split(',').nth(1).unwrap().split(' ');
        pixels.map(|pixel| (pixel.parse::<f64>().unwrap() / 255.0 - 0.5) / 0.25).collect()
    });
    let (mut sums, mut squares, mut count) = (vec![0.0; 4], vec![0.0; 4], 0.0);
    for face in rows {
        for place in 0..48 * 48_i32 {
            let pixel = |x: i32, y: i32| {
                let (x, y) = (place % 48 + x - 1, place / 48 + y - 1);
                if (0..48).contains(&x) && (0..48).contains(&y) { face[(y * 48 + x) as usize] } else { 0.0 }
            };
            count += 1.0;
            for (channel, kernel) in kernels.chunks_exact(9).enumerate() {
                let taps = kernel.iter().zip(0..);
                let value: f64 = taps.map(|(weight, i)| f64::from(*weight) * pixel(i % 3, i / 3)).sum();
                sums[channel] += value;
                squares[channel] += value * value;
            }
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
    let variances = squares.iter().zip(&means).map(|(sum, mean)| sum / count - mean * mean).collect();
    [means, variances]
}

#[test]
fn early_stopping_ends_a_run_that_gets_no_better() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    // The labels are easy: all right after an epoch or two, and then there is nothing better.
    let mut command = train(folder, "early");
    let printed = succeeds(command.args(["--set", "early_stopping=2", "--epochs", "40"]));
    assert!(printed.contains("stopped early"), "{printed}");
    let lines = succeeds(train(folder, "json").args(["--epochs", "2", "--json"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["epoch"]), (3, &json!(2)), "{lines:?}");
    assert_eq!((&lines[2]["bundle"], &lines[2]["epochs"]), (&json!("runs/json/bundle"), &json!(2)));
    let history = fs::read(folder.join("runs/early/history.json")).unwrap();
    let history: Vec<Value> = serde_json::from_slice(&history).unwrap();
    let accuracy: Vec<f64> = history.iter().map(|e| e["validation_accuracy"].as_f64().unwrap()).collect();
    let best = accuracy.iter().copied().fold(0.0, f64::max);
    let first = accuracy.iter().position(|&a| a == best).unwrap();
    assert_eq!(accuracy.len(), first + 3, "{accuracy:?}");
}

/// Writes votes.csv, in which the taggers call every happy face of faces.csv sad and the other way round. Returns faces.csv.
fn write_contrary_votes(folder: &Path) -> String {
    let header = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF";
    let faces = fs::read_to_string(folder.join("faces.csv")).unwrap();
    let votes = faces.lines().skip(1).map(|row| {
        let votes = if row.starts_with('3') { "0,1,0,9" } else { "0,9,0,1" };
        format!("{},x.png,{votes},0,0,0,0,0,0", row.rsplit(',').next().unwrap())
    });
    let votes: Vec<String> = std::iter::once(header.to_owned()).chain(votes).collect();
    fs::write(folder.join("votes.csv"), votes.join("\n")).unwrap();
    faces
}

/// Two heads on one trunk learn two label sets, are scored on them, and answer when they are asked for.
#[test]
fn a_network_learns_two_label_sets() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    write_contrary_votes(folder);
    // A run with one head gives the trunk and the first head.
    succeeds(train(folder, "one").args(["--epochs", "4"]));
    let mut spec: Value = serde_json::from_slice(&fs::read(folder.join("small.json")).unwrap()).unwrap();
    let last = spec["layers"].as_array_mut().unwrap().pop().unwrap();
    spec["heads"] = json!(["fer2013", "ferplus"].map(|set| json!({"label_set": set, "layers": [last]})));
    fs::write(folder.join("two.json"), spec.to_string()).unwrap();
    let two = || {
        let mut command = train(folder, "two");
        command.args(["--model", "two.json", "--init-from", "runs/one/bundle/weights.safetensors"]);
        command
    };
    let without = refusal(&mut two());
    assert!(without.contains("small learns the labels of FER+") && without.contains("--votes"), "{without}");
    let printed = succeeds(two().args(["--votes", "votes.csv"]));
    assert!(printed.contains("fresh, not in the file: layers."), "{printed}");
    assert!(printed.contains("PublicTest 100.00 % (fer2013 100.00 %, ferplus 100.00 %)"), "{printed}");

    let evaluate = |arguments: &[&str]| {
        let mut command = program(folder);
        command.args(["evaluate", "--data", "faces.csv", "--bundle", "runs/two/bundle", "--split", "public"]);
        command.args(["--device", "cpu", "--json", "--record"]).args(arguments);
        command
    };
    for set in ["fer2013", "ferplus"] {
        let printed = succeeds(&mut evaluate(&["--labels", set, "--votes", "votes.csv"]));
        let score: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!((&score["label_set"], &score["accuracy"]), (&json!(set), &json!(1.0)));
    }
    let without = refusal(&mut evaluate(&["--labels", "ferplus"]));
    assert!(without.contains("name their file with --votes"), "{without}");
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join("runs/two/bundle/model.json")).unwrap()).unwrap();
    for head in manifest["heads"].as_array().unwrap() {
        assert_eq!(head["scores"]["PublicTest"]["accuracy"], 1.0, "{head}");
        assert_ne!(head["temperature"], 1.0, "{head}");
    }
    let mut export = program(folder);
    export.args(["export", "--bundle", "runs/two/bundle", "--format", "bundle-f16", "--out", "voted"]);
    succeeds(export.args(["--labels", "ferplus"]));
    let manifest: Value =
        serde_json::from_slice(&fs::read(folder.join("voted/model.json")).unwrap()).unwrap();
    let sets = [0, 1].map(|head| manifest["heads"][head]["label_set"].clone());
    assert_eq!(sets, ["ferplus", "fer2013"], "the head that was asked for answers first");
    let unknown = refusal(program(folder).args([
        "predict",
        "face.png",
        "--bundle",
        "runs/one/bundle",
        "--labels",
        "ferplus",
    ]));
    assert!(
        unknown.contains("the model 'small' did not learn the labels of ferplus, only those of fer2013"),
        "{unknown}"
    );
}

/// Taggers who call every happy face sad and the other way round are believed, and so is a network that was.
#[test]
fn votes_and_a_teacher_stand_in_for_labels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let faces = write_contrary_votes(folder);
    let at_the_end = |command: &mut Command| -> Value {
        let printed = succeeds(command.arg("--json"));
        let last: Value = serde_json::from_str(printed.lines().nth(7).unwrap()).unwrap();
        assert_eq!(last["epoch"], 8, "{printed}");
        last["validation_accuracy"].clone()
    };
    // At the peak rate of the recipe, so small a network learns nothing with some dropout masks.
    let gently = |name: &str| {
        let mut command = train(folder, name);
        command.args(["--learning-rate", "0.01"]);
        command
    };
    let mut voted = gently("votes");
    assert_eq!(at_the_end(voted.args(["--votes", "votes.csv", "--set", "snapshots=1"])), json!(0.0));
    // It was taught doubts; a low temperature takes them away.
    let teacher = r#"teacher={"bundle": "runs/votes/snapshots/epoch-008", "temperature": 0.1}"#;
    let mut taught = gently("taught");
    assert_eq!(at_the_end(taught.args(["--set", teacher, "--set", "teacher.share=0.9"])), json!(0.0));
    let mut hardly = gently("hardly");
    assert_eq!(at_the_end(hardly.args(["--set", teacher, "--set", "teacher.share=0.1"])), json!(1.0));
    let absent = refusal(train(folder, "none").args(["--set", "teacher.bundle=nowhere"]));
    assert!(absent.contains("nowhere is not a usable bundle"), "{absent}");
    let spec = fs::read_to_string(folder.join("small.json")).unwrap();
    fs::write(folder.join("angry.json"), spec.replace("\"happy\"", "\"angry\"")).unwrap();
    fs::write(folder.join("angry.csv"), faces.replace("\n3,", "\n0,")).unwrap();
    let angry = ["--model", "angry.json", "--data", "angry.csv", "--set", teacher];
    let angry = refusal(train(folder, "none").args(angry));
    assert!(angry.contains("tells other labels apart than small"), "{angry}");
    assert!(!folder.join("runs/none").exists(), "a refused run leaves nothing behind");
}

/// A network with blocks learns, and starts where a bundle ended.
#[test]
fn blocks_train_and_a_bundle_starts_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let spec: Value = serde_json::from_slice(&fs::read(folder.join("small.json")).unwrap()).unwrap();
    let mut spec = spec;
    spec["preprocessing"]["margin"] = json!(4);
    spec["input"] = json!({"channels": 3, "height": 24, "width": 24});
    spec["layers"] = json!([
        {"kind": "conv", "channels": 4, "kernel": 3, "stride": 2, "bias": false},
        {"kind": "batch_norm"},
        {"kind": "relu6"},
        {"kind": "inverted_residual", "channels": 4, "expansion": 2},
        {"kind": "residual", "body": [
            {"kind": "conv", "channels": 8, "kernel": 3, "stride": 2, "groups": 2},
            {"kind": "elu"}
        ], "shortcut": [{"kind": "avg_pool", "size": 2}, {"kind": "conv", "channels": 8, "kernel": 1}]},
        {"kind": "global_avg_pool"},
        {"kind": "dense", "units": 2}
    ]);
    fs::write(folder.join("blocks.json"), spec.to_string()).unwrap();
    let blocks = |name: &str| {
        let mut command = train(folder, name);
        command.args(["--model", "blocks.json", "--set", "schedule.kind=constant"]);
        command
    };
    let first = succeeds(&mut blocks("first"));
    assert!(first.contains("PublicTest 100.00 %"), "{first}");
    let weights = "runs/first/bundle/weights.safetensors";
    let second = succeeds(blocks("second").args(["--init-from", weights, "--epochs", "1"]));
    assert!(second.contains("PublicTest 100.00 %"), "{second}");
    let other = refusal(train(folder, "third").args(["--init-from", weights]));
    assert!(other.contains("does not start a small"), "{other}");
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_data(folder);
    let missing = refusal(train(folder, "none").args(["--data", "nowhere.csv"]));
    assert!(missing.contains("nowhere.csv") && missing.contains("cargo xtask download-dataset"), "{missing}");
    fs::write(folder.join("bad.csv"), "emotion,pixels,Usage\n3,1 2 3,Training\n").unwrap();
    let bad = refusal(train(folder, "none").args(["--data", "bad.csv"]));
    assert!(bad.contains("line 2") && bad.contains("pixels"), "{bad}");
    let nothing = refusal(train(folder, "none").arg("--resume"));
    assert!(nothing.contains("no checkpoint"), "{nothing}");
    let spec = fs::read_to_string(folder.join("small.json")).unwrap().replace("\"flatten\"", "\"relu\"");
    fs::write(folder.join("wrong.json"), spec).unwrap();
    let seven = fs::read_to_string(folder.join("small.json")).unwrap();
    let seven = seven.replace("\"happy\",\"sad\"", "\"happy\",\"sad\",\"angry\"");
    fs::write(folder.join("seven.json"), seven.replace("\"units\":2", "\"units\":3")).unwrap();
    let wrong = refusal(train(folder, "none").args(["--model", "wrong.json"]));
    assert!(wrong.contains("layer 6 (dense)") && wrong.contains("flatten"), "{wrong}");
    let six = refusal(train(folder, "none").args(["--model", "seven.json"]));
    assert!(six.contains("no Training row shows angry"), "{six}");
    let data = fs::read_to_string(folder.join("faces.csv")).unwrap();
    fs::write(folder.join("no-public.csv"), data.replace("PublicTest", "PrivateTest")).unwrap();
    let no_public = refusal(train(folder, "none").args(["--data", "no-public.csv"]));
    assert!(no_public.contains("validation.kind=stratified"), "{no_public}");
    let large = refusal(train(folder, "none").args(["--batch-size", "97"]));
    assert!(large.contains("batch_size 97 is larger than the 96 training rows"), "{large}");
    let field = refusal(train(folder, "none").args(["--set", "momentun=0.9"]));
    assert!(field.contains("unknown field `momentun`"), "{field}");
    let no_bundle = refusal(program(folder).args(["export", "--bundle", "nowhere", "--out", "x.onnx"]));
    assert!(no_bundle.contains("nowhere"), "{no_bundle}");
    assert!(!folder.join("runs/none").exists(), "a refused run leaves nothing behind");
}
