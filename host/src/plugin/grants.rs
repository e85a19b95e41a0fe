//! What a plugin asks for, and what it is given. Nothing is given that its stage does not grant (invariant 7).
//!
//! Toolchains import much of WASI as a matter of course: it is linked, so that plugins instantiate, and does nothing without a grant. What goes
//! beyond that in a plugin's language is a wish. Files and variables are reached through what everybody imports, so they are no wishes:
//! without a grant there are none.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::http::Outbound;
use super::load::{LoadError, Plugin};
use super::origin;
use super::outline::Outline;
use crate::config::plan::Grants;

/// Packages of the contract itself, and those that every toolchain imports.
const CONTRACT: [&str; 3] = ["tidemill:plugin/", "wasi:config/", "wasi:logging/"];
const TOOLCHAINS: [&str; 5] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/"];
/// Languages whose interpreter or library imports sockets whatever the plugin does.
const IMPORT_SOCKETS: [&str; 4] = ["Python", "JavaScript", "Go", "C#"];

/// Something that a plugin cannot have without a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// Outgoing HTTP.
    Http,
    /// Raw sockets, which nobody is granted.
    Sockets,
}

impl Wish {
    /// How a person grants it, or what to do instead.
    pub fn way_out(self) -> &'static str {
        match self {
            Wish::Http => "grant the origins that it asks: grants = { http = [\"https://api.example.com\"] }",
            Wish::Sockets => "no stage can be granted raw sockets: let it ask over HTTP (wasi:http), which can be",
        }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wish::Http => "outgoing HTTP (`wasi:http`)",
            Wish::Sockets => "raw sockets (`wasi:sockets`)",
        })
    }
}

/// Why a component imports an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is part of the plugin contract.
    Contract,
    /// Its toolchain imports it as a matter of course.
    Toolchain,
    Wish(Wish),
    /// This host does not have it.
    Unknown,
}

/// Why a component in this language (as [`super::Plugin::language`] tells it) imports this interface.
pub fn reason(import: &str, language: &str) -> Reason {
    let of = |packages: &[&str]| packages.iter().any(|package| import.starts_with(package));
    match import {
        _ if of(&CONTRACT) => Reason::Contract,
        _ if of(&TOOLCHAINS) => Reason::Toolchain,
        _ if of(&["wasi:sockets/"]) && IMPORT_SOCKETS.contains(&language) => Reason::Toolchain,
        _ if of(&["wasi:sockets/"]) => Reason::Wish(Wish::Sockets),
        _ if of(&["wasi:http/"]) => Reason::Wish(Wish::Http),
        _ => Reason::Unknown,
    }
}

/// What a component asks for beyond what its language always imports; sorted, each once. Nothing of it is compiled.
///
/// # Errors
/// The bytes are no component.
pub fn imports(component: &[u8]) -> Result<Vec<Wish>, LoadError> {
    let outline = Outline::read(component)?;
    Ok(wishes(&outline.imports, &origin::language(component)))
}

/// Interfaces that a component imports and another one does not, in its own order.
pub fn gained(component: &[u8], before: &Plugin) -> Vec<String> {
    let mut imports = Outline::read(component).unwrap_or_default().imports;
    imports.retain(|import| !before.imports.contains(import));
    imports
}

pub(super) fn wishes(imports: &[String], language: &str) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = imports
        .iter()
        .filter_map(|import| match reason(import, language) {
            Reason::Wish(wish) => Some(wish),
            Reason::Contract | Reason::Toolchain | Reason::Unknown => None,
        })
        .collect();
    wishes.sort_unstable();
    wishes.dedup();
    wishes
}

/// The wishes that these grants do not fulfil: a plugin with any is not started.
pub fn missing(wishes: &[Wish], grants: &Grants) -> Vec<Wish> {
    let granted = |wish: &Wish| match wish {
        Wish::Http => !grants.http.is_empty(),
        Wish::Sockets => false,
    };
    wishes.iter().copied().filter(|wish| !granted(wish)).collect()
}

/// A stage's grants, ready for its instances. Cheap to clone; all instances share one HTTP client.
#[derive(Clone, Default)]
pub struct Granted(Arc<Shared>);

#[derive(Default)]
struct Shared {
    grants: Grants,
    outbound: OnceLock<Arc<Outbound>>,
}

impl Granted {
    pub fn new(grants: Grants) -> Granted {
        Granted(Arc::new(Shared { grants, outbound: OnceLock::new() }))
    }

    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// `None`: no HTTP is granted.
    pub(super) fn outbound(&self) -> Option<Arc<Outbound>> {
        let Shared { grants, outbound } = &*self.0;
        (!grants.http.is_empty()).then(|| outbound.get_or_init(|| Arc::new(Outbound::new(grants.http.clone()))).clone())
    }
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Granted").field(&self.0.grants).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_a_wish_where_the_toolchain_does_not_import_them() {
        let imports = ["wasi:sockets/tcp@0.2.6", "wasi:io/poll@0.2.6", "wasi:http/types@0.2.6", "tidemill:plugin/state@0.1.0"];
        let imports = imports.map(str::to_owned);
        assert_eq!(wishes(&imports, "Rust"), [Wish::Http, Wish::Sockets]);
        assert_eq!(wishes(&imports, "Python"), [Wish::Http]);
        assert_eq!(missing(&[Wish::Http, Wish::Sockets], &Grants::default()), [Wish::Http, Wish::Sockets]);
        assert_eq!(reason("acme:db/sql@1.0.0", "Rust"), Reason::Unknown);
    }
}
