//! Where a component may be cut short.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload};

/// Bytes around each boundary.
const AROUND: usize = 8;

/// Where sections begin and end, those of inner modules and components too; and from where on there are only custom sections, which
/// hold names and no code.
pub fn boundaries(component: &[u8]) -> (BTreeSet<usize>, usize) {
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

/// Whether `TIDEMILL_PREFIXES=all` is asked for.
pub fn every() -> bool {
    std::env::var("TIDEMILL_PREFIXES").is_ok_and(|which| which == "all")
}

/// Those of [`some`]; every one with `TIDEMILL_PREFIXES=all`.
pub fn lengths(component: &[u8], boundaries: &BTreeSet<usize>, random: u64) -> BTreeSet<usize> {
    if every() { (0..component.len()).collect() } else { some(component, boundaries, random) }
}

/// Around each boundary, and so many at random (seed printed, `TIDEMILL_PREFIX_SEED` repeats a run).
pub fn some(component: &[u8], boundaries: &BTreeSet<usize>, random: u64) -> BTreeSet<usize> {
    let mut lengths: BTreeSet<usize> =
        boundaries.iter().flat_map(|at| at.saturating_sub(AROUND)..=at + AROUND).filter(|at| *at < component.len()).collect();
    let given = std::env::var("TIDEMILL_PREFIX_SEED").ok().map(|seed| seed.parse().expect("TIDEMILL_PREFIX_SEED is a number"));
    let mut state: u64 = given.unwrap_or_else(|| jiff::Timestamp::now().as_nanosecond() as u64);
    println!("TIDEMILL_PREFIX_SEED={state}");
    lengths.extend((0..random).map(|_| {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % component.len() as u64) as usize
    }));
    lengths
}
