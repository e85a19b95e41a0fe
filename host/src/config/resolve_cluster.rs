//! What a sink says of its cluster and of the life of its rows.

use std::time::Duration;

use super::code;
use super::file::{SinkFile, TextOrSecret};
use super::plan::{ClusterPlan, Secret};
use super::resolve::Resolver;
use super::written::Written;

/// Cassandra's own bound: twenty years of 365 days.
const TTL_MAX: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

impl Resolver<'_> {
    /// Keys that only tables have are told where the sink is none; a table may move between cluster and store, so that both take all.
    pub(super) fn only_for_tables(&mut self, sink: &SinkFile) {
        let written = [
            ("ttl", sink.ttl.as_ref().map(|key| &key.span)),
            ("receipts", sink.receipts.as_ref().filter(|receipts| receipts.value).map(|key| &key.span)),
            ("username", sink.username.as_ref().map(|key| &key.span)),
            ("password", sink.password.as_ref().map(|key| &key.span)),
            ("consistency", sink.consistency.as_ref().map(|key| &key.span)),
            ("datacenter", sink.datacenter.as_ref().map(|key| &key.span)),
            ("in-flight", sink.in_flight.as_ref().map(|key| &key.span)),
            ("replication", sink.replication.as_ref().map(|key| &key.span)),
        ];
        for (key, span) in written.into_iter().filter_map(|(key, span)| Some((key, span?.clone()))) {
            self.warn(code::KEY_NOT_USED, format!("`{key}` is not used by a sink that is no table"), &span, "remove it");
        }
    }

    pub(super) fn ttl(&mut self, written: Option<&Written<super::written::HumanDuration>>) -> Option<Duration> {
        let written = written?;
        let ttl = written.value.0;
        if ttl.subsec_nanos() != 0 || !(Duration::from_secs(1)..=TTL_MAX).contains(&ttl) {
            let way = "as in: ttl = \"30d\"";
            self.error(code::OUT_OF_RANGE, "`ttl` is whole seconds, from 1s to 7300d", &written.span, way);
        }
        Some(ttl)
    }

    pub(super) fn cluster(&mut self, sink: &SinkFile) -> ClusterPlan {
        let mut plan = ClusterPlan { credentials: self.credentials(sink), ..ClusterPlan::default() };
        if let Some(consistency) = &sink.consistency {
            plan.consistency = consistency.value;
        }
        if let Some(in_flight) = &sink.in_flight {
            plan.in_flight = in_flight.value;
        }
        if let Some(datacenter) = &sink.datacenter {
            self.datacenter(&datacenter.value, datacenter);
            plan.datacenter = Some(datacenter.value.clone());
        }
        if let Some(replication) = &sink.replication {
            let by_datacenter = &replication.value.0;
            let whole = by_datacenter.iter().any(|(name, _)| name.value == "replication_factor");
            let copies = by_datacenter.iter().all(|(_, copies)| (1..=100).contains(&copies.value));
            if by_datacenter.is_empty() || (whole && by_datacenter.len() > 1) || !copies {
                let way = "write { replication_factor = 3 }, or { dc1 = 3, dc2 = 2 }";
                let message = "`replication` is one number from 1 to 100 for each data centre, or for all of them";
                self.error(code::OUT_OF_RANGE, message, &replication.span, way);
            }
            for (name, _) in by_datacenter {
                self.datacenter(&name.value, name);
            }
            plan.replication = by_datacenter.iter().map(|(name, copies)| (name.value.clone(), copies.value)).collect();
        }
        plan
    }

    /// The name stands in a CQL text.
    fn datacenter(&mut self, name: &str, written: &Written<String>) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 100 || !name.chars().all(is_name) {
            let way = "as `nodetool status` shows it: letters, digits, `_`, `-` and `.`";
            self.error(code::BAD_NAME, format!("`{name}` is no name of a data centre"), &written.span, way);
        }
    }

    fn credentials(&mut self, sink: &SinkFile) -> Option<(Secret, Secret)> {
        let (username, password) = match (&sink.username, &sink.password) {
            (None, None) => return None,
            (Some(username), Some(password)) => (username, password),
            (Some(alone), None) | (None, Some(alone)) => {
                let (has, lacks) = if sink.username.is_some() { ("username", "password") } else { ("password", "username") };
                let way = format!("add it: {lacks} = {{ env = \"NAME\" }}");
                self.error(code::MISSING_KEY, format!("`{has}` needs `{lacks}` beside it"), &alone.span, way);
                return None;
            }
        };
        Some((self.text_or_secret(username)?, self.text_or_secret(password)?))
    }

    pub(super) fn text_or_secret(&mut self, written: &Written<TextOrSecret>) -> Option<Secret> {
        match &written.value {
            TextOrSecret::Text(text) => Some(Secret::from(text.clone())),
            TextOrSecret::Secret(secret) => self.secret(secret, &written.span),
        }
    }
}
