//! Downloads a large file over HTTP with a progress bar, and resumes after a broken connection.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::StatusCode;

/// Connections to try before giving up.
const TRIES: u32 = 5;

/// The server answered with an error status.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) StatusCode);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the server answered with {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// Downloads `url` to `path`. The data is in `PATH.partial` until the download is complete; after a failure that file
/// stays, and the next call resumes it. `pause` is the wait after the first failure; later waits are longer.
///
/// # Errors
/// [`Refused`] if the server answers with an error status; otherwise the last of several failed connections.
pub(crate) fn fetch(url: &str, authorization: &str, path: &Path, pause: Duration) -> Result<()> {
    let mut name = path.file_name().context("the path has no file name")?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    let bar = ProgressBar::no_length();
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left")
    {
        bar.set_style(style);
    }
    for attempt in 1.. {
        match continue_at(url, authorization, &partial, &bar) {
            Ok(()) => break,
            Err(error) if attempt == TRIES || error.is::<Refused>() => return Err(error),
            Err(error) => {
                bar.suspend(|| eprintln!("{error:#}; trying again"));
                std::thread::sleep(pause * attempt);
            }
        }
    }
    bar.finish_and_clear();
    fs::rename(&partial, path).with_context(|| format!("cannot rename to {}", path.display()))
}

/// Opens one connection and requests the missing bytes.
fn continue_at(url: &str, authorization: &str, partial: &Path, bar: &ProgressBar) -> Result<()> {
    let have = fs::metadata(partial).map_or(0, |file| file.len());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut request = agent.get(url).header("authorization", authorization);
    if have > 0 {
        request = request.header("range", format!("bytes={have}-"));
    }
    let mut response = request.call().with_context(|| format!("cannot connect to {url}"))?;
    let (mut file, have) = match response.status() {
        StatusCode::PARTIAL_CONTENT => (OpenOptions::new().append(true).open(partial)?, have),
        StatusCode::OK => (File::create(partial)?, 0),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            fs::remove_file(partial)?;
            bail!("the partial file does not match the file on the server; starting over");
        }
        status => return Err(Refused(status).into()),
    };
    let total = response.body().content_length().map(|left| have + left);
    bar.set_position(have);
    if let Some(total) = total {
        bar.set_length(total);
    }
    let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
    let (mut buffer, mut got) = (vec![0; 1 << 16], have);
    loop {
        match reader.read(&mut buffer).context("the connection failed")? {
            0 => break,
            count => {
                file.write_all(&buffer[..count])?;
                got += count as u64;
                bar.set_position(got);
            }
        }
    }
    file.sync_all()?;
    match total {
        Some(total) if got < total => bail!("the connection was closed after {got} of {total} bytes"),
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    /// Starts a server on the loopback interface. Each connection gets the next of `answers`: a status line, and the
    /// number of bytes to send before the connection is closed. The channel receives the requests.
    pub(crate) fn serve(
        content: Vec<u8>,
        answers: Vec<(&'static str, usize)>,
    ) -> (String, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/fer2013.tar.gz", listener.local_addr().unwrap());
        let (send, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for (status, most) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines().map(Result::unwrap) {
                    if line.is_empty() {
                        break;
                    }
                    request += &(line.to_ascii_lowercase() + "\n");
                }
                let from = request
                    .split_once("range: bytes=")
                    .map_or(0, |(_, rest)| rest.split('-').next().unwrap().parse().unwrap());
                let content = if status.starts_with("20") { &content[from..] } else { &[] };
                write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", content.len()).unwrap();
                stream.write_all(&content[..most.min(content.len())]).unwrap();
                send.send(request).unwrap();
            }
        });
        (url, requests)
    }

    #[test]
    fn a_broken_connection_is_continued() {
        let content: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        let answers =
            vec![("200 OK", 100_000), ("206 Partial Content", 150_000), ("206 Partial Content", usize::MAX)];
        let (url, requests) = serve(content.clone(), answers);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fetch(&url, "Basic secret", &path, Duration::ZERO).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no other file remains");
        let requests: Vec<String> = requests.iter().take(3).collect();
        assert!(requests.iter().all(|request| request.contains("authorization: basic secret")));
        assert!(
            !requests[0].contains("range:") && requests[1].contains("range: bytes=100000-"),
            "{requests:?}"
        );
    }

    #[test]
    fn a_refusal_is_not_repeated() {
        let (url, _requests) = serve(Vec::new(), vec![("401 Unauthorized", 0)]);
        let folder = tempfile::tempdir().unwrap();
        let error = fetch(&url, "Basic wrong", &folder.path().join("file"), Duration::ZERO).unwrap_err();
        assert_eq!(error.downcast_ref::<Refused>().unwrap().0, StatusCode::UNAUTHORIZED);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
