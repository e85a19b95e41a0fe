//! The proof that a person can ask for any day: every record of the topic is decided again, by the generation that decided it, and
//! compared with what tables and dead letters hold (delivery §14).
//!
//! Topic, positions, tables and dead letters are read by [`evidence`] readers of its own. It works beside a running host: positions
//! are taken first, and what lies below them must be there; what is settled while the tables are read is decided afterwards, and
//! rows may be of either state. Memory is bounded: rows are compared by digest, sorted on disk ([`ledger`]).

mod cassandra;
mod cells;
mod decide;
mod embedded;
pub mod evidence;
mod kafka;
mod ledger;
mod letters;
mod open;
mod records;
mod report;
mod tables;

use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest, Sha256};

use self::decide::Decider;
use self::evidence::{Deletes, Error, Partition, Table, Topic};
use self::ledger::Ledger;
pub use self::open::{Evidence, open};
use self::records::{PAST_RETENTION, Stretch};
use self::report::Looked;
pub use self::report::{Difference, Finding, Findings, Report};
use crate::config::plan::{Pipeline, SinkAddress};
use crate::plugin::Engine;
use crate::record::Place;
use crate::topic::{Boundary, Figures};

/// Is told how far it is.
pub trait Progress {
    /// Something begins, of so many steps if that is known.
    fn begin(&self, what: &str, total: Option<u64>);
    fn add(&self, done: u64);
}

/// Compares everything that is settled.
pub fn verify(plan: &Pipeline, evidence: Evidence, engine: Engine, progress: &dyn Progress) -> Result<Report, Error> {
    let Evidence { topic, tables } = evidence;
    let verification = Verification {
        plan,
        topic,
        tables,
        decider: Decider::new(engine, &plan.sinks, &plan.stages),
        ledger: Rc::new(Ledger::open()?),
        report: Report { pipeline: plan.name.clone(), ..Report::default() },
        courses: BTreeMap::new(),
        now_micros: jiff::Timestamp::now().as_microsecond(),
        progress,
    };
    verification.run()
}

struct Verification<'a> {
    plan: &'a Pipeline,
    topic: Box<dyn Topic>,
    /// By the sink's place in the plan.
    tables: BTreeMap<usize, Box<dyn Table>>,
    decider: Decider,
    ledger: Rc<Ledger>,
    report: Report,
    /// Boundaries by partition, ascending.
    courses: BTreeMap<u32, Vec<Boundary>>,
    now_micros: i64,
    progress: &'a dyn Progress,
}

impl Verification<'_> {
    fn run(mut self) -> Result<Report, Error> {
        let before = self.topic.partitions()?;
        let records = before.iter().map(|partition| (partition.settled() - partition.first).max(0) as u64).sum();
        self.progress.begin("deciding records again", Some(records));
        self.note_courses(&before);
        for partition in &before {
            self.consistency(partition);
            let settled = partition.first..partition.settled();
            let counted = self.records(partition, settled, Stretch::Settled)?;
            // What has expired when it is decided is dropped: that depends on when.
            let expires = self.plan.sinks.iter().any(|sink| sink.ttl.is_some());
            if !counted.incomplete && !expires && partition.first == 0 {
                self.figures(partition, counted.figures);
            }
        }
        self.scan()?;
        let known = before.iter().map(|partition| (partition.number, partition.first..partition.settled())).collect();
        let strays = self.topic.strays(&known)?;
        // What was settled while tables were read, and what may have been written ahead of the position.
        let after = self.topic.partitions()?;
        self.note_courses(&after);
        for partition in &after {
            let from = before.iter().find(|before| before.number == partition.number).map_or(partition.first, Partition::settled);
            self.records(partition, from..partition.settled(), Stretch::Since)?;
            let reach = partition.position.as_ref().map_or(0, |position| position.reach).min(partition.end);
            self.records(partition, partition.settled()..reach, Stretch::Ahead)?;
            self.report.waiting += self.waiting(partition)?;
            self.report.re_decided += partition.position.as_ref().map_or(0, |position| position.figures.re_decided);
            self.report.partitions.push(Looked {
                partition: partition.number,
                first: partition.first,
                next: partition.settled(),
            });
        }
        self.strays(strays, &after);
        self.progress.begin("comparing rows", None);
        self.tables(&after)?;
        self.report.not_compared = self
            .plan
            .sinks
            .iter()
            .enumerate()
            .filter(|(at, _)| !self.tables.contains_key(at))
            .map(|(_, sink)| sink.name.clone())
            .collect();
        Ok(self.report)
    }

    fn scan(&mut self) -> Result<(), Error> {
        for (sink, table) in &mut self.tables {
            self.progress.begin(&format!("reading the rows of {}", self.plan.sinks[*sink].name), table.rows_expected());
            let (ledger, progress) = (&self.ledger, self.progress);
            table.scan(&mut |found| {
                progress.add(1);
                ledger.found(*sink, &found)
            })?;
        }
        Ok(())
    }

    /// What a partition says of itself.
    fn consistency(&mut self, partition: &Partition) {
        let mut contradictions = Vec::new();
        for pair in partition.boundaries.windows(2) {
            if pair[1].time < pair[0].write_time(pair[1].first) {
                contradictions.push(format!("write times go back from {:?} to {:?}", pair[0], pair[1]));
            }
        }
        if let Some(position) = &partition.position {
            if position.next > partition.end {
                contradictions.push(format!("it is settled up to {}, and the topic ends at {}", position.next, partition.end));
            }
            if position.reach < position.next {
                contradictions.push(format!("reach {} lies below the position {}", position.reach, position.next));
            }
            let lacks = |boundary: &&Boundary| boundary.first < position.next && !partition.boundaries.contains(boundary);
            contradictions.extend(
                position
                    .boundaries
                    .iter()
                    .filter(lacks)
                    .map(|boundary| format!("{boundary:?} of the position is not among the boundaries")),
            );
        }
        for what in contradictions {
            self.report.contradictory.add(|| Finding::new(format!("partition {}: {what}", partition.number)));
        }
    }

    /// Counted once per offset, however often a record was delivered.
    fn figures(&mut self, partition: &Partition, counted: Figures) {
        let Some(position) = &partition.position else { return };
        let saved = &position.figures;
        // Records above the position are counted too: a person moved it back.
        if saved.counted_below.is_some() {
            return;
        }
        let pairs = [
            ("emitted", counted.emitted, saved.emitted),
            ("dropped", counted.dropped, saved.dropped),
            ("deleted", counted.deleted, saved.deleted),
            ("rejected", counted.rejected, saved.rejected),
        ];
        let differs: Vec<Difference> = pairs
            .into_iter()
            .filter(|(_, counted, saved)| counted != saved)
            .map(|(what, counted, saved)| Difference::new(what, counted, saved))
            .collect();
        if !differs.is_empty() {
            self.report.differing.add(|| Finding::new(format!("figures of partition {}", partition.number)).differing(differs));
        }
    }

    /// Dead letters of records that were not looked at.
    fn strays(&mut self, strays: Vec<(u32, i64)>, after: &[Partition]) {
        for (number, offset) in strays {
            let partition = after.iter().find(|partition| partition.number == number);
            match partition {
                Some(partition) if offset < partition.first => self.report.cannot_judge(PAST_RETENTION, 1),
                Some(partition) if offset < partition.settled() => {}
                _ => self.report.invented.add(|| Finding::new(format!("dead letter {number}/{offset}: there is no such record"))),
            }
        }
    }

    fn note_courses(&mut self, partitions: &[Partition]) {
        self.courses = partitions.iter().map(|partition| (partition.number, partition.course())).collect();
    }

    fn boundary_of(&self, place: Place) -> Option<Boundary> {
        evidence::boundary_of(self.courses.get(&place.partition)?, place.offset)
    }

    fn table(&mut self, sink: usize) -> Option<&mut Box<dyn Table>> {
        self.tables.get_mut(&sink)
    }

    fn deletes(&self, sink: usize) -> Deletes {
        self.tables.get(&sink).map_or(Deletes::Gone, |table| table.deletes())
    }

    /// Names of the sinks whose server may refuse a row.
    fn servers(&self) -> Vec<&str> {
        let servers = self.plan.sinks.iter().filter(|sink| matches!(sink.at, SinkAddress::Cassandra { .. }));
        servers.map(|sink| sink.name.as_str()).collect()
    }
}

/// Hex, as components are named.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
