//! `tidemill inspect`: what a plugin is, reads and writes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::{Done, Exit, Failure, OrExit, Output, Tone, table};
use crate::plugin::grants::{Reason, reason};
use crate::plugin::{Cache, Compiler, Engine, InstanceConfig, component_path};
use crate::record::{Field, escape};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill inspect plugins/enrich-user --setting domain-allow-list=example.com")]
pub struct Args {
    /// The component, or the plugin's directory once it is built
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// A setting that the plugin is started with; its contract may depend on it
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The engine of a verb, with this user's cache of compiled code where there is one.
pub fn engine() -> Result<Engine, Failure> {
    let cache = Cache::default_dir().and_then(|dir| Cache::open(&dir).ok());
    let compiler = Compiler::this_program().or_exit(Exit::Environment)?;
    Engine::new(cache, compiler).or_exit(Exit::Environment)
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let mut path = args.plugin.clone();
    if path.is_dir() {
        path = component_path(&path);
        if !path.is_file() {
            let why = format!(
                "plugin {} is not built: `tidemill build` of its pipeline makes {}",
                args.plugin.display(),
                path.display()
            );
            return Err(Failure::new(Exit::Wrong, why));
        }
    }
    let progress = out.progress("compiling", None);
    let plugin = engine()?.load_file(&path);
    drop(progress);
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Wrong, format!("plugin {}: {error}", args.plugin.display()));
    let plugin = plugin.map_err(|error| wrong(&error))?;
    let settings: BTreeMap<String, String> = args.settings.into_iter().collect();
    let config = InstanceConfig { stage: "inspect".to_owned(), settings, ..InstanceConfig::default() };
    let instance = plugin.instantiate(&config).map_err(|error| wrong(&error))?;
    let contract = instance.contract();

    let world = json!(plugin.world);
    let fact = |name: &str, value: &str| out.line(format!("{} {}", out.paint(Tone::Faint, format!("{name:>10}")), escape(value)));
    fact("plugin", &args.plugin.display().to_string());
    fact("world", world.as_str().unwrap_or_default());
    fact("language", &plugin.language);
    fact("size", &format!("{:.1} KiB", plugin.size_bytes as f64 / 1024.0));
    fact("memory", &format!("{:.1} MiB after its start", instance.memory_bytes() as f64 / 1_048_576.0));
    let from = if plugin.from_cache { "read from the cache" } else { "compiled" };
    fact("code", &format!("{from} in {:.1} ms", plugin.compile_time.as_secs_f64() * 1e3));
    fact("digest", &plugin.digest);
    for import in &plugin.imports {
        let why = match reason(import, &plugin.language) {
            Reason::Contract => "of the contract".to_owned(),
            Reason::Toolchain => format!("as every {} plugin does; does nothing without a grant", plugin.language),
            Reason::Wish(wish) => format!("asks for {wish}: {}", wish.way_out()),
            Reason::Unknown => "not known".to_owned(),
        };
        fact("imports", &format!("{import}  ({why})"));
    }
    let fields = |how: &'static str, fields: &[Field]| {
        let optional = |field: &Field| if field.optional { "optional" } else { "" }.to_owned();
        fields
            .iter()
            .map(|field| vec![how.to_owned(), field.name.clone(), field.kind.to_string(), optional(field)])
            .collect::<Vec<_>>()
    };
    let rows = [fields("reads", &contract.reads), fields("writes", &contract.writes)].concat();
    if !rows.is_empty() {
        out.line("");
        table::print(out, &["", "field", "kind", ""], &rows);
    }
    let result = json!({
        "plugin": args.plugin, "world": world, "language": plugin.language, "digest": plugin.digest, "size-bytes": plugin.size_bytes,
        "memory-bytes": instance.memory_bytes(), "imports": plugin.imports, "wishes": plugin.wishes, "contract": contract,
    });
    let summary = format!(
        "a {} plugin: reads {} fields, writes {}",
        world.as_str().unwrap_or_default(),
        contract.reads.len(),
        contract.writes.len()
    );
    Ok(Done::new(summary, result))
}
