//! A `model.json` beside valid weights: it is refused with a reason, or the graph of its model can be built.
#![no_main]

use fer_model::{Bundle, NetworkSpec};

/// The weights of the small network in `seeds/model`.
const WEIGHTS: &[u8] = include_bytes!("../seeds/small.safetensors");

libfuzzer_sys::fuzz_target!(|json: &[u8]| {
    if let Ok(bundle) = Bundle::from_bytes(json, WEIGHTS) {
        assert!(!bundle.graph().is_empty());
    }
    if let Ok(spec) = std::str::from_utf8(json).map_or(Err(()), |text| NetworkSpec::from_json(text).map_err(drop)) {
        let _ = (spec.architecture().total_parameters(), spec.architecture().steps());
    }
});
