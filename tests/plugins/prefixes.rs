//! A file that is not all there is no plugin, wherever it is cut: at every section's boundary and around it, and at random places (seed printed,
//! `TIDEMILL_PREFIX_SEED` repeats a run). `.ci/prefixes` tries every single length.

use tidemill::plugin::Engine;

use crate::cuts::{boundaries, lengths};
use crate::support::guests;

/// Places at random in each component.
const RANDOM: u64 = 2_000;

/// No prefix is loaded that lacks anything but names.
#[track_caller]
fn none_is_a_plugin(engine: &Engine, dir: &str) {
    let component = std::fs::read(guests::component(dir)).expect("read the component");
    let whole = engine.load(&component).expect("the whole component is a plugin");
    let (boundaries, complete_from) = boundaries(&component);
    let lengths = lengths(&component, &boundaries, RANDOM);
    let mut loaded = 0;
    for length in &lengths {
        if let Ok(plugin) = engine.load(&component[..*length]) {
            assert!(*length >= complete_from, "{dir}: the first {length} of {} bytes are taken for a plugin", component.len());
            assert_eq!((plugin.world, &plugin.imports), (whole.world, &whole.imports));
            loaded += 1;
        }
    }
    println!("{dir}: {} prefixes of {} bytes, {loaded} lack nothing but names", lengths.len(), component.len());
    assert!(lengths.len() > 2_000, "this test looks at nothing");
}

#[test]
fn of_a_rust_component() {
    none_is_a_plugin(guests::engine(), "plugins/enrich-user");
}

#[test]
fn of_a_python_component() {
    if guests::has_tool("TIDEMILL_COMPONENTIZE_PY", "componentize-py") {
        none_is_a_plugin(guests::engine(), "plugins/enrich-user-python");
    }
}

#[test]
fn of_a_javascript_component() {
    if guests::has_tool("TIDEMILL_COMPONENTIZE_QJS", "componentize-qjs") {
        none_is_a_plugin(guests::engine(), "plugins/enrich-user-js");
    }
}
