//! Addresses: `embedded`, `kafka://host:port,…`, `cassandra://host:port,…`, `file:path`, `stdout`, `topic:name`, `null`, `memory:name`.

use super::plan::{KafkaPlan, TopicAddress};

/// A sink's address, before its table is looked at.
#[derive(Debug, PartialEq, Eq)]
pub enum SinkAt {
    Embedded,
    Cassandra(Vec<String>),
    File(String),
    Stdout,
    Topic(String),
    Null,
    Memory(String),
}

/// Why an address cannot be used, and the way out.
pub type AddressError = (String, String);

pub fn topic(text: &str) -> Result<TopicAddress, AddressError> {
    let forms = "a topic is at \"embedded\", or \"kafka://host1:9092,host2:9092\"";
    match text.split_once(':') {
        None if text == "embedded" => Ok(TopicAddress::Embedded),
        Some(("kafka", rest)) => Ok(TopicAddress::Kafka(KafkaPlan::new(hosts(text, rest, 9092)?))),
        _ => {
            Err((format!("`{text}` is no address of a topic"), near(text, &["embedded", "kafka://"]).unwrap_or(forms.to_owned())))
        }
    }
}

pub fn sink(text: &str) -> Result<SinkAt, AddressError> {
    let forms = "a sink is at \"embedded\", \"cassandra://host:9042\", \"file:path\", \"stdout\", \"topic:name\", \"null\" or \"memory:name\"";
    let (scheme, rest) = text.split_once(':').map_or((text, None), |(scheme, rest)| (scheme, Some(rest)));
    match (scheme, rest) {
        ("embedded", None) => Ok(SinkAt::Embedded),
        ("stdout", None) => Ok(SinkAt::Stdout),
        ("null", None) => Ok(SinkAt::Null),
        ("cassandra", Some(rest)) => hosts(text, rest, 9042).map(SinkAt::Cassandra),
        ("file" | "topic" | "memory", None | Some("")) => {
            let what = if scheme == "file" { "path" } else { "name" };
            Err((format!("`{text}` has no {what}"), format!("write \"{scheme}:{what}\"")))
        }
        ("file", Some(path)) => Ok(SinkAt::File(path.strip_prefix("//").unwrap_or(path).to_owned())),
        ("topic", Some(name)) if is_topic_name(name) => Ok(SinkAt::Topic(name.to_owned())),
        ("topic", Some(name)) => Err((format!("`{name}` is no name of a topic"), TOPIC_NAME.to_owned())),
        ("memory", Some(name)) => Ok(SinkAt::Memory(name.to_owned())),
        ("kafka", Some(_)) => Err((
            "a sink cannot be a Kafka address".to_owned(),
            "write \"topic:name\": a topic sink is where the pipeline's topic is".to_owned(),
        )),
        _ => {
            let known = ["embedded", "cassandra://", "file:", "stdout", "topic:", "null", "memory:"];
            Err((format!("`{text}` is no address of a sink"), near(text, &known).unwrap_or(forms.to_owned())))
        }
    }
}

pub const TOPIC_NAME: &str = "letters, digits, `.`, `_` and `-`, at most 200 of them";

/// Kafka's rule, with room for the names that are made of it (`<name>.dead-letters`).
pub fn is_topic_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..")
        && name.len() <= 200
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn hosts(address: &str, rest: &str, port: u16) -> Result<Vec<String>, AddressError> {
    let scheme = address.split(':').next().unwrap_or_default();
    let form = format!("write \"{scheme}://host1:{port},host2:{port}\"");
    let Some(list) = rest.strip_prefix("//") else {
        return Err((format!("`{address}` is not of the form {scheme}://host:port"), form));
    };
    let mut hosts = Vec::new();
    for entry in list.split(',') {
        let entry = entry.trim();
        let (host, given) = match entry.rsplit_once(':') {
            // A bare IPv6 address is all colons; with a port it stands in brackets.
            Some((host, given)) if !host.contains(':') || host.ends_with(']') => (host, Some(given)),
            _ => (entry, None),
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':');
        if host.is_empty() || !host.chars().all(allowed) {
            return Err((format!("`{entry}` is no host in `{address}`"), form));
        }
        match given.map(str::parse::<u16>) {
            Some(Err(_)) | Some(Ok(0)) => return Err((format!("`{entry}` has no port from 1 to 65,535"), form)),
            Some(Ok(given)) => hosts.push(format!("{host}:{given}")),
            None => hosts.push(format!("{host}:{port}")),
        }
    }
    Ok(hosts)
}

fn near(text: &str, known: &[&str]) -> Option<String> {
    let head = text.find(':').map_or(text, |at| &text[..at]);
    let heads: Vec<&str> = known.iter().map(|form| form.trim_end_matches(['/', ':'])).collect();
    let found = super::diagnostic::nearest(head, &heads)?;
    let form = known.iter().find(|form| form.trim_end_matches(['/', ':']) == found)?;
    Some(format!("did you mean `{form}{}`?", if form.ends_with([':', '/']) { "…" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        assert_eq!(topic("embedded"), Ok(TopicAddress::Embedded));
        let brokers = vec!["h1:9092".to_owned(), "h2:9093".to_owned()];
        assert_eq!(topic("kafka://h1,h2:9093"), Ok(TopicAddress::Kafka(KafkaPlan::new(brokers))));
        assert_eq!(sink("cassandra://[::1]:9043"), Ok(SinkAt::Cassandra(vec!["[::1]:9043".to_owned()])));
        assert_eq!(sink("file:out/users.ndjson"), Ok(SinkAt::File("out/users.ndjson".to_owned())));
        assert_eq!(sink("topic:users.clean"), Ok(SinkAt::Topic("users.clean".to_owned())));
        for wrong in ["kafka:h1", "kafka://", "kafka://h1:0", "kafka://h1:port", "memory", "mongodb://h"] {
            assert!(topic(wrong).is_err(), "{wrong}");
        }
        for wrong in ["file:", "topic:a b", "kafka://h1", "cassandra://user@h", "memory", "sqlite"] {
            assert!(sink(wrong).is_err(), "{wrong}");
        }
    }
}
