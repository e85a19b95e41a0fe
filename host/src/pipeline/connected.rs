//! What can only be known by asking: whether the topic and the tables of a pipeline are there, and are what its file says. Everything
//! is asked, nothing is changed.

use crate::config::Places;
use crate::config::diagnostic::{self, Diagnostic};
use crate::config::plan::Pipeline;
use crate::sink;
use crate::topic;

/// All that differs, each with its place in the file and what to do; in the order of the file.
pub async fn check(plan: &Pipeline, places: &Places) -> Vec<Diagnostic> {
    let sinks = plan.sinks.iter().map(|plan| sink::check(plan, places));
    let (sinks, topic) = futures_util::future::join(futures_util::future::join_all(sinks), topic::check(plan, places)).await;
    let mut found = sinks.concat();
    found.extend(topic);
    diagnostic::sort(&mut found);
    found
}
