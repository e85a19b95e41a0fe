//! Two builds of a stage that do the same, for those who measure what a swap costs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::pipeline::cannot;
use crate::plugin::{Engine, component_path};

const FILE: &str = "enrich.wasm";

/// Where they take turns.
pub(super) struct Builds {
    path: PathBuf,
    bytes: [Vec<u8>; 2],
    turn: usize,
}

impl Builds {
    /// Of `enrich-user`, in `dir`. Both are compiled, so that what is measured is the swap and not the compiler.
    pub(super) fn new(plugins: &Path, dir: &Path, engine: &Engine) -> Result<Builds, String> {
        let from = component_path(&plugins.join("enrich-user"));
        let built = std::fs::read(&from).map_err(|error| format!("read {}: {error}", from.display()))?;
        // A custom section called `b` makes it another component.
        let bytes = [0, 1].map(|build| [&built[..], &[0, 3, 1, b'b', build]].concat());
        for bytes in &bytes {
            engine.load(bytes).map_err(|error| error.to_string())?;
        }
        let mut builds = Builds { path: dir.join(FILE), bytes, turn: 0 };
        builds.save()?;
        Ok(builds)
    }

    /// The other one is renamed into place.
    pub(super) fn save(&mut self) -> Result<Instant, String> {
        self.turn ^= 1;
        let fresh = self.path.with_extension("fresh");
        std::fs::write(&fresh, &self.bytes[self.turn]).map_err(cannot("write a component"))?;
        let saved = Instant::now();
        std::fs::rename(&fresh, &self.path).map_err(cannot("replace a component"))?;
        Ok(saved)
    }
}

/// A pipeline file of the bench, with the builds in the place of `enrich-user`.
pub(super) fn replaced(text: &str) -> Result<String, String> {
    let (before, rest) =
        text.split_once("name = \"enrich\"\nplugin = ").ok_or("the pipeline of the bench has no stage `enrich`")?;
    let (_, rest) = rest.split_once('\n').ok_or("the pipeline of the bench is cut short")?;
    Ok(format!("{before}name = \"enrich\"\nplugin = \"{FILE}\"\n{rest}"))
}
