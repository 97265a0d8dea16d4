//! The program: reads the configuration, serves, and prints one line when it cannot start.

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
