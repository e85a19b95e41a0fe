//! The command line: one file per verb.
//!
//! A verb is a file with `pub struct Args` (clap, with an example in its `after_help`) and
//! `pub fn run(args: Args, out: &Output) -> Result<Done, Failure>`. To add one: `mod <verb>;`, a variant of [`Verb`] whose doc
//! comment is its line in the help, and an arm in [`Verb::run`]. A verb is listed only once it works.
//!
//! What a verb prints for people goes through [`Output::line`], so that `--json` stays one envelope and a closed pipe is no
//! panic; text that came out of a record goes through [`crate::record::escape`].

mod bench;
mod build;
mod check;
mod completions;
mod dead_letters;
mod dev;
mod doctor;
mod dry_run;
mod ending;
mod events;
mod explain;
mod graph;
mod host;
mod inspect;
mod listen;
mod output;
mod owner;
mod pipeline;
mod receipts;
mod run;
mod runs;
mod schema;
mod stand_in;
mod table;
mod tap;
mod test;
mod top;
mod trial;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

pub use listen::ListenArgs;
pub use output::{Done, Exit, Failure, OrExit, Output, Progress, Tone};
pub use owner::{Keeper, Owner, block_on, keeper, owner};
pub use pipeline::{PipelineArgs, refused};

use crate::status::logs;

/// The whole command line, for completions and for tests that walk over all verbs.
pub fn command() -> clap::Command {
    Cli::command()
}

#[derive(Parser)]
#[command(
    name = "tidemill",
    version,
    about = "Stream records through WebAssembly plugins into tables",
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 ok, 1 failed, 2 the pipeline or the usage is wrong, 3 the environment is.\n\
                  `tidemill <verb> --help` shows an example of each."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Args)]
struct Global {
    /// Print one JSON envelope {command, ok, summary, result, error} instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Verb {
    /// Build a pipeline's plugins and run it, telling what happens
    Dev(dev::Args),
    /// Run a pipeline: source, topic, plugins, sinks
    Run(run::Args),
    /// Build the plugins of a pipeline that are directories
    Build(build::Args),
    /// Run test cases of a pipeline or a plugin through the real components
    Test(test::Args),
    /// Show records before and after the chain; nothing is written
    DryRun(dry_run::Args),
    /// See whether a pipeline would run: offline, all errors with their places
    Check(check::Args),
    /// Draw a pipeline and the fields that flow along it
    Graph(graph::Args),
    /// Tell what the code of an error means
    Explain(explain::Args),
    /// Print the JSON Schema of the pipeline file
    Schema(schema::Args),
    /// List, show, replay or discard rejected records
    DeadLetters(dead_letters::Args),
    /// Decide every settled record again and compare tables and dead letters with it
    Verify(verify::Args),
    /// See whether this machine has what a pipeline needs
    Doctor(doctor::Args),
    /// Show what a plugin is, reads and writes
    Inspect(inspect::Args),
    /// Show what each poll of the source did; pause it, resume it, poll now
    Runs(runs::Args),
    /// Show records before and after a stage of a running pipeline
    Tap(tap::Args),
    /// Watch a running pipeline in the terminal
    Top(top::Args),
    /// Show what each swap of code did; reload, promote, discard or roll back a stage
    Receipts(receipts::Args),
    /// Measure what this machine does, each figure beside its baseline
    Bench(bench::Args),
    /// Print the completion script of a shell
    Completions(completions::Args),
    /// Serve users as randomuser.me does, and fail on demand
    StandIn(stand_in::Args),
}

impl Verb {
    fn run(self, out: &Output) -> Result<Done, Failure> {
        match self {
            Verb::Dev(args) => dev::run(args, out),
            Verb::Run(args) => run::run(args, out),
            Verb::Build(args) => build::run(args, out),
            Verb::Test(args) => test::run(args, out),
            Verb::DryRun(args) => dry_run::run(args, out),
            Verb::Check(args) => check::run(args, out),
            Verb::Graph(args) => graph::run(args, out),
            Verb::Explain(args) => explain::run(args, out),
            Verb::Schema(args) => schema::run(args, out),
            Verb::DeadLetters(args) => dead_letters::run(args, out),
            Verb::Verify(args) => verify::run(args, out),
            Verb::Doctor(args) => doctor::run(args, out),
            Verb::Inspect(args) => inspect::run(args, out),
            Verb::Runs(args) => runs::run(args, out),
            Verb::Tap(args) => tap::run(args, out),
            Verb::Top(args) => top::run(args, out),
            Verb::Receipts(args) => receipts::run(args, out),
            Verb::Bench(args) => bench::run(args, out),
            Verb::Completions(args) => completions::run(args, out),
            Verb::StandIn(args) => stand_in::run(args, out),
        }
    }
}

/// Parses, sets up logging, runs the verb and turns what came of it into text or an envelope, and an exit code.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(refused) => return output::usage(&args, &refused),
    };
    let command = args.iter().skip(1).filter_map(|arg| arg.to_str()).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let verbosity = match (cli.global.quiet, cli.global.verbose) {
        (true, _) => logs::Verbosity::Errors,
        (false, 0) => logs::Verbosity::Normal,
        (false, 1) => logs::Verbosity::More,
        (false, _) => logs::Verbosity::Everything,
    };
    let out = Output::new(command, cli.global.json, cli.global.quiet, logs::start(verbosity));
    let finished = cli.verb.run(&out);
    out.finish(finished)
}
