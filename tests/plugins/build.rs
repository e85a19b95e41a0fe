//! Plugin directories become components, or the compiler's own words.

use std::fs;
use std::path::Path;

use tidemill::plugin::{BuildError, build_directory, component_path};

use crate::support::{guests, root};

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        fs::write(path, text).expect("write the file");
    }
    dir
}

const PACKAGE: &str = "[package]\nname = \"broken\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n";

#[test]
fn a_compilers_error_comes_with_file_and_line() {
    let manifest = format!("{PACKAGE}\n[lib]\ncrate-type = [\"cdylib\"]\n");
    let dir = directory(&[("Cargo.toml", &manifest), ("src/lib.rs", "pub fn f() -> u8 {\n    \"text\"\n}\n")]);
    let Err(BuildError::Failed { output, .. }) = build_directory(dir.path()) else { panic!("it does not compile") };
    assert!(output.contains("src/lib.rs:2:5") && output.contains("mismatched types"), "{output}");
    assert!(!component_path(dir.path()).exists());
}

#[test]
fn a_package_that_makes_no_component_is_told_what_is_missing() {
    let dir = directory(&[("Cargo.toml", PACKAGE), ("src/lib.rs", "")]);
    let error = build_directory(dir.path()).expect_err("no component");
    assert!(error.to_string().contains("cdylib"), "{error}");
}

#[test]
fn a_folder_without_a_recipe_is_refused() {
    let dir = directory(&[("plugin.py", "")]);
    assert!(matches!(build_directory(dir.path()), Err(BuildError::NoRecipe(_))));
}

#[test]
fn a_recipe_runs_its_program_and_names_what_it_makes() {
    let recipe = r#"
        build = ["cp", "source.${TIDEMILL_TEST_UNSET:-txt}", "made.wasm"]
        component = "made.wasm"
    "#;
    let dir = directory(&[("plugin.toml", recipe), ("source.txt", "component")]);
    assert_eq!(build_directory(dir.path()).expect("a component"), component_path(dir.path()));
    assert_eq!(fs::read_to_string(component_path(dir.path())).expect("the component"), "component");
}

#[test]
fn what_is_wrong_with_a_recipe_is_told() {
    let broken = |recipe: &str| build_directory(directory(&[("plugin.toml", recipe)]).path()).expect_err(recipe);
    assert!(
        matches!(broken("build = []\ncomponent = \"x\""), BuildError::Recipe { reason, .. } if reason.contains("no program"))
    );
    assert!(matches!(broken("buidl = []"), BuildError::Recipe { reason, .. } if reason.contains("buidl")));
    let unset = "build = [\"${TIDEMILL_TEST_UNSET}\"]\ncomponent = \"x\"";
    assert!(matches!(broken(unset), BuildError::Recipe { reason, .. } if reason.contains("TIDEMILL_TEST_UNSET")));
    let absent = "build = [\"tidemill-no-such-tool\"]\ncomponent = \"x\"";
    assert!(matches!(broken(absent), BuildError::Start { program, .. } if program == "tidemill-no-such-tool"));
    assert!(matches!(broken("build = [\"false\"]\ncomponent = \"x\""), BuildError::Failed { .. }));
    assert!(matches!(broken("build = [\"true\"]\ncomponent = \"x\""), BuildError::NoComponent { .. }));
}

#[test]
fn a_component_is_only_touched_when_it_changes() {
    let path = guests::component("tests/guests/fault");
    let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).expect("metadata");
    let before = modified(&path);
    assert_eq!(build_directory(&root().join("tests/guests/fault")).expect("a component"), path);
    assert_eq!(modified(&path), before);
}

/// A pipeline beside the plugin in `dir`, and `tidemill build` of it with `tools` before all others.
fn tidemill_build(dir: &Path, tools: Option<&Path>) -> (i32, String) {
    let pipeline = "name = \"p\"\n[source]\nkind = \"generator\"\n[[stage]]\nname = \"one\"\nplugin = \".\"\n\
                    [[sink]]\nname = \"nothing\"\nat = \"null\"\n";
    fs::write(dir.join("p.toml"), pipeline).expect("write the pipeline");
    let path = std::env::var("PATH").expect("a PATH");
    let path = tools.map_or(path.clone(), |tools| format!("{}:{path}", tools.display()));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidemill"));
    let ran = command.args(["build", "p.toml"]).current_dir(dir).env("PATH", path).output().expect("run tidemill");
    (ran.status.code().expect("an exit code"), String::from_utf8(ran.stderr).expect("text"))
}

#[test]
fn build_shows_the_compilers_lines_as_lines() {
    let manifest = format!("{PACKAGE}\n[lib]\ncrate-type = [\"cdylib\"]\n");
    let dir = directory(&[("Cargo.toml", &manifest), ("src/lib.rs", "pub fn f() -> u8 {\n    \"\u{1b}[31m\"\n}\n")]);
    let (exit, stderr) = tidemill_build(dir.path(), None);
    assert_eq!(exit, 1, "{stderr}");
    assert!(stderr.starts_with("error: build the plugin of stage `one`: "), "{stderr}");
    assert!(stderr.lines().any(|line| line.trim() == "--> src/lib.rs:2:5"), "{stderr}");
    assert!(!stderr.contains('\u{1b}') && !stderr.contains("\\n"), "{stderr}");
}

#[test]
fn a_target_that_is_missing_is_added_and_that_is_said() {
    let fake =
        |name: &str, script: &str| (format!("tools/{name}"), format!("#!/bin/sh\necho \"$0 $*\" >> \"{{log}}\"\n{script}\n"));
    let dir = directory(&[("Cargo.toml", PACKAGE), ("src/lib.rs", "")]);
    let log = dir.path().join("calls");
    // Nothing is installed, and cargo would fail: only what is asked of rustup counts here.
    for (name, script) in [fake("rustup", "exit 0"), fake("cargo", "echo no more >&2; exit 1")] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        fs::write(&path, script.replace("{log}", &log.display().to_string())).expect("write the script");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("make it executable");
    }
    let (exit, stderr) = tidemill_build(dir.path(), Some(&dir.path().join("tools")));
    assert!(exit == 1 && stderr.contains("no more"), "{stderr}");
    assert!(stderr.contains("adding the Rust target wasm32-wasip2"), "{stderr}");
    let calls = fs::read_to_string(&log).expect("the calls");
    let calls: Vec<&str> = calls.lines().filter_map(|line| line.rsplit('/').next()).collect();
    assert_eq!(calls[..2], ["rustup target list --installed", "rustup target add wasm32-wasip2"], "{calls:?}");
    assert!(calls[2].starts_with("cargo build --release --target wasm32-wasip2"), "{calls:?}");
}
