//! The binary `fer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(fer_cli::run(std::env::args_os()))
}
