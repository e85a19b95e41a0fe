//! `tidemill run`: the pipeline as it is, nothing built, and nothing watched unless asked.

use super::host::{Host, Telling};
use super::{Done, Failure, ListenArgs, Output, PipelineArgs, inspect, refused};
use crate::pipeline::{Options, Watching, prepare};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill run pipelines/users.toml --set source.records=1000 --until-idle --json")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// End once the source has no more, or its `for` or `records` is reached, and all of it is delivered
    #[arg(long)]
    until_idle: bool,
    /// Follow the pipeline file and the components: what is saved comes into force while records flow
    #[arg(long)]
    watch: bool,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let store_dir = args.pipeline.store_dir(&loaded);
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    let watching = if args.watch { Watching::Files } else { Watching::Nothing };
    let live = Some(args.pipeline.live(watching, |_| {}));
    let options = Options { until_idle: args.until_idle, live, ..Options::default() };
    Host { prepared, store_dir, listen: args.listen, options, telling: Telling::Briefly }.run(out)
}
