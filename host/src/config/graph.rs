//! The chain as it is planned, drawn: as text, as Mermaid, or for Graphviz. Pure functions of the plan and its fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::{Checked, Station};
use super::plan::{Pipeline, SinkAddress, SourceKind, TopicAddress};
use super::units::duration_text;

/// How a graph is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Mermaid,
    Dot,
}

struct Node {
    id: String,
    title: String,
    detail: String,
}

struct Edge {
    from: usize,
    to: usize,
    /// `name: kind`, what goes along.
    fields: Vec<String>,
}

/// Draws the pipeline. `checked` is empty where the contracts are not known: then there are no fields along the edges.
pub fn graph(pipeline: &Pipeline, checked: &Checked, format: Format) -> String {
    let (nodes, edges) = parts(pipeline, checked);
    match format {
        Format::Text => text(&nodes, &edges),
        Format::Mermaid => mermaid(&nodes, &edges),
        Format::Dot => dot(&pipeline.name, &nodes, &edges),
    }
}

fn parts(pipeline: &Pipeline, checked: &Checked) -> (Vec<Node>, Vec<Edge>) {
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    let node = |id: String, title: String, detail: String| Node { id, title, detail };
    if let Some(source) = &pipeline.source {
        let detail = match &source.kind {
            SourceKind::RandomUser(kind) => format!("{}, seed {}", kind.url.host_str().unwrap_or_default(), kind.seed),
            SourceKind::Http(kind) => kind.url.host_str().unwrap_or_default().to_owned(),
            SourceKind::File(kind) => kind.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            SourceKind::Generator(kind) => format!("seed {}", kind.seed),
        };
        let wait = match &source.schedule.trigger {
            super::plan::Trigger::Every(wait) => format!("every {}", duration_text(*wait)),
            super::plan::Trigger::Cron { pattern, .. } => pattern.clone(),
        };
        nodes.push(node("source".to_owned(), format!("source {}", source.kind.name()), format!("{detail}, {wait}")));
        let key = pipeline.topic.key.as_ref().map(|key| vec![format!("key: {key}")]).unwrap_or_default();
        edges.push(Edge { from: 0, to: 1, fields: key });
    }
    let topic = nodes.len();
    let at = match &pipeline.topic.at {
        TopicAddress::Embedded => "embedded".to_owned(),
        TopicAddress::Kafka(cluster) => format!("kafka {}", cluster.brokers.join(", ")),
    };
    let partitions = if pipeline.topic.partitions == 1 { "partition" } else { "partitions" };
    nodes.push(node(
        "topic".to_owned(),
        format!("topic {}", pipeline.topic.name),
        format!("{at}, {} {partitions}", pipeline.topic.partitions),
    ));
    for (index, stage) in pipeline.stages.iter().enumerate() {
        let plugin = match &stage.plugin {
            super::plan::PluginPath::Directory(path) | super::plan::PluginPath::Component(path) => path,
        };
        let plugin = plugin.file_name().unwrap_or_default().to_string_lossy().into_owned();
        nodes.push(node(format!("stage{index}"), format!("stage {}", stage.name), plugin));
    }
    let first_sink = nodes.len();
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let detail = match &sink.at {
            SinkAddress::Embedded { table } => format!("embedded table {table}"),
            SinkAddress::Cassandra { hosts, table } => format!("cassandra {} table {table}", hosts.join(", ")),
            SinkAddress::File { path } => format!("file {}", path.file_name().unwrap_or_default().to_string_lossy()),
            SinkAddress::Stdout => "stdout".to_owned(),
            SinkAddress::Topic { name, .. } | SinkAddress::KafkaTopic { name, .. } => format!("topic {name}"),
            SinkAddress::Null => "null".to_owned(),
            SinkAddress::Memory { name } => format!("memory {name}"),
        };
        nodes.push(node(format!("sink{index}"), format!("sink {}", sink.name), detail));
    }

    let number = |station: Station| match station {
        Station::Topic => topic,
        Station::Stage(index) => topic + 1 + index,
        Station::Sink(index) => first_sink + index,
    };
    let mut along: BTreeMap<(usize, usize), Vec<String>> = BTreeMap::new();
    for flow in &checked.flows {
        let optional = if flow.field.optional { "?" } else { "" };
        let text = format!("{}: {}{optional}", flow.field.name, flow.field.kind);
        along.entry((number(flow.from), number(flow.to))).or_default().push(text);
    }
    // A record goes through every stage, also where none of its fields is known.
    let chain: Vec<usize> = (topic..first_sink).collect();
    for pair in chain.windows(2) {
        along.entry((pair[0], pair[1])).or_default();
    }
    let last = first_sink - 1;
    for (index, sink) in pipeline.sinks.iter().enumerate() {
        let whole = sink.columns.is_empty().then(|| "whole record".to_owned());
        if whole.is_some() || !along.keys().any(|(_, to)| *to == first_sink + index) {
            along.entry((last, first_sink + index)).or_default().extend(whole);
        }
    }
    edges.extend(along.into_iter().map(|((from, to), fields)| Edge { from, to, fields }));
    (nodes, edges)
}

fn text(nodes: &[Node], edges: &[Edge]) -> String {
    let mut out = String::new();
    for (index, node) in nodes.iter().enumerate() {
        let _ = writeln!(out, "{} ({})", node.title, node.detail);
        for edge in edges.iter().filter(|edge| edge.from == index) {
            let _ = writeln!(out, "  └─► {}", nodes[edge.to].title);
            for line in wrapped(&edge.fields, 100) {
                let _ = writeln!(out, "        {line}");
            }
        }
    }
    out
}

fn wrapped(fields: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for field in fields {
        match lines.last_mut() {
            Some(line) if line.len() + field.len() + 2 <= width => {
                line.push_str(", ");
                line.push_str(field);
            }
            _ => lines.push(field.clone()),
        }
    }
    lines
}

fn mermaid(nodes: &[Node], edges: &[Edge]) -> String {
    // Mermaid reads quotes and brackets as its own; entities are its way to show them.
    let safe = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;");
    let mut out = "flowchart LR\n".to_owned();
    for node in nodes {
        let _ = writeln!(out, "  {}[\"{}<br/>{}\"]", node.id, safe(&node.title), safe(&node.detail));
    }
    for edge in edges {
        let (from, to) = (&nodes[edge.from].id, &nodes[edge.to].id);
        match edge.fields.as_slice() {
            [] => {
                let _ = writeln!(out, "  {from} --> {to}");
            }
            fields => {
                let fields: Vec<String> = fields.iter().map(|field| safe(field)).collect();
                let _ = writeln!(out, "  {from} -- \"{}\" --> {to}", fields.join("<br/>"));
            }
        }
    }
    out
}

fn dot(name: &str, nodes: &[Node], edges: &[Edge]) -> String {
    let safe = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", safe(name));
    for node in nodes {
        let _ = writeln!(out, "  {} [label=\"{}\\n{}\"];", node.id, safe(&node.title), safe(&node.detail));
    }
    for edge in edges {
        let fields: Vec<String> = edge.fields.iter().map(|field| safe(field)).collect();
        let _ = writeln!(out, "  {} -> {} [label=\"{}\"];", nodes[edge.from].id, nodes[edge.to].id, fields.join("\\n"));
    }
    out.push_str("}\n");
    out
}
