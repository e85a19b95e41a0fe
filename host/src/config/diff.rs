//! What a changed pipeline file means for the pipeline that runs.

use secrecy::{ExposeSecret, SecretString};

use super::plan::{Pipeline, SourceKind, SourcePlan};

/// How a pipeline that runs becomes the one of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// At most its stages differ: they are swapped while records flow.
    Stages,
    /// These parts as well: drained, and started again in place.
    Restart(Vec<&'static str>),
    /// It is another pipeline, which this host cannot become.
    Another(String),
}

pub fn difference(running: &Pipeline, wanted: &Pipeline) -> Difference {
    if running.name != wanted.name {
        return Difference::Another(format!(
            "the pipeline's name was `{}` and is `{}`: its store is another one, start another host for it",
            running.name, wanted.name
        ));
    }
    // Plans are plain values, and print all of themselves but for secrets.
    let same = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") == format!("{b:?}");
    let parts = [
        ("source", same(&running.source, &wanted.source) && same_secrets(running.source.as_ref(), wanted.source.as_ref())),
        ("topic", same(&running.topic, &wanted.topic)),
        ("sinks", same(&running.sinks, &wanted.sinks)),
        ("dead letters", same(&running.dead_letters, &wanted.dead_letters)),
        ("dashboard", same(&running.dashboard, &wanted.dashboard)),
    ];
    let changed: Vec<&str> = parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect();
    if changed.is_empty() { Difference::Stages } else { Difference::Restart(changed) }
}

fn same_secrets(running: Option<&SourcePlan>, wanted: Option<&SourcePlan>) -> bool {
    fn secrets(source: Option<&SourcePlan>) -> Vec<&(String, SecretString)> {
        match source.map(|source| &source.kind) {
            Some(SourceKind::Http(http)) => http.headers.iter().chain(&http.query).collect(),
            _ => Vec::new(),
        }
    }
    let (running, wanted) = (secrets(running), secrets(wanted));
    running.len() == wanted.len()
        && running.iter().zip(wanted).all(|(a, b)| a.0 == b.0 && a.1.expose_secret() == b.1.expose_secret())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{LoadOptions, read};

    const FILE: &str = "name = \"p\"\n[source]\nkind = \"http\"\nurl = \"http://localhost/\"\nheaders = { key = { env = \"KEY\" } }\n\
        [[sink]]\nname = \"s\"\nat = \"null\"\n";

    fn plan(text: &str, key: &str) -> Pipeline {
        let env = |_: &str| Some(key.to_owned());
        read(Path::new("p.toml"), text, &LoadOptions::new(&env)).unwrap_or_else(|found| panic!("{found:?}")).pipeline
    }

    fn to(text: &str, key: &str) -> Difference {
        difference(&plan(FILE, "a"), &plan(text, key))
    }

    #[test]
    fn stages_are_swapped_and_the_rest_is_restarted() {
        assert_eq!(to(FILE, "a"), Difference::Stages);
        assert_eq!(to(&format!("{FILE}[[stage]]\nname = \"x\"\nplugin = \"x.wasm\"\n"), "a"), Difference::Stages);
        assert_eq!(to(&FILE.replace("localhost", "localhost:1"), "a"), Difference::Restart(vec!["source"]));
        assert_eq!(
            to(&format!("{FILE}[topic]\npartitions = 2\n[dead-letters]\nstop-when = \"never\"\n"), "a"),
            Difference::Restart(vec!["topic", "dead letters"])
        );
        assert!(matches!(to(&FILE.replace("\"p\"", "\"q\""), "a"), Difference::Another(why) if why.contains("`q`")));
    }

    #[test]
    fn another_secret_is_a_change_though_nothing_prints_it() {
        assert_eq!(to(FILE, "b"), Difference::Restart(vec!["source"]));
    }
}
