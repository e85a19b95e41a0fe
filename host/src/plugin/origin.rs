//! What a component was written in, from what toolchains leave in it.

use memchr::memmem;
use wasmparser::{KnownCustom, Parser, Payload};

/// Interpreters that plugins carry along. They are written in another language than the plugin, so they are looked for first; they are
/// linked into the component under these names.
const INTERPRETERS: [(&str, &str); 3] =
    [("componentize_py_runtime", "Python"), ("componentize_qjs_runtime", "JavaScript"), ("componentize-js", "JavaScript")];

/// The language of a component, or `unknown`. It is shown to people, and tells which imports are a toolchain's habit; a component that names
/// another gains nothing, since what is not granted does nothing.
pub(super) fn language(component: &[u8]) -> String {
    for (name, language) in INTERPRETERS {
        if memmem::find(component, name.as_bytes()).is_some() {
            return language.to_owned();
        }
    }
    named_by_producers(component).unwrap_or_else(|| "unknown".to_owned())
}

/// The first `language` of a `producers` section; a C library that is linked in comes after the plugin's own language.
fn named_by_producers(component: &[u8]) -> Option<String> {
    for payload in Parser::new(0).parse_all(component) {
        let Payload::CustomSection(section) = payload.ok()? else { continue };
        let KnownCustom::Producers(fields) = section.as_known() else { continue };
        for field in fields.into_iter().flatten().filter(|field| field.name == "language") {
            let names: Vec<&str> = field.values.into_iter().flatten().map(|value| value.name).collect();
            let own = names.iter().find(|name| **name == "Rust").or(names.first());
            if let Some(name) = own {
                return Some(super::log::printable(name));
            }
        }
    }
    None
}
