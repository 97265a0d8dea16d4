//! The real server in the fuzzer's own process, so that it sees which of its code an input reaches. A panic anywhere in it ends
//! the run, as libFuzzer's panic hook has it; besides, no answer may be a 500.

use std::sync::{OnceLock, mpsc};
use std::thread;

use fer_serve::Options;

/// Small enough that the networks take next to nothing of an input's time.
const FLAGS: &str = "fer-serve --bind 127.0.0.1:0 --log off --workers 1 --min-face 300 --max-pixels 200000 \
                     --max-body 100000 --max-batch 100000 --body-seconds 2 --live-connections 4096 --live-per-client 4096";

/// `127.0.0.1:PORT`
pub fn address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            let flags: Vec<_> = FLAGS.split_whitespace().map(Into::into).collect();
            let options = Options::read(&flags).expect("the flags are right");
            let listening = |address: &str, _: &str| drop(send.send(address.replace("http://", "")));
            fer_serve::serve(&options, listening).expect("the server starts");
        });
        receive.recv().expect("the server listens")
    })
}

/// Sends a body; any answer is fine but the server's own failure.
pub fn post(path: &str, content_type: &str, body: &[u8]) {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    let agent =
        AGENT.get_or_init(|| ureq::Agent::config_builder().http_status_as_error(false).build().into());
    let url = format!("http://{}{path}", address());
    // A server that has answered already may close the connection on the rest of the body.
    if let Ok(mut response) = agent.post(url).content_type(content_type).send(body) {
        assert!(response.status().as_u16() < 500, "{}", response.status());
        let _ = response.body_mut().read_to_vec();
    }
}
