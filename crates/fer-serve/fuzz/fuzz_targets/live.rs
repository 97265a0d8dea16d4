//! Bytes after the handshake of `GET /v1/live`: frames of WebSocket, and what is none.
#![no_main]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const HANDSHAKE: &[u8] = b"GET /v1/live HTTP/1.1\r\nHost: fer\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// A masked frame that closes, after which the server does.
const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(fer_serve_fuzz::address()).expect("the server listens");
    // The server may close at any time, and where it waits for the rest of a frame, this side goes.
    let _ = stream.write_all(HANDSHAKE);
    let mut answer = [0; 2048];
    let read = stream.read(&mut answer).unwrap_or(0);
    assert!(answer[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer[..read]));
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
    let _ = stream.write_all(bytes).and_then(|()| stream.write_all(CLOSE));
    // Answers are text; 0x88 begins the server's own closing frame.
    while let Ok(read @ 1..) = stream.read(&mut answer) {
        if answer[..read].contains(&0x88) {
            break;
        }
    }
});
