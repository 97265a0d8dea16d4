//! A scheduler and two executors as processes on loopback.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::super::harness::{Folder, Run, ended, jpeg, pair, plain, sample};
use super::manifests::rows;
use super::servers::{Moto, web};

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A process that is ended with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster<'a> {
    folder: &'a Folder,
    moto: Option<&'a Moto>,
    scheduler: Option<Process>,
    address: SocketAddr,
    executors: Vec<Process>,
}

impl<'a> Cluster<'a> {
    /// Starts a scheduler and two executors with one thread each.
    fn start(folder: &'a Folder, moto: Option<&'a Moto>) -> Self {
        let mut cluster =
            Self { folder, moto, scheduler: None, address: free_address(), executors: Vec::new() };
        cluster.start_scheduler();
        for _ in 0..2 {
            let bind = free_address().to_string();
            let executor =
                cluster.spawn(&["executor", "--scheduler", &cluster.df(), "--bind", &bind, "--threads", "1"]);
            cluster.executors.push(executor);
        }
        cluster
    }

    fn df(&self) -> String {
        format!("df://{}", self.address)
    }

    fn start_scheduler(&mut self) {
        let address = self.address.to_string();
        // Busy executors report every five seconds.
        self.scheduler = Some(self.spawn(&["scheduler", "--bind", &address, "--executor-timeout", "12s"]));
        let started = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "the scheduler does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn spawn(&self, arguments: &[&str]) -> Process {
        let mut command = self.folder.command(&[&["corpus"], arguments].concat());
        command.env_remove("FER_WORKERS").stdout(Stdio::null()).stderr(Stdio::null());
        if let Some(moto) = self.moto {
            moto.describe(&mut command);
        }
        Process(command.spawn().unwrap())
    }

    fn command(&self, out: &str) -> std::process::Command {
        let mut command =
            self.folder.command(&["corpus", "run", "m", "--out", out, "--scheduler", &self.df(), "--json"]);
        command.args(["--timeout", "2s"]);
        if let Some(moto) = self.moto {
            moto.describe(&mut command);
        }
        command
    }

    fn run(&self, out: &str) -> Run {
        ended(&mut self.command(out))
    }
}

/// Photos that take a while: every third is the sample, whose face is searched at many sizes.
fn many(count: usize, part: &str) -> Folder {
    let folder = Folder::new();
    let photos = [jpeg(&sample()), jpeg(&pair()), jpeg(&plain())];
    for number in 0..count {
        folder.write(format!("in/{number:04}.jpg"), &photos[number % photos.len()]);
    }
    folder.run(&["corpus", "plan", "in", "--out", "m", "--part", part]).expect(0);
    folder
}

fn wait_for_parts(folder: &Folder, out: &str, count: usize) {
    let started = Instant::now();
    let done = || {
        let entries = std::fs::read_dir(folder.path(out)).into_iter().flatten();
        entries
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("part"))
            .count()
    };
    while done() < count {
        assert!(started.elapsed() < Duration::from_secs(120), "no part is done");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_gives_the_same_rows_as_one_process() {
    let moto = Moto::start();
    let folder = many(30, "4");
    let host = web(jpeg(&pair()));
    let bad =
        ["secret.jpg", "gone.jpg", "huge.jpg", "stalls.jpg"].map(|name| format!("http://{host}/{name}\n"));
    folder.write("list.txt", format!("in\n{}", bad.concat()).as_bytes());
    if let Some(moto) = &moto {
        moto.put("photos/a.jpg", &jpeg(&pair()));
        moto.put("photos/gone.jpg", &jpeg(&pair()));
    }
    let mut plan = folder.command(&["corpus", "plan", "@list.txt", "--out", "m", "--part", "4", "--force"]);
    if let Some(moto) = &moto {
        plan.arg("s3://bucket/photos/");
        moto.describe(&mut plan);
    }
    ended(&mut plan).expect(0);
    if let Some(moto) = &moto {
        moto.delete("photos/gone.jpg");
    }
    let mut here = folder.command(&["corpus", "run", "m", "--out", "here", "--timeout", "2s"]);
    if let Some(moto) = &moto {
        moto.describe(&mut here);
    }
    ended(&mut here).expect(2);
    let cluster = Cluster::start(&folder, moto.as_ref());
    let run = cluster.run("there").expect(2);
    let expected = rows(&folder, "here");
    assert!(expected.len() > 40);
    assert_eq!(rows(&folder, "there"), expected);
    let failed = if moto.is_some() { 5 } else { 4 };
    assert!(run.stderr.contains(&format!("\"failed\":{failed}")), "{}", run.stderr);
    // Everything is there.
    cluster.run("there").expect(0);
}

#[test]
fn an_executor_that_is_killed_loses_nothing() {
    let folder = many(400, "10");
    let here = folder.run(&["corpus", "run", "m", "--out", "here", "--json"]).expect(0);
    let mut cluster = Cluster::start(&folder, None);
    let log = File::create(folder.path("log")).unwrap();
    let mut run = Process(cluster.command("there").stderr(log).spawn().unwrap());
    wait_for_parts(&folder, "there", 6);
    drop(cluster.executors.pop());
    let succeeded = run.0.wait().unwrap().success();
    let there = std::fs::read_to_string(folder.path("log")).unwrap();
    assert!(succeeded, "{there}");
    assert_eq!(rows(&folder, "there"), rows(&folder, "here"));
    // Also the parts are counted that the executor could not report.
    let counts = |log: &str| {
        let end = end(log);
        ["parts", "pictures", "faces", "faceless", "failed"].map(|name| end[name].as_u64().unwrap())
    };
    assert_eq!(counts(&there), counts(&here.stderr));
}

#[test]
fn a_scheduler_that_is_restarted_finishes_the_rest_in_a_second_run() {
    let folder = many(400, "10");
    folder.run(&["corpus", "run", "m", "--out", "here"]).expect(0);
    let mut cluster = Cluster::start(&folder, None);
    let mut run = Process(cluster.command("there").stderr(Stdio::null()).spawn().unwrap());
    wait_for_parts(&folder, "there", 6);
    cluster.scheduler = None;
    assert!(!run.0.wait().unwrap().success());
    cluster.start_scheduler();
    let second = cluster.run("there").expect(0);
    assert!(!second.stderr.contains("\"before\":0"), "{}", second.stderr);
    assert_eq!(rows(&folder, "there"), rows(&folder, "here"));
}

#[test]
fn what_cannot_be_started_is_said() {
    let folder = many(1, "1");
    let refused = |arguments: &[&str], words: &str| {
        let run = folder.run(&[&["corpus"], arguments].concat()).expect(1);
        assert!(run.stderr.contains(words), "{arguments:?}: {}", run.stderr);
    };
    let nobody = format!("df://{}", free_address());
    refused(&["run", "m", "--out", "out", "--scheduler", &nobody], "no scheduler answers");
    refused(&["run", "m", "--out", "out", "--scheduler", "host:50050"], "of the form df://HOST:50050");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    refused(&["scheduler", "--bind", &taken], "in use");
    refused(&["executor", "--bind", &taken], "in use");
}

/// The last line of a run with `--json`.
fn end(log: &str) -> serde_json::Value {
    serde_json::from_str(log.lines().last().unwrap()).unwrap()
}

/// Seconds of a run, as it says itself.
fn seconds(run: &Run) -> f64 {
    end(&run.stderr)["seconds"].as_f64().unwrap()
}

#[test]
#[ignore = "needs two cores that do nothing else"]
fn two_executors_are_nearly_as_fast_as_two_threads() {
    let folder = many(1500, "50");
    let cluster = Cluster::start(&folder, None);
    let mut best: f64 = 0.0;
    for trial in 0..2 {
        let out = format!("here{trial}");
        let here = seconds(&folder.run(&["corpus", "run", "m", "--out", &out, "--json"]).expect(0));
        let there = seconds(&cluster.run(&format!("there{trial}")).expect(0));
        println!("two threads: {here:.2} s, two executors: {there:.2} s, ratio {:.3}", here / there);
        best = best.max(here / there);
    }
    assert!(best >= 0.85, "{best}");
}
