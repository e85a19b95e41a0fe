//! The arguments of every verb that takes a pipeline file, and the file as planned.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::output::colour_wanted;
use super::{Exit, Failure, Output};
use crate::config::diagnostic::{Diagnostic, render_all};
use crate::config::{self, LoadOptions, Loaded};
use crate::pipeline::{Live, Watching};
use crate::store::Store;

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
    /// Reads the file. Warnings go to stderr; errors are a [`Failure`] with all of them, exit 2.
    pub fn load(&self, out: &Output) -> Result<Loaded, Failure> {
        let loaded = self.read()?;
        if !out.json() && !loaded.warnings.is_empty() {
            let _ = write!(io::stderr(), "{}", render_all(&loaded.warnings, colour_on_stderr()));
        }
        Ok(loaded)
    }

    /// Reads the file and says nothing of its warnings, for a verb that shows them itself.
    pub fn read(&self) -> Result<Loaded, Failure> {
        self.find().map_err(|found| refused(&found))
    }

    fn find(&self) -> Result<Loaded, Vec<Diagnostic>> {
        let options = LoadOptions { profile: self.profile.as_deref(), sets: &self.set, env: &config::process_env };
        config::load(&self.file, &options)
    }

    /// How a pipeline that runs follows its files. `change` is what the verb does to each reading of the pipeline file.
    pub fn live(&self, watching: Watching, change: impl Fn(&mut Loaded) + Send + Sync + 'static) -> Arc<Live> {
        let arguments = self.clone();
        let read = move || {
            let mut loaded = arguments.find()?;
            change(&mut loaded);
            Ok(loaded)
        };
        Arc::new(Live { read: Box::new(read), watching })
    }

    /// The folder that holds one folder per pipeline.
    pub fn data_dir(&self) -> PathBuf {
        match &self.data {
            Some(dir) => dir.clone(),
            None => self.file.parent().unwrap_or(Path::new("")).join(".tidemill"),
        }
    }

    /// The folder of the pipeline's store.
    pub fn store_dir(&self, loaded: &Loaded) -> PathBuf {
        self.data_dir().join(&loaded.pipeline.name)
    }

    /// The folder of the store that verbs beside a host look into: that of made-up users, and said so, where they run now or
    /// nothing else has run yet.
    pub fn store_to_ask(&self, loaded: &Loaded) -> PathBuf {
        let (dir, made_up) = (self.store_dir(loaded), self.stand_in_dir(loaded));
        let exists = |dir: &Path| dir.join("store.db").exists();
        let owned = |dir: &Path| exists(dir) && matches!(Store::owner(dir), Ok(Some(_)));
        if exists(&made_up) && (!exists(&dir) || (owned(&made_up) && !owned(&dir))) {
            tracing::warn!("stand-in data: this is what `dev` made up while the API was out of reach, in {}", made_up.display());
            return made_up;
        }
        dir
    }

    /// The folder of the store of a generator that stands in: made-up users must never stand among real ones.
    pub fn stand_in_dir(&self, loaded: &Loaded) -> PathBuf {
        let mut dir = self.store_dir(loaded);
        dir.as_mut_os_string().push(".stand-in");
        dir
    }
}

/// The failure that these diagnostics are.
pub fn refused(found: &[Diagnostic]) -> Failure {
    let errors = found.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let message = format!("the pipeline has {errors} error{}", if errors == 1 { "" } else { "s" });
    let diagnostics: Vec<_> = found.iter().map(Diagnostic::json).collect();
    Failure::new(Exit::Wrong, message)
        .with_result(json!({ "diagnostics": diagnostics }))
        .with_report(render_all(found, colour_on_stderr()))
}

fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && colour_wanted()
}
