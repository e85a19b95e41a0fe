//! `tidemill graph`: the chain as it is planned, with the fields that flow along it.

use serde_json::json;

use super::pipeline::refused;
use super::{Done, Failure, Output, PipelineArgs, inspect};
use crate::config::graph::{Format, graph};
use crate::pipeline::prepare;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill graph pipelines/users.toml\n  \
                        tidemill graph pipelines/users.toml --format dot | dot -Tsvg > users.svg")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How it is written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    format: FormatArg,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatArg {
    /// For a terminal
    Text,
    /// For Markdown that draws Mermaid
    Mermaid,
    /// For Graphviz
    Dot,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    let format = match args.format {
        FormatArg::Text => Format::Text,
        FormatArg::Mermaid => Format::Mermaid,
        FormatArg::Dot => Format::Dot,
    };
    let drawn = graph(&prepared.plan, &prepared.checked, format);
    out.line(drawn.trim_end());
    Ok(Done::new(format!("the graph of {}", prepared.plan.name), json!({ "graph": drawn, "flows": prepared.checked.flows })))
}
