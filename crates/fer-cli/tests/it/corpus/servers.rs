//! Servers on loopback: moto's S3, and a web server with bad habits.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// moto's S3 server, which is ended when this is dropped.
pub(super) struct Moto {
    process: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts the server with an empty bucket called `bucket`, or returns `None` where it is not installed.
    pub(super) fn start() -> Option<Self> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port().to_string();
        let mut command = Command::new("moto_server");
        command.args(["-H", "127.0.0.1", "-p", &port]).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            fer_testing::skip("moto", "there is no moto_server; pip install 'moto[server]' adds it");
            return None;
        };
        let moto = Self { process, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(60), "moto_server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto.put("", b"");
        Some(moto)
    }

    /// Stores an object.
    pub(super) fn put(&self, key: &str, bytes: &[u8]) {
        self.ask("PUT", key, bytes);
    }

    /// Removes an object.
    pub(super) fn delete(&self, key: &str) {
        self.ask("DELETE", key, b"");
    }

    /// The bytes of an object.
    pub(super) fn get(&self, key: &str) -> Vec<u8> {
        self.ask("GET", key, b"")
    }

    fn ask(&self, method: &str, key: &str, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (host, length) = (self.address, bytes.len());
        // The server wants to know that there is somebody, and not who.
        let head = format!(
            "{method} /bucket/{key} HTTP/1.1\r\nhost: {host}\r\nauthorization: AWS test:test\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), bytes].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..end]);
        assert!(head.starts_with("HTTP/1.1 20"), "{method} {key}: {head}");
        answer[end..].to_vec()
    }

    /// Tells a program where the server is.
    pub(super) fn describe(&self, command: &mut Command) {
        command.env("AWS_ENDPOINT", format!("http://{}", self.address)).env("AWS_ALLOW_HTTP", "true");
        command
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves `photo` as /photo.jpg, denies /secret.jpg, promises 3 GB for /huge.jpg, sends half of /stalls.jpg and falls silent, and
/// has nothing else. It runs until the test process ends.
pub(super) fn web(photo: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let photo = photo.clone();
            std::thread::spawn(move || answer(stream, &photo));
        }
    });
    address
}

fn answer(mut stream: TcpStream, photo: &[u8]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        line.clear();
    }
    let (status, length, body, silence) = match request.split(' ').nth(1).unwrap_or_default() {
        "/photo.jpg" | "/a%20clip.mp4" => (200, photo.len(), photo, 0),
        "/secret.jpg" => (403, 0, &[][..], 0),
        "/huge.jpg" => (200, 3 << 30, photo, 0),
        "/stalls.jpg" => (200, photo.len(), &photo[..photo.len() / 2], 60),
        _ => (404, 0, &[][..], 0),
    };
    let head = format!("HTTP/1.1 {status} -\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    // The program hangs up on what is too large.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    std::thread::sleep(Duration::from_secs(silence));
}
