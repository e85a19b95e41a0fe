//! What is not a plugin of this host: each is refused with its own error, before anything of it runs.

use std::fmt::Write;

use tidemill::plugin::{CallError, InstanceConfig, LoadError, Plugin, StartError, World};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::support::{guests, root};

/// The released interfaces, without their worlds, changed, and with a world of the test's own.
pub fn component(change: (&str, &str), world: &str) -> Vec<u8> {
    let released = std::fs::read_to_string(root().join("wit/v0.1/plugin.wit")).expect("read the contract");
    let (interfaces, _) = released.split_once("\nworld ").expect("the worlds come last");
    let interfaces = interfaces.trim_end().lines().filter(|line| !line.starts_with("///")).collect::<Vec<_>>().join("\n");
    assert!(interfaces.contains(change.0), "`{}` is not in the contract", change.0);
    let mut text = interfaces.replace(change.0, change.1);
    write!(text, "\ninterface extra {{ f: func(); }}\nworld test {{ {world} }}").expect("text");

    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", &text).expect("WIT");
    let world = resolve.select_world(&[package], Some("test")).expect("the world");
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("metadata");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}

pub const UNCHANGED: (&str, &str) = ("interface", "interface");
pub const FIELDS: &str = "export fields;";

fn load(component: &[u8]) -> Result<Plugin, LoadError> {
    guests::engine().load(component)
}

#[track_caller]
fn refused(component: &[u8]) -> LoadError {
    load(component).map(drop).expect_err("it is no plugin")
}

#[test]
fn the_contract_as_released_is_accepted() {
    assert_eq!(load(&component(UNCHANGED, FIELDS)).expect("a plugin").world, World::Fields);
    assert_eq!(load(&component(UNCHANGED, "export messages;")).expect("a plugin").world, World::Messages);
    let all = component(UNCHANGED, "import state; import lookup; export fields;");
    let plugin = load(&all).expect("a plugin");
    assert_eq!(plugin.imports, ["tidemill:plugin/lookup@0.1.0", "tidemill:plugin/state@0.1.0", "tidemill:plugin/types@0.1.0"]);
}

#[test]
fn other_exports_are_normal() {
    let plugin = load(&component(UNCHANGED, "export fields; export extra; export init: func();")).expect("a plugin");
    assert_eq!(plugin.world, World::Fields);
}

#[test]
fn a_plugin_that_cannot_run_is_known_at_its_start() {
    let plugin = load(&component(UNCHANGED, FIELDS)).expect("a plugin");
    let error = plugin.instantiate(&InstanceConfig::default()).map(drop).expect_err("its code is `unreachable`");
    assert!(matches!(error, StartError::Failed(CallError::Trap(_))), "{error}");
}

#[test]
fn what_is_no_component_is_called_by_its_name() {
    assert_eq!(refused(b""), LoadError::Empty);
    assert_eq!(refused(b"def process(batch):\n"), LoadError::NotWasm);
    assert_eq!(refused(b"(component)"), LoadError::NotWasm);
    assert_eq!(refused(b"\0asm\x01\0\0\0"), LoadError::CoreModule);
    assert!(matches!(refused(b"\0asm"), LoadError::Invalid(_)));
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0\xff"), LoadError::Invalid(_)));
    let missing = guests::engine().load_file(&root().join("tests/plugins/absent.wasm")).map(drop);
    assert!(matches!(missing, Err(LoadError::Unreadable { .. })));
}

#[test]
fn another_world_or_version_is_told_apart() {
    let LoadError::NoWorld { found } = refused(&component(UNCHANGED, "export extra;")) else { panic!("no world") };
    assert!(found.contains("extra"), "{found}");
    assert!(matches!(refused(b"\0asm\x0d\0\x01\0"), LoadError::NoWorld { found } if found == "nothing"));
    assert_eq!(refused(&component(UNCHANGED, "export fields; export messages;")), LoadError::BothWorlds);
    let newer = component(("plugin@0.1.0", "plugin@0.2.0"), FIELDS);
    assert_eq!(refused(&newer), LoadError::OtherVersion { found: "tidemill:plugin/fields@0.2.0".to_owned() });
}

#[test]
fn versions_match_by_semver() {
    let later = component(("plugin@0.1.0", "plugin@0.1.7"), "import state; export fields;");
    assert_eq!(load(&later).expect("a plugin").world, World::Fields);
}

#[test]
fn every_type_of_every_export_is_checked() {
    let changes = [
        ("    rows: u32,", "    rows: u64,"),
        ("    nulls: list<u32>,", "    nulls: list<u64>,"),
        ("    optional: bool,", "    optional: bool, unit: string,"),
        ("    ints(list<s64>),", "    ints(list<s32>),"),
        ("    ends: list<u32>,", "    ends: list<u32>, starts: list<u32>,"),
        ("    timestamp,", "    timestamp, uuid,"),
        ("    retry(string),", "    retry,"),
        ("    reason: string,", "    message: string,"),
        ("    deleted: list<u32>,", ""),
        ("  start: func() -> result<contract, string>;", ""),
        ("  start: func() -> result<contract, string>;", "  start: func() -> contract;"),
        ("  start: func() -> result<contract, string>;", "  start: func(name: string) -> result<contract, string>;"),
        ("  process: func(batch: batch) -> result<outcome, failure>;", "  process: func(batch: batch) -> outcome;"),
    ];
    for change in changes {
        let error = refused(&component(change, FIELDS));
        assert!(matches!(error, LoadError::WrongType { .. }), "{change:?}: {error}");
    }
    let changes = [("    offset: s64,", "    offset: u64,"), ("    emit-many(list<message>),", "    emit-many(message),")];
    for change in changes {
        let error = refused(&component(change, "export messages;"));
        assert!(matches!(&error, LoadError::WrongType { export, .. } if export.contains("messages")), "{change:?}: {error}");
    }
}

#[test]
fn an_import_that_the_host_lacks_is_named() {
    let LoadError::MissingImport(what) = refused(&component(UNCHANGED, "import extra; export fields;")) else {
        panic!("a missing import")
    };
    assert!(what.contains("tidemill:plugin/extra"), "{what}");
}

/// Some prefixes of a component are valid components (25 of 527 of one); none is half a plugin.
#[test]
fn a_file_cut_short_is_no_plugin() {
    let whole = component(UNCHANGED, FIELDS);
    for length in 0..whole.len() {
        if let Ok(plugin) = load(&whole[..length]) {
            assert_eq!(plugin.world, World::Fields, "cut at {length} of {}", whole.len());
        }
    }
}

#[test]
fn contracts_that_cannot_be_kept_are_refused() {
    let plugin = guests::plugin("tests/guests/fault");
    let start = |names: &str| {
        let settings = [("names".to_owned(), names.to_owned())].into();
        plugin.instantiate(&InstanceConfig { settings, ..InstanceConfig::default() }).map(|instance| instance.contract().clone())
    };
    let kept = start("did=a.b, payload_length=a.bc, do=@header.x.y, key_seen=@key");
    assert!(matches!(kept, Err(StartError::BadContract(reason)) if reason.contains("@header.x.y") && reason.contains("bytes")));
    let kept = start("did=a.b, payload_length=a.bc, key_seen=@header.trace").expect("a contract");
    assert_eq!(kept.writes.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["a.b", "a.bc", "@header.trace"]);

    for (names, told) in [
        ("did=", "dotted path"),
        ("did=a..b", "dotted path"),
        ("did=a.", "dotted path"),
        ("did=payload_length", "twice"),
        ("do=payload", "twice"),
        ("did=a, payload_length=a.b.c", "inside it"),
        ("payload_length=@offset", "belongs to the topic"),
        ("did=@key", "bytes"),
        ("do=@kye", "@timestamp"),
        ("do=@timestamp", "timestamp"),
        ("did=a\u{7}b", "dotted path"),
    ] {
        let error = start(names).expect_err(names);
        assert!(matches!(&error, StartError::BadContract(reason) if reason.contains(told)), "{names:?}: {error}");
    }
}
