//! A photo as the body of `POST /v1/analyze`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fer_serve_fuzz::post("/v1/analyze", "image/jpeg", body));
