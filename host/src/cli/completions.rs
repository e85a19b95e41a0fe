//! `tidemill completions <shell>`.

use clap_complete::Shell;
use serde_json::json;

use super::{Done, Failure, Output};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill completions bash > ~/.local/share/bash-completion/completions/tidemill")]
pub struct Args {
    /// The shell that will read the script
    pub shell: Shell,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "tidemill", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    out.line(script.trim_end());
    Ok(Done::new(format!("completions for {}", args.shell), json!({ "script": script })))
}
