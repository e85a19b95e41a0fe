//! The arguments of every verb that takes a pipeline file.

use std::path::{Path, PathBuf};

#[derive(clap::Args, Clone, Debug)]
pub struct PipelineArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE.toml")]
    pub file: PathBuf,
    /// Apply the settings of [profile.NAME] in the file
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Set any key of the file; stages and sinks by name: stage.enrich.limits.memory="64 MiB"
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Where stores are kept, one folder per pipeline [default: .tidemill beside the pipeline file]
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA")]
    pub data: Option<PathBuf>,
}

impl PipelineArgs {
    /// The folder that holds one folder per pipeline.
    pub fn data_dir(&self) -> PathBuf {
        match &self.data {
            Some(dir) => dir.clone(),
            None => self.file.parent().unwrap_or(Path::new("")).join(".tidemill"),
        }
    }
}
