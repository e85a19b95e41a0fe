//! What a component was written in, from the `producers` sections that toolchains leave.

use wasmparser::{KnownCustom, Parser, Payload};

/// The language of a component, or `unknown`. It is only shown to people: nothing is decided by it.
pub(super) fn language(component: &[u8]) -> String {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { break };
        let Payload::CustomSection(section) = payload else { continue };
        let KnownCustom::Producers(fields) = section.as_known() else { continue };
        for field in fields.into_iter().flatten() {
            let values = field.values.into_iter().flatten().map(|value| value.name.to_owned());
            found.extend(values.map(|value| (field.name.to_owned(), value)));
        }
    }
    let has = |word: &str| found.iter().any(|(_, value)| value.to_ascii_lowercase().contains(word));
    // An interpreter is written in another language than the plugin: look for it first.
    for (word, language) in [("componentize-py", "Python"), ("componentize-qjs", "JavaScript"), ("componentize-js", "JavaScript")]
    {
        if has(word) {
            return language.to_owned();
        }
    }
    let language =
        found.iter().find(|(field, value)| field == "language" && !value.starts_with("C1") && !value.starts_with("C9"));
    let any = language.or_else(|| found.iter().find(|(field, _)| field == "language"));
    any.map_or_else(|| "unknown".to_owned(), |(_, value)| value.clone())
}
