//! `tidemill explain`: what a code of a diagnostic means, and the way out.

use serde_json::json;

use super::{Done, Exit, Failure, Output, Tone};
use crate::config::diagnostic::nearest;
use crate::config::explain;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill explain TM050\n\nWithout a code it lists all of them.")]
pub struct Args {
    /// The code, as in error[TM050]
    code: Option<String>,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let Some(code) = args.code else {
        let all: Vec<_> = explain::all().collect();
        for known in &all {
            out.line(format!("{}  {}", out.paint(Tone::Strong, known.code), known.title));
        }
        let result: Vec<_> = all.iter().map(|known| json!({ "code": known.code, "title": known.title })).collect();
        return Ok(Done::new(format!("{} codes", all.len()), json!(result)));
    };
    let Some(known) = explain::explain(&code) else {
        let codes: Vec<&str> = explain::all().map(|known| known.code).collect();
        let way =
            nearest(&code, &codes).map_or("`tidemill explain` lists all".to_owned(), |near| format!("did you mean {near}?"));
        return Err(Failure::new(Exit::Wrong, format!("there is no code `{code}`: {way}")));
    };
    out.line(format!("{}: {}\n\n{}", out.paint(Tone::Strong, known.code), known.title, known.text));
    Ok(Done::new(
        format!("{}: {}", known.code, known.title),
        json!({ "code": known.code, "title": known.title, "text": known.text }),
    ))
}
