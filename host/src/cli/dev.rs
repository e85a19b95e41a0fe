//! `tidemill dev`: builds what is source, then runs the pipeline, follows every file of it, and tells what happens, line by line.

use crate::config::Loaded;
use crate::config::plan::{SourceKind, SourcePlan};
use crate::pipeline::{Options, Watching, prepare};
use crate::source;

use super::host::{Host, Telling};
use super::{Done, Exit, Failure, ListenArgs, OrExit, Output, PipelineArgs, Tone, block_on, build, inspect, refused};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill dev pipelines/users.toml")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// End once the source has no more, or its `for` or `records` is reached, and all of it is delivered
    #[arg(long)]
    until_idle: bool,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let mut loaded = args.pipeline.load(out)?;
    build::build(&loaded, out)?;
    let mut store_dir = args.pipeline.store_dir(&loaded);
    let stand_in_for = stand_in(&mut loaded)?;
    if let Some(why) = &stand_in_for {
        store_dir = args.pipeline.stand_in_dir(&loaded);
        out.line(format!(
            "{} stand-in data: the generator makes up users, because the host could not {why}",
            out.paint(Tone::Warn, "!")
        ));
    }
    let progress = out.progress("compiling", None);
    let prepared = prepare(loaded, &inspect::engine()?).map_err(|found| refused(&found))?;
    drop(progress);
    let stands_in = stand_in_for.is_some();
    let live = args.pipeline.live(Watching::Sources, move |loaded| {
        if let Some(plan) = loaded.pipeline.source.as_mut().filter(|plan| stands_in && is_users(plan)) {
            *plan = source::stand_in_plan(plan);
        }
    });
    let options = Options { until_idle: args.until_idle, stand_in_for, live: Some(live), ..Options::default() };
    Host { prepared, store_dir, listen: args.listen, options, telling: Telling::Events }.run(out)
}

/// Lets the generator stand in for the users API when that cannot be reached now, and says why. What other sources give, the
/// generator cannot make up: they back off until they are reached.
fn stand_in(loaded: &mut Loaded) -> Result<Option<String>, Failure> {
    let Some(plan) = loaded.pipeline.source.as_mut().filter(|plan| is_users(plan)) else {
        return Ok(None);
    };
    let Err(why) = reachable(plan)? else { return Ok(None) };
    *plan = source::stand_in_plan(plan);
    Ok(Some(why.to_string()))
}

fn is_users(plan: &SourcePlan) -> bool {
    matches!(plan.kind, SourceKind::RandomUser(_))
}

fn reachable(plan: &SourcePlan) -> Result<Result<(), source::Error>, Failure> {
    let mut source = source::open(plan).or_exit(Exit::Environment)?;
    block_on(source.reachable())
}
