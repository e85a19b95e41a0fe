//! Parse, set up, dispatch: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // A child that compiles a plugin for its host: it gives up what it does not need before anything is opened.
    if let Some(compiled) = tidemill::plugin::compile_as_child(&args) {
        return compiled;
    }
    // More than one TLS provider may be linked; whoever opens a connection first must find this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tidemill::cli::run(args)
}
