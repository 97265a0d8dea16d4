//! A multipart form of many images, `POST /v1/batch`; its boundary is `b`.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| fer_serve_fuzz::post(
    "/v1/batch",
    "multipart/form-data; boundary=b",
    body
));
