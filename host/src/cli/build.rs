//! `tidemill build`: makes the components of all plugins of a pipeline that are directories.

use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::{Done, Exit, Failure, Output, PipelineArgs, Tone, ending};
use crate::config::Loaded;
use crate::config::plan::PluginPath;
use crate::plugin::{BuildError, build_directory};
use crate::record::escape;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill build pipelines/users.toml")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let built = build(&loaded, out)?;
    let result: Vec<_> = built.iter().map(|(stage, path)| json!({ "stage": stage, "component": path })).collect();
    let summary = match built.len() {
        0 => "nothing to build: every plugin is a component already".to_owned(),
        1 => "built 1 plugin".to_owned(),
        count => format!("built {count} plugins"),
    };
    out.line(&summary);
    Ok(Done::new(summary, json!({ "plugins": result })))
}

/// Builds each directory once, in the order of the stages; the first that fails ends it.
pub fn build(loaded: &Loaded, out: &Output) -> Result<Vec<(String, std::path::PathBuf)>, Failure> {
    let mut built: Vec<(String, std::path::PathBuf)> = Vec::new();
    let mut done: Vec<&Path> = Vec::new();
    for stage in &loaded.pipeline.stages {
        let PluginPath::Directory(dir) = &stage.plugin else { continue };
        if done.contains(&dir.as_path()) {
            continue;
        }
        done.push(dir);
        ending::with_builds()?;
        let began = Instant::now();
        let progress = out.progress(&format!("building {}", stage.name), None);
        let path = build_directory(dir).map_err(|error| failed(&stage.name, &error))?;
        drop(progress);
        let took = format!("{:.1} s", began.elapsed().as_secs_f64());
        out.line(format!("{} built {} in {took}", out.paint(Tone::Good, "✓"), stage.name));
        built.push((stage.name.clone(), path));
    }
    Ok(built)
}

fn failed(stage: &str, error: &BuildError) -> Failure {
    let exit = match error {
        BuildError::Start { .. } | BuildError::Write { .. } => Exit::Environment,
        _ => Exit::Failed,
    };
    let message = format!("build the plugin of stage `{stage}`: {error}");
    // A compiler's words are lines, with file and line in them; they must not drive a terminal all the same.
    let lines: Vec<_> = message.lines().map(escape).collect();
    let report = format!("error: {}", lines.join("\n"));
    Failure::new(exit, message).with_report(report)
}
