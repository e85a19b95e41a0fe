//! What a changed pipeline file means for the pipeline that runs.

use super::plan::{Pipeline, StagePlan};

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
    let parts = [
        ("source", running.source == wanted.source),
        ("topic", running.topic == wanted.topic),
        ("sinks", running.sinks == wanted.sinks),
        ("dead letters", running.dead_letters == wanted.dead_letters),
        ("dashboard", running.dashboard == wanted.dashboard),
        ("values of grants", same_values(&running.stages, &wanted.stages)),
    ];
    let changed: Vec<&str> = parts.into_iter().filter(|(_, same)| !same).map(|(part, _)| part).collect();
    if changed.is_empty() { Difference::Stages } else { Difference::Restart(changed) }
}

/// Whether what is granted by the same names is the same. A generation knows grants by name, so that another value makes no other
/// generation: what was decided by the old one has to be settled first.
fn same_values(running: &[StagePlan], wanted: &[StagePlan]) -> bool {
    wanted.iter().all(|stage| {
        let before = running.iter().find(|before| before.name == stage.name);
        before.is_none_or(|before| before.grants.names() != stage.grants.names() || before.grants == stage.grants)
    })
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
        let (kafka, cassandra) = (
            FILE.replace(
                "[[sink]]",
                "[topic]\nat = \"kafka://k:1\"\nproperties = { \"sasl.password\" = { env = \"KEY\" } }\n[[sink]]",
            ),
            FILE.replace(
                "at = \"null\"",
                "at = \"cassandra://c:1\"\ntable = \"a.b\"\nusername = \"u\"\npassword = { env = \"KEY\" }\n\
                 columns = { id = { field = \"id\", key = \"partition\" } }",
            ),
        );
        let stage = |grants: &str| {
            format!(
                "name = \"p\"\n[[stage]]\nname = \"x\"\nplugin = \"x.wasm\"\ngrants = {{ {grants} }}\n[[sink]]\nname = \"s\"\nat = \"null\"\n"
            )
        };
        let header = stage("http = [{ url = \"https://a.b\", headers = { key = { env = \"KEY\" } } }]");
        let env = stage("env = [\"KEY\"]");
        for (text, part) in [
            (FILE, "source"),
            (&kafka, "topic"),
            (&cassandra, "sinks"),
            (&header, "values of grants"),
            (&env, "values of grants"),
        ] {
            let (running, wanted) = (plan(text, "hush-1"), plan(text, "hush-2"));
            let parts = match difference(&running, &wanted) {
                Difference::Restart(parts) => parts,
                other => panic!("{other:?} for:\n{text}"),
            };
            assert!(parts.contains(&part), "{parts:?} for:\n{text}");
            assert_eq!(difference(&running, &plan(text, "hush-1")), Difference::Stages);
            assert!(!format!("{running:?}").contains("hush"), "{running:?}");
        }
    }

    #[test]
    fn a_granted_name_is_another_generation_and_another_value_of_it_is_not() {
        let file = |grant: &str| format!("{FILE}[[stage]]\nname = \"x\"\nplugin = \"x.wasm\"\ngrants = {{ http = [{grant}] }}\n");
        let to = |wanted: &str| difference(&plan(&file("{ url = \"https://a.b\" }"), "a"), &plan(&file(wanted), "a"));
        assert_eq!(to("{ url = \"https://a.b\", timeout = \"7s\" }"), Difference::Restart(vec!["values of grants"]));
        assert_eq!(to("{ url = \"https://a.b\", response-limit = \"7 KiB\" }"), Difference::Restart(vec!["values of grants"]));
        assert_eq!(to("{ url = \"https://a.c\", timeout = \"7s\" }"), Difference::Stages);
    }
}
