//! A file that is not all there is no plugin, wherever it is cut: at every section's boundary and around it, and at random places (seed printed,
//! `TIDEMILL_PREFIX_SEED` repeats a run). `.ci/prefixes` tries every single length.

use std::collections::BTreeSet;

use tidemill::plugin::Engine;
use wasmparser::{Parser, Payload};

use crate::support::guests;

/// Places at random in each component, and bytes around each boundary.
const RANDOM: u64 = 2_000;
const AROUND: usize = 8;

/// Where sections begin and end, those of inner modules and components too; and from where on there are only custom sections, which
/// hold names and no code.
fn boundaries(component: &[u8]) -> (BTreeSet<usize>, usize) {
    let mut boundaries = BTreeSet::new();
    let mut depth = 0;
    let mut complete_from = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.expect("the whole component is valid");
        if let Some((_, range)) = payload.as_section() {
            boundaries.extend([range.start, range.end]);
            if depth == 0 && !matches!(payload, Payload::CustomSection(_)) {
                complete_from = range.end;
            }
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            _ => {}
        }
    }
    (boundaries, complete_from)
}

fn lengths(component: &[u8], boundaries: &BTreeSet<usize>) -> BTreeSet<usize> {
    if std::env::var("TIDEMILL_PREFIXES").is_ok_and(|which| which == "all") {
        return (0..component.len()).collect();
    }
    let mut lengths: BTreeSet<usize> =
        boundaries.iter().flat_map(|at| at.saturating_sub(AROUND)..=at + AROUND).filter(|at| *at < component.len()).collect();
    let given = std::env::var("TIDEMILL_PREFIX_SEED").ok().map(|seed| seed.parse().expect("TIDEMILL_PREFIX_SEED is a number"));
    let mut state: u64 = given.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
    println!("TIDEMILL_PREFIX_SEED={state}");
    lengths.extend((0..RANDOM).map(|_| {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % component.len() as u64) as usize
    }));
    lengths
}

/// No prefix is loaded that lacks anything but names.
#[track_caller]
fn none_is_a_plugin(engine: &Engine, dir: &str) {
    let component = std::fs::read(guests::component(dir)).expect("read the component");
    let whole = engine.load(&component).expect("the whole component is a plugin");
    let (boundaries, complete_from) = boundaries(&component);
    let lengths = lengths(&component, &boundaries);
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
