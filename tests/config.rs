//! The pipeline file: what is read, what is refused, and how it is said.
//!
//! A case is a folder in `tests/config`: `pipeline.toml`, and `expected.txt` with what `check` says of it (`BLESS=1` writes it).
//! Beside them, where needed: `contracts.toml` (what the stages' plugins read and write, so that no component is needed),
//! `args.txt` (`--profile NAME`, `--set KEY=VALUE`, `env NAME=VALUE`, one a line) and the files that the pipeline names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tidemill::config::check::check;
use tidemill::config::plan::{SinkAddress, StageContract, TopicAddress, Trigger};
use tidemill::config::{LoadOptions, Loaded, diagnostic, explain, load};
use tidemill::record::{Contract, Field, Kind};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn cases() -> Vec<PathBuf> {
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root().join("tests/config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
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
    let of_the_file: BTreeSet<String> = defined.into_iter().filter(|code| code.starts_with("TM0") && code != "TM001").collect();
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
    assert!(here.warnings.is_empty() && here.unsupported().is_empty());
    let there = flagship(Some("cluster"), &[]);
    assert_eq!(there.pipeline.topic.at, TopicAddress::Kafka { brokers: vec!["localhost:9092".to_owned()] });
    assert!(matches!(&there.pipeline.sinks[0].at, SinkAddress::Cassandra { hosts, .. } if hosts == &["localhost:9042"]));
    assert_eq!(there.unsupported().len(), 2);
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
