//! The `headsail` binary: `serve`, and the admin commands that talk to a running server.

// These macros panic if the output is closed or full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod commands;
mod connect;
mod flags;
mod output;
mod prompt;
mod serve;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use args::Cli;
use output::{Failure, Format};

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    match Cli::read(&argv) {
        Ok(cli) => {
            let format = cli.globals.output;
            match commands::run(cli) {
                Ok(answer) => output::print(&answer, format),
                Err(failure) => output::fail(&failure, format),
            }
        }
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            output::show(&e.render().ansi().to_string())
        }
        Err(e) => output::fail(&Failure::usage(&e), args::format_of(&argv).unwrap_or(Format::Text)),
    }
}
