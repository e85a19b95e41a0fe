//! `tidemill schema`: the JSON Schema of the pipeline file, or the reference of its keys.

use serde_json::json;

use super::{Done, Failure, Output};
use crate::config::schema;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill schema > target/pipeline.schema.json\n\n\
                  An editor finds it by the first line of a pipeline file: #:schema ../target/pipeline.schema.json")]
pub struct Args {
    /// Every key with its type, default and meaning, as Markdown, instead of the schema
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    if args.markdown {
        let reference = schema::reference_markdown();
        out.line(reference.trim_end());
        return Ok(Done::new("the keys of the pipeline file", json!({ "markdown": reference })));
    }
    out.line(format!("{:#}", schema::schema()));
    Ok(Done::new("the JSON Schema of the pipeline file", schema::schema().clone()))
}
