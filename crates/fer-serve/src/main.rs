//! The program: the command line, and one line on what keeps it from starting.

use std::process::ExitCode;

use fer_serve::Options;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let listening = |address: &str, model: &str| println!("fer-serve on {address}: {model}");
    match Options::read(&arguments).and_then(|options| fer_serve::serve(&options, listening)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fer-serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}
