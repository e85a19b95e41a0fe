//! What `check --connect` says of a table: asked in the cluster, with the place in the pipeline file that it is about.

use super::fault::Fault;
use super::session;
use super::table::{self, Name};
use crate::config::diagnostic::Diagnostic;
use crate::config::plan::SinkPlan;
use crate::config::{Places, code};

pub(in crate::sink) async fn check(plan: &SinkPlan, hosts: &[String], table: &str, places: &Places) -> Vec<Diagnostic> {
    let name = Name::new(table);
    let at = |key: &str| places.value(&format!("sink.{}.{key}", plan.name));
    let read = async {
        let session = session::session(&plan.cluster, hosts, &name.keyspace).await?;
        table::read(&session, &name).await
    };
    let actual = match read.await {
        Ok(actual) => actual,
        Err(Fault::Transient(reason)) => {
            let message = format!("no host of sink `{}` answers: {reason}", plan.name);
            let help = "start it, or correct the address; a pipeline that runs waits for it";
            return vec![Diagnostic::error(code::CLUSTER_UNREACHABLE, message).at(at("at")).help(help)];
        }
        Err(Fault::Elsewhere(reason)) => {
            let message = format!("sink `{}`: {reason}", plan.name);
            let help = "name one of those, or leave `datacenter` out";
            return vec![Diagnostic::error(code::DATACENTER_MISSING, message).at(at("datacenter")).help(help)];
        }
        Err(Fault::Row(reason) | Fault::Invalid(reason) | Fault::Refused(reason) | Fault::Table(reason)) => {
            let key = if plan.cluster.credentials.is_some() { "username" } else { "at" };
            let message = format!("the cluster of sink `{}` refuses: {reason}", plan.name);
            let help =
                "username = { env = \"NAME\" }, password = { env = \"NAME\" }, of a user that may read the schema and write";
            return vec![Diagnostic::error(code::CLUSTER_REFUSES, message).at(at(key)).help(help)];
        }
    };
    let made = |code| plan.create && (code == code::KEYSPACE_MISSING || code == code::TABLE_MISSING);
    let differences = table::differences(plan, &name, &actual).into_iter().filter(|difference| !made(difference.code));
    differences
        .map(|difference| Diagnostic::error(difference.code, difference.message).at(at(&difference.key)).help(difference.help))
        .collect()
}
