//! Parse, set up, dispatch: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    // More than one TLS provider may be linked; whoever opens a connection first must find this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tidemill::cli::run(std::env::args_os().collect())
}
