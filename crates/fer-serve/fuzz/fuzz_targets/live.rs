//! Bytes after the handshake of `GET /v1/live`: WebSocket frames and anything else.
#![no_main]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const HANDSHAKE: &[u8] = b"GET /v1/live HTTP/1.1\r\nHost: fer\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// A masked closing frame; the server answers it with its own.
const CLOSE: &[u8] = b"\x88\x80\0\0\0\0";

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut stream = TcpStream::connect(fer_serve_fuzz::address()).expect("the server listens");
    // The server may close the connection at any time. If it waits for the rest of a frame, this side hangs up.
    let _ = stream.write_all(HANDSHAKE);
    let mut answer = [0; 2048];
    let read = stream.read(&mut answer).unwrap_or(0);
    assert!(answer[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer[..read]));
    stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
    let _ = stream.write_all(bytes).and_then(|()| stream.write_all(CLOSE));
    // Answers are text, so 0x88 is the start of the server's closing frame.
    while let Ok(read @ 1..) = stream.read(&mut answer) {
        if answer[..read].contains(&0x88) {
            break;
        }
    }
});
