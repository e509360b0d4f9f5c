use std::process::ExitCode;

fn main() -> ExitCode {
    sosbridge::shell::cli::run()
}
