//! `tidemill verify`: the proof that nothing is missing, nothing differs and nothing was made up.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::{Done, Exit, Failure, OrExit, Output, PipelineArgs, Progress, Tone, inspect};
use crate::config::plan::TopicAddress;
use crate::record::escape;
use crate::verify::{self, Finding, Findings, Report};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  tidemill verify pipelines/users.toml\n\n\
                  Exit 0: nothing wrong was found in what can be verified. Exit 1: something was. Exit 3: it could not be read. It reads only, and may run beside a host.")]
pub struct Args {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

pub fn run(args: Args, out: &Output) -> Result<Done, Failure> {
    let loaded = args.pipeline.load(out)?;
    let store_dir = args.pipeline.store_to_ask(&loaded);
    // Of a topic elsewhere, only components are looked for there.
    if loaded.pipeline.topic.at == TopicAddress::Embedded && !store_dir.join("store.db").exists() {
        let why =
            format!("there is no store in {} yet: run the pipeline first, or name its folder with --data", store_dir.display());
        return Err(Failure::new(Exit::Environment, why));
    }
    let evidence = verify::open(&loaded.pipeline, &store_dir).or_exit(Exit::Environment)?;
    let bar = Bar { out, shown: RefCell::new(None) };
    let report = verify::verify(&loaded.pipeline, evidence, inspect::engine()?, &bar).or_exit(Exit::Environment)?;
    drop(bar);
    print(&report, out);
    let summary = summary(&report);
    let result = json!(report);
    match report.is_clean() {
        true => Ok(Done::new(summary, result)),
        false => Err(Failure::new(Exit::Failed, summary).with_result(result)),
    }
}

fn summary(report: &Report) -> String {
    let Report { pipeline, records, rows, dead_letters, .. } = report;
    let wrong: Vec<String> = report
        .findings()
        .iter()
        .filter(|(_, found)| found.count > 0)
        .map(|(kind, found)| format!("{} {kind}", found.count))
        .collect();
    let verdict = if wrong.is_empty() { "nothing missing, differing or invented".to_owned() } else { wrong.join(", ") };
    let unverifiable = match report.unverifiable() {
        0 => String::new(),
        count => format!("; {count} cannot be verified"),
    };
    format!("{pipeline}: {records} records, {rows} rows, {dead_letters} dead letters compared: {verdict}{unverifiable}")
}

fn print(report: &Report, out: &Output) {
    for (kind, findings) in report.findings() {
        if findings.count > 0 {
            print_findings(kind, findings, out);
        }
    }
    let note = |count: u64, what: &str| {
        if count > 0 {
            out.line(format!("{} {count} {}", out.paint(Tone::Warn, "!"), escape(what)));
        }
    };
    note(report.re_decided, "records were decided twice, because the code that decided them first was gone");
    note(report.refused, "records were refused by a server for their own sake; their other rows stand");
    for (why, count) in &report.unverifiable {
        note(*count, &format!("cannot be verified: {why}"));
    }
    note(report.moved, "rows were written meanwhile, and compared with what they had become");
    note(report.waiting, "records of the topic are not settled yet");
    if !report.not_compared.is_empty() {
        out.line(out.paint(Tone::Faint, format!("not compared, being no tables: {}", report.not_compared.join(", "))));
    }
    if report.is_clean() {
        out.line(format!("{} {}", out.paint(Tone::Good, "✓"), summary(report)));
    }
}

fn print_findings(kind: &str, findings: &Findings, out: &Output) {
    out.line(format!("{} {}", out.paint(Tone::Bad, "✗"), out.paint(Tone::Strong, format!("{} {kind}", findings.count))));
    for Finding { what, record, differs } in &findings.first {
        let by = record.map_or(String::new(), |place| format!("  (record {}/{})", place.partition, place.offset));
        out.line(format!("    {}{}", escape(what), out.paint(Tone::Faint, by)));
        for difference in differs {
            let text = |value: &Value| escape(&value.to_string()).into_owned();
            out.line(format!(
                "        {}: expected {}, found {}",
                escape(&difference.what),
                text(&difference.expected),
                text(&difference.found)
            ));
        }
    }
    let more = findings.count - findings.first.len() as u64;
    if more > 0 {
        out.line(out.paint(Tone::Faint, format!("    and {more} more")));
    }
}

struct Bar<'a> {
    out: &'a Output,
    shown: RefCell<Option<Progress>>,
}

impl verify::Progress for Bar<'_> {
    fn begin(&self, what: &str, total: Option<u64>) {
        // The one before is taken off first.
        self.shown.take();
        self.shown.replace(Some(self.out.progress(what, total)));
    }

    fn add(&self, done: u64) {
        if let Some(bar) = &*self.shown.borrow() {
            bar.add(done);
        }
    }
}
