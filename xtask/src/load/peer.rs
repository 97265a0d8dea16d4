//! The Python server that fer-serve is compared with: `flask_server.py`, as one process or several.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The first process listens on this port, the others on the ports after it.
const PORT: u16 = 5_077;

/// Running processes of the peer; dropping them kills them.
pub(super) struct Peer(Vec<Child>);

impl Peer {
    /// Starts the processes and waits until they listen. `threads` is PyTorch's number of threads, 0 for its default.
    ///
    /// # Errors
    /// A process does not start, or does not listen within a minute.
    pub(super) fn start(python: &Path, processes: u16, threads: usize) -> Result<Self> {
        let mut peer = Self(Vec::new());
        for process in 0..processes {
            let mut command = Command::new(python);
            command.arg(workspace("xtask/src/load/flask_server.py"));
            command.args([(PORT + process).to_string(), threads.to_string()]);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            peer.0.push(command.spawn().with_context(|| format!("cannot start {}", python.display()))?);
        }
        for process in 0..processes {
            let deadline = Instant::now() + Duration::from_secs(60);
            while TcpStream::connect(("127.0.0.1", PORT + process)).is_err() {
                ensure!(
                    Instant::now() < deadline,
                    "the Python server does not listen; check that {} has flask and facenet-pytorch",
                    python.display()
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(peer)
    }

    /// The address of a process.
    pub(super) fn address(process: u16) -> String {
        format!("http://127.0.0.1:{}", PORT + process)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
