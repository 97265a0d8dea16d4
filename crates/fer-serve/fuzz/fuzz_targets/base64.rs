//! JSON with a picture as base64 or data URI, DeepFace's `POST /analyze`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fer_serve_fuzz::post("/analyze", "application/json", body));
