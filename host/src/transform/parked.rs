//! Deleted rows: they skip the stages that follow and come out at the end in their place, with the columns they had.

use super::Transformed;
use super::input::Input;
use super::plan::{ChainPlan, Segment};
use crate::record::{Column, Message, Values};

/// A deleted row's place among the rows of the present input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// It came before this row (which a `messages` stage emitted after it).
    Before(u32),
    /// It is this row.
    Row(u32),
}

impl At {
    fn key(self) -> (u32, u8) {
        match self {
            At::Before(row) => (row, 0),
            At::Row(row) => (row, 1),
        }
    }
}

#[derive(Debug)]
struct Row {
    at: At,
    record: u32,
    /// One-row columns, by sink field; `None` is null.
    columns: Vec<Option<Column>>,
    message: Option<Message>,
}

#[derive(Debug, Default)]
pub(super) struct Parked(Vec<Row>);

impl Parked {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Parks rows that a stage deleted; `columns` by slot, before the rows are taken out.
    pub fn rows(
        &mut self,
        plan: &ChainPlan,
        segment: &Segment,
        input: &Input<'_>,
        input_rows: &[u32],
        columns: &[Option<Column>],
        deleted: &[u32],
    ) {
        for row in deleted {
            let input_row = input_rows[*row as usize];
            let one = |slot: &Option<usize>| slot.and_then(|slot| columns[slot].as_ref()).map(|column| column.select(&[*row]));
            self.0.push(Row {
                at: At::Row(input_row),
                record: input.origin(input_row),
                columns: segment.feeds.iter().map(one).collect(),
                message: plan.messages.then(|| segment.write_back.tombstone(input, input_row, columns, *row as usize)),
            });
        }
    }

    /// Parks a record without a value that means a delete: only what `@key` feeds is known of its row.
    pub fn tombstone(&mut self, plan: &ChainPlan, segment: &Segment, input: &Input<'_>, input_row: u32) {
        let columns = plan.sinks.iter().map(|field| {
            let key = input.key(input_row).filter(|_| field.name == "@key")?;
            let mut column = Column::empty(field.kind);
            match &mut column.values {
                Values::Bytes(buffer) => buffer.push(key),
                Values::Text(buffer) if std::str::from_utf8(key).is_ok() => buffer.push(key),
                _ => return None,
            }
            Some(column)
        });
        let unwritten = vec![None; segment.slots.len()];
        self.0.push(Row {
            at: At::Row(input_row),
            record: input.origin(input_row),
            columns: columns.collect(),
            message: plan.messages.then(|| segment.write_back.tombstone(input, input_row, &unwritten, 0)),
        });
    }

    /// A `messages` stage made a new input: `before[row]` messages were emitted by the rows before `row`.
    pub fn moved(&mut self, before: &[u32]) {
        // In order first: rows that come to lie before the same message keep their order by the stable sort of `merge`.
        self.0.sort_by_key(|row| row.at.key());
        for row in &mut self.0 {
            let (At::Before(place) | At::Row(place)) = row.at;
            row.at = At::Before(before[place as usize]);
        }
    }

    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.0.retain(|row| keep(row.record));
    }

    /// Puts the deleted rows among the living ones, whose input rows are given.
    pub fn merge(
        &mut self,
        plan: &ChainPlan,
        living: &[u32],
        columns: Vec<Column>,
        transformed: &mut Transformed,
    ) -> Vec<Column> {
        if self.0.is_empty() {
            return columns;
        }
        self.0.sort_by_key(|row| row.at.key());
        // Order of the merged rows: living rows as they are numbered, then the parked ones behind them.
        let mut order: Vec<((u32, u8), u32)> = living.iter().enumerate().map(|(at, row)| ((*row, 1), at as u32)).collect();
        order.extend(self.0.iter().enumerate().map(|(at, row)| (row.at.key(), (living.len() + at) as u32)));
        order.sort_by_key(|(key, _)| *key);
        let order: Vec<u32> = order.into_iter().map(|(_, row)| row).collect();

        let records: Vec<u32> = transformed.origins.iter().copied().chain(self.0.iter().map(|row| row.record)).collect();
        transformed.origins = order.iter().map(|row| records[*row as usize]).collect();
        transformed.deleted = (0..order.len() as u32).filter(|at| order[*at as usize] as usize >= living.len()).collect();
        let mut merged = Vec::with_capacity(columns.len());
        for (field, mut column) in columns.into_iter().enumerate() {
            for row in &self.0 {
                let known = row.columns.get(field).and_then(Option::as_ref);
                if !known.is_some_and(|known| column.append(known)) {
                    column.push_null();
                }
            }
            merged.push(column.select(&order));
        }
        if let Some(messages) = &mut transformed.messages {
            let mut all: Vec<Option<Message>> = messages.drain(..).map(Some).collect();
            all.extend(self.0.iter_mut().map(|row| row.message.take()));
            *messages = order.iter().filter_map(|row| all[*row as usize].take()).collect();
        }
        debug_assert_eq!(merged.len(), plan.sinks.len());
        merged
    }
}
