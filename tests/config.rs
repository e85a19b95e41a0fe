//! The pipeline file: what is read, what is refused, and how it is said.
//!
//! A case is a folder in `tests/config`: `pipeline.toml`, and `expected.txt` with what `check` says of it (`BLESS=1` writes it).
//! Beside them, where needed: `contracts.toml` (what the stages' plugins read and write, so that no component is needed),
//! `args.txt` (`--profile NAME`, `--set KEY=VALUE`, `env NAME=VALUE`, one a line) and the files that the pipeline names.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill::config::check::check;
use tidemill::config::plan::{SinkAddress, StageContract, TopicAddress, Trigger};
use tidemill::config::{LoadOptions, Loaded, diagnostic, explain, graph, load, schema};
use tidemill::record::{Contract, Field, Kind};

use support::root;

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root().join("tests/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        // A host that has TLS has nothing to say of it.
        .filter(|path| !(cfg!(feature = "kafka-tls") && path.ends_with("kafka_tls_not_built")))
        .collect();
    cases.sort();
    cases
}

#[derive(Default)]
struct CaseArgs {
    profile: Option<String>,
    sets: Vec<String>,
    env: BTreeMap<String, String>,
}

fn args(case: &Path) -> CaseArgs {
    let mut args = CaseArgs::default();
    for line in std::fs::read_to_string(case.join("args.txt")).unwrap_or_default().lines() {
        match line.split_once(' ') {
            Some(("--profile", name)) => args.profile = Some(name.to_owned()),
            Some(("--set", set)) => args.sets.push(set.to_owned()),
            Some(("env", pair)) => {
                let (name, value) = pair.split_once('=').expect("env NAME=VALUE");
                args.env.insert(name.to_owned(), value.to_owned());
            }
            _ => panic!("{}: what is `{line}`?", case.display()),
        }
    }
    args
}

#[derive(Default, Deserialize)]
struct StageOfCase {
    #[serde(default)]
    messages: bool,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
}

/// `name: kind`, with `?` behind where it is optional.
fn field(text: &str) -> Field {
    let (name, kind) = text.split_once(": ").expect("name: kind");
    let kind_name = kind.trim_end_matches('?');
    let kind: Kind = serde_json::from_value(kind_name.into()).expect(kind_name);
    Field { name: name.to_owned(), kind, optional: text.ends_with('?') }
}

fn contracts(case: &Path, loaded: &Loaded) -> Option<Vec<StageContract>> {
    let text = std::fs::read_to_string(case.join("contracts.toml")).unwrap_or_default();
    let mut by_stage: BTreeMap<String, StageOfCase> = toml::from_str(&text).unwrap();
    loaded.pipeline.stages.iter().try_fold(Vec::new(), |mut contracts, stage| {
        let known = by_stage.remove(&stage.name)?;
        let fields = |list: &[String]| list.iter().map(|text| field(text)).collect();
        let contract = Contract { reads: fields(&known.reads), writes: fields(&known.writes) };
        contracts.push(StageContract { stage: stage.name.clone(), contract: (!known.messages).then_some(contract) });
        Some(contracts)
    })
}

/// What `check` says, as a person sees it.
fn said(case: &Path) -> String {
    let args = args(case);
    let env = |name: &str| args.env.get(name).cloned();
    let file = case.strip_prefix(root()).unwrap().join("pipeline.toml");
    let options = LoadOptions { profile: args.profile.as_deref(), sets: &args.sets, env: &env };
    let found = match load(&file, &options) {
        Err(found) => found,
        Ok(loaded) => {
            let mut found = loaded.warnings.clone();
            if let Some(contracts) = contracts(case, &loaded) {
                found.extend(check(&loaded, &contracts).1);
            }
            diagnostic::sort(&mut found);
            found
        }
    };
    diagnostic::render_all(&found, false)
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_way_out() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut differing = Vec::new();
    let cases = cases();
    for case in &cases {
        let said = said(case);
        for finding in said.split("\n\n").filter(|text| text.contains("[TM")) {
            assert!(finding.contains("= help: "), "{}: no way out of\n{finding}", case.display());
        }
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{}: a control character is obeyed", case.display());
        let expected = case.join("expected.txt");
        if bless {
            std::fs::write(&expected, &said).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != said {
            differing.push(format!("{}\n{said}", expected.display()));
        }
    }
    assert!(differing.is_empty(), "{} differ (BLESS=1 writes them)\n{}", differing.len(), differing.join("\n"));
    let broken =
        cases.iter().filter(|case| std::fs::read_to_string(case.join("expected.txt")).unwrap().contains("error[")).count();
    assert!(broken >= 60, "{broken} broken files");
}

#[test]
fn every_code_is_explained_and_shown_by_a_case() {
    let codes = |text: &str| -> BTreeSet<String> {
        text.match_indices("TM")
            .filter_map(|(at, _)| text.get(at..at + 5))
            .filter(|code| code[2..].bytes().all(|b| b.is_ascii_digit()))
            .map(str::to_owned)
            .collect()
    };
    let defined = codes(&std::fs::read_to_string(root().join("host/src/config/code.rs")).unwrap());
    let explained: BTreeSet<String> = explain::all().map(|explanation| explanation.code.to_owned()).collect();
    assert_eq!(defined, explained);
    for explanation in explain::all() {
        assert!(explanation.text.len() > 40 && !explanation.title.is_empty(), "{explanation:?}");
    }
    let shown: BTreeSet<String> =
        cases().iter().flat_map(|case| codes(&std::fs::read_to_string(case.join("expected.txt")).unwrap())).collect();
    let of_the_file: BTreeSet<String> = defined.into_iter().filter(|code| code.as_str() < "TM070" && code != "TM001").collect();
    let missing: Vec<&String> = of_the_file.difference(&shown).collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

fn flagship(profile: Option<&str>, sets: &[&str]) -> Loaded {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let loaded = load(&root().join("pipelines/users.toml"), &LoadOptions { profile, sets: &sets, env: &|_| None });
    loaded.unwrap_or_else(|found| panic!("{}", diagnostic::render_all(&found, false)))
}

#[test]
fn the_flagship_is_embedded_and_a_profile_moves_it() {
    let here = flagship(None, &[]);
    assert_eq!(here.pipeline.topic.at, TopicAddress::Embedded);
    assert!(here.warnings.is_empty());
    let there = flagship(Some("cluster"), &[]);
    assert!(matches!(&there.pipeline.topic.at, TopicAddress::Kafka(cluster) if cluster.brokers == ["localhost:9092"]));
    assert!(matches!(&there.pipeline.sinks[0].at, SinkAddress::Cassandra { hosts, .. } if hosts == &["localhost:9042"]));
}

#[test]
fn set_reaches_any_key() {
    let set = flagship(
        None,
        &["stage.enrich.limits.memory=16 MiB", "source.every=0s", "sink.users.at=memory:rows", "topic.partitions=4"],
    );
    assert_eq!(set.pipeline.stages[1].limits.memory_bytes, 16 << 20);
    assert!(matches!(set.pipeline.source.map(|source| source.schedule.trigger), Some(Trigger::Every(wait)) if wait.is_zero()));
    assert_eq!(set.pipeline.sinks[0].at, SinkAddress::Memory { name: "rows".to_owned() });
    assert_eq!(set.pipeline.topic.partitions, 4);
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let found = load(Path::new("pipelines/no-such.toml"), &LoadOptions::new(&|_| None)).unwrap_err();
    assert_eq!(found[0].render(false), "error[TM001]: read pipeline file `pipelines/no-such.toml`: no such file\n");
}

fn shipped() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

/// Just enough of JSON Schema for ours: what does not fit, as paths.
fn misfits(value: &toml::Value, schema: &serde_json::Value, path: &str) -> Vec<String> {
    let choices = schema::choices(schema);
    if choices.len() > 1 {
        let all: Vec<Vec<String>> = choices.iter().map(|choice| misfits(value, choice, path)).collect();
        return all.iter().min_by_key(|found| found.len()).unwrap().clone();
    }
    let wrong = || vec![format!("{path}: {} is not {schema}", value.type_str())];
    if let Some(words) = schema::words(schema) {
        return if value.as_str().is_some_and(|word| words.contains(&word)) { Vec::new() } else { wrong() };
    }
    match (schema["type"].as_str(), value) {
        (None, _) | (Some("string"), toml::Value::String(_)) | (Some("boolean"), toml::Value::Boolean(_)) => Vec::new(),
        (Some("integer" | "number"), toml::Value::Integer(number)) => {
            let fits = schema["minimum"].as_i64().is_none_or(|min| *number >= min)
                && schema["maximum"].as_i64().is_none_or(|max| *number <= max);
            if fits { Vec::new() } else { wrong() }
        }
        (Some("array"), toml::Value::Array(list)) => list
            .iter()
            .enumerate()
            .flat_map(|(index, entry)| misfits(entry, &schema["items"], &format!("{path}[{index}]")))
            .collect(),
        (Some("object"), toml::Value::Table(table)) => {
            let mut found = Vec::new();
            for required in schema["required"].as_array().into_iter().flatten() {
                if !table.contains_key(required.as_str().unwrap()) {
                    found.push(format!("{path}: no {required}"));
                }
            }
            for (key, value) in table {
                match schema["properties"].get(key).or(schema.get("additionalProperties").filter(|rest| rest.is_object())) {
                    Some(inner) => found.extend(misfits(value, inner, &format!("{path}.{key}"))),
                    None if schema.get("additionalProperties") == Some(&serde_json::Value::Bool(false)) => {
                        found.push(format!("{path}: unknown {key}"))
                    }
                    None => {}
                }
            }
            found
        }
        _ => wrong(),
    }
}

#[test]
fn the_schema_takes_the_shipped_pipelines_and_refuses_what_check_refuses() {
    let read =
        |path: &Path| -> toml::Value { toml::from_str::<toml::Table>(&std::fs::read_to_string(path).unwrap()).unwrap().into() };
    for file in shipped() {
        assert_eq!(misfits(&read(&file), schema::schema(), ""), Vec::<String>::new(), "{}", file.display());
    }
    for case in [
        "unknown_key",
        "unknown_key_in_limits",
        "wrong_type_text_for_number",
        "missing_stage_plugin",
        "unknown_column_type",
        "partitions_zero",
    ] {
        assert_ne!(
            misfits(&read(&root().join("tests/config").join(case).join("pipeline.toml")), schema::schema(), ""),
            Vec::<String>::new(),
            "{case}"
        );
    }
}

#[test]
fn every_key_is_documented_and_its_default_is_what_leaving_it_out_means() {
    fn walk(schema: &serde_json::Value, path: &str, defaults: &mut Vec<String>) {
        for (name, inner) in schema::properties(schema).into_iter().flatten() {
            let here = format!("{path}{name}");
            assert!(
                inner["description"].as_str().is_some_and(|text| text.len() > 15) || path.is_empty(),
                "{here} is not documented"
            );
            if let (Some(default), true) = (inner.get("default"), ["source.", "topic."].contains(&path)) {
                defaults.push(format!("{here}={default}"));
            }
            if path.is_empty() {
                walk(inner, &format!("{here}."), defaults);
                walk(&inner["items"], &format!("{here}."), defaults);
            }
        }
    }
    let mut defaults = Vec::new();
    walk(schema::schema(), "", &mut defaults);
    defaults.retain(|set| !set.starts_with("source.method"));
    assert!(defaults.len() > 8, "{defaults:?}");
    let text = |loaded: Loaded| format!("{:#?}", loaded.pipeline);
    let read = |sets: &[String]| {
        let minimal = "name = \"x\"\n[source]\nkind = \"randomuser\"\n[[sink]]\nname = \"out\"\nat = \"null\"\n";
        tidemill::config::read(Path::new("x.toml"), minimal, &LoadOptions { profile: None, sets, env: &|_| None }).unwrap()
    };
    assert_eq!(text(read(&[])), text(read(&defaults)));
}

#[test]
fn the_reference_names_every_key_of_every_table() {
    let reference = schema::reference_markdown();
    for key in [
        "`name`",
        "`records-per-poll`",
        "`limits.memory`",
        "`columns.<column>.type`",
        "`stop-when`",
        "`next.token`",
        "`null-value`",
    ] {
        assert!(reference.contains(&format!("| {key} |")), "{key}\n{reference}");
    }
}

#[test]
fn the_graph_shows_which_field_goes_where() {
    let case = root().join("tests/config/good_chain");
    let loaded = load(&case.join("pipeline.toml"), &LoadOptions::new(&|_| None)).unwrap();
    let (checked, _) = check(&loaded, &contracts(&case, &loaded).unwrap());
    let draw = |format| graph::graph(&loaded.pipeline, &checked, format);
    let expected = "\
source generator (seed tidemill, every 1s)
  └─► topic users
        key: login.uuid
topic users (embedded, 1 partition)
  └─► stage extract
        login.uuid: text, name.first: text, email: text
stage extract (extract.wasm)
  └─► sink users
        id: text, first_name: text?, email: text?
sink users (embedded table demo.users)
";
    assert_eq!(draw(graph::Format::Text), expected);
    assert!(
        draw(graph::Format::Mermaid).starts_with("flowchart LR\n  source[\"source generator<br/>seed tidemill, every 1s\"]\n")
    );
    assert!(draw(graph::Format::Dot).contains("stage0 -> sink0 [label=\"id: text\\nfirst_name: text?\\nemail: text?\"];"));
    assert_eq!(checked.sink_fields.len(), 3);
    assert!(!checked.sink_fields[0].optional && checked.sink_fields[1].optional && !checked.whole_records);
}

#[test]
fn secrets_are_read_and_never_shown() {
    let file = "name = \"x\"\n[source]\nkind = \"http\"\nurl = \"https://example.com\"\nheaders = { authorization = { env = \"TOKEN\" } }\n\
                [[sink]]\nname = \"out\"\nat = \"null\"\n";
    let env = |name: &str| (name == "TOKEN").then(|| "hush-hush".to_owned());
    let loaded = tidemill::config::read(Path::new("x.toml"), file, &LoadOptions::new(&env)).unwrap();
    assert!(!format!("{:?}", loaded.pipeline).contains("hush"));
    let Some(tidemill::config::plan::SourceKind::Http(http)) = loaded.pipeline.source.map(|source| source.kind) else { panic!() };
    assert_eq!(secrecy::ExposeSecret::expose_secret(&http.headers[0].1), "hush-hush");
}

#[test]
fn a_diagnostic_has_a_stable_json_form() {
    let found = load(&PathBuf::from("tests/config/unknown_key/pipeline.toml"), &LoadOptions::new(&|_| None)).unwrap_err();
    let expected = serde_json::json!({
        "code": "TM003", "severity": "error", "message": "unknown key `evry` in [source]",
        "file": "tests/config/unknown_key/pipeline.toml", "line": 5, "column": 1, "help": ["did you mean `every`?"],
    });
    assert_eq!(serde_json::to_value(found[0].json()).unwrap(), expected);
}

#[test]
fn the_shipped_pipelines_are_read_without_a_warning() {
    for file in shipped() {
        let loaded = load(&file, &LoadOptions::new(&|_| None));
        let loaded = loaded.unwrap_or_else(|found| panic!("{}", diagnostic::render_all(&found, false)));
        assert!(loaded.warnings.is_empty(), "{}", diagnostic::render_all(&loaded.warnings, false));
    }
}

fn tidemill(args: &[&str]) -> (Option<i32>, serde_json::Value) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_tidemill")).current_dir(root()).args(args).arg("--json").output().unwrap();
    let envelope = serde_json::from_slice(&output.stdout);
    (output.status.code(), envelope.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))))
}

fn codes_of(envelope: &serde_json::Value) -> Vec<&str> {
    let found = envelope["result"]["diagnostics"].as_array().unwrap();
    found.iter().map(|diagnostic| diagnostic["code"].as_str().unwrap()).collect()
}

#[test]
fn check_takes_the_shipped_pipelines_with_their_plugins_and_tells_what_is_wrong_with_one() {
    for plugin in ["extract-user", "enrich-user", "split-results"] {
        support::guests::component(&format!("plugins/{plugin}"));
    }
    for file in shipped() {
        let (exit, envelope) = tidemill(&["check", file.to_str().unwrap()]);
        assert_eq!((exit, codes_of(&envelope)), (Some(0), Vec::new()), "{}\n{envelope:#}", file.display());
    }
    let flagship = "pipelines/users.toml";
    // Its settings are refused, and columns that would read its fields are not blamed for it.
    let (exit, envelope) = tidemill(&["check", flagship, "--set", "stage.enrich.settings.age-bands=old"]);
    assert_eq!((exit, codes_of(&envelope)), (Some(2), vec!["TM072"]), "{envelope:#}");
    let (exit, envelope) = tidemill(&["check", flagship, "--set", "stage.enrich.plugin=users.wasm"]);
    assert_eq!((exit, codes_of(&envelope)), (Some(2), vec!["TM070"]), "{envelope:#}");
    let no_component = root().join("Cargo.toml").with_file_name("pipelines/users.ndjson");
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-component.wasm");
    std::fs::copy(no_component, &copy).unwrap();
    let (exit, envelope) = tidemill(&["check", flagship, "--set", &format!("stage.enrich.plugin={}", copy.display())]);
    assert_eq!((exit, codes_of(&envelope)), (Some(2), vec!["TM071"]), "{envelope:#}");
    // The real contract, not one that a test made up: a column that nobody feeds is found.
    let (exit, envelope) = tidemill(&["check", flagship, "--set", "sink.users.columns.age_band=age_bend"]);
    assert_eq!(
        (exit, envelope["result"]["diagnostics"][0]["help"][0].as_str()),
        (Some(2), Some("did you mean `age_band`?")),
        "{envelope:#}"
    );
}

#[test]
fn the_verbs_print_the_schema_and_the_meaning_of_codes() {
    let (exit, envelope) = tidemill(&["schema"]);
    assert_eq!((exit, &envelope["result"]), (Some(0), schema::schema()));
    let (exit, envelope) = tidemill(&["explain", "tm050"]);
    assert_eq!((exit, envelope["result"]["code"].as_str()), (Some(0), Some("TM050")));
    let (exit, envelope) = tidemill(&["explain", "TM999"]);
    assert_eq!((exit, envelope["ok"].as_bool()), (Some(2), Some(false)));
}
