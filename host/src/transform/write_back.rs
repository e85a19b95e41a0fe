//! Writing back: the record as its payload with the written fields set at their paths.
//!
//! Members that nobody wrote stay as they stood and in their order; written ones come behind them, and all earlier members of
//! their key go. Where a path leads through something that is no object, an object takes its place. A null is written as `null`.

use super::input::Input;
use super::kinds;
use super::scan::{DEPTH, Scan, Scanner, unescape};
use crate::record::{Column, Message, OwnField, Values};

#[derive(Clone, Debug)]
enum Target {
    Slot(usize),
    Node(usize),
}

#[derive(Clone, Debug)]
struct Member {
    key: Box<[u8]>,
    /// `"key":`
    quoted: Vec<u8>,
    target: Target,
}

/// The fields that stages wrote, by path, and where their columns are.
#[derive(Clone, Debug, Default)]
pub struct WriteBack {
    /// Node 0 is the payload.
    nodes: Vec<Vec<Member>>,
    key: Option<usize>,
    headers: Vec<(String, usize)>,
    /// Slot → field and the stage that wrote it, for reasons.
    writers: Vec<(usize, String, String)>,
}

/// A row that cannot be written back: the stage whose field it is (`None`: the payload), and why.
pub type Refusal = (Option<String>, String);

impl WriteBack {
    /// No other field that was added lies above or below this one; the plan sees to it.
    pub fn add(&mut self, name: &str, slot: usize, stage: &str) {
        self.writers.push((slot, name.to_owned(), stage.to_owned()));
        match OwnField::parse(name) {
            Some(OwnField::Key) => self.key = Some(slot),
            Some(OwnField::Header(header)) => self.headers.push((header, slot)),
            Some(_) => {}
            None => self.add_path(name, slot),
        }
    }

    fn add_path(&mut self, path: &str, slot: usize) {
        if self.nodes.is_empty() {
            self.nodes.push(Vec::new());
        }
        let mut at = 0;
        let mut steps = path.split('.').peekable();
        while let Some(step) = steps.next() {
            let known = self.nodes[at].iter().find(|member| *member.key == *step.as_bytes()).map(|member| member.target.clone());
            match known {
                Some(Target::Node(node)) => at = node,
                _ => {
                    let mut quoted = Vec::new();
                    kinds::write_text(step, &mut quoted);
                    quoted.push(b':');
                    let next = self.nodes.len();
                    let target = if steps.peek().is_some() { Target::Node(next) } else { Target::Slot(slot) };
                    if matches!(target, Target::Node(_)) {
                        self.nodes.push(Vec::new());
                    }
                    self.nodes[at].push(Member { key: step.as_bytes().into(), quoted, target });
                    at = next;
                }
            }
        }
    }

    /// The whole record of a row: `input_row` of the input, `row` of the columns.
    pub fn message(&self, input: &Input<'_>, input_row: u32, columns: &[Option<Column>], row: usize) -> Result<Message, Refusal> {
        let value = input.value(input_row);
        let value = match self.nodes.is_empty() {
            true => value.map(<[u8]>::to_vec),
            false => Some(self.payload(value, columns, row)?),
        };
        Ok(Message {
            key: self.key(input, input_row, columns, row),
            value,
            timestamp: input.timestamp(input_row),
            headers: self.headers(input, input_row, columns, row),
        })
    }

    /// What stands for a deleted row: its key, and no value.
    pub fn tombstone(&self, input: &Input<'_>, input_row: u32, columns: &[Option<Column>], row: usize) -> Message {
        Message {
            key: self.key(input, input_row, columns, row),
            value: None,
            timestamp: input.timestamp(input_row),
            headers: self.headers(input, input_row, columns, row),
        }
    }

    fn key(&self, input: &Input<'_>, input_row: u32, columns: &[Option<Column>], row: usize) -> Option<Vec<u8>> {
        match self.key.and_then(|slot| columns[slot].as_ref()) {
            Some(written) => bytes(written, row).map(<[u8]>::to_vec),
            None => input.key(input_row).map(<[u8]>::to_vec),
        }
    }

    /// A written header replaces all of its name; one that is null removes them.
    fn headers(&self, input: &Input<'_>, input_row: u32, columns: &[Option<Column>], row: usize) -> Vec<crate::record::Header> {
        let mut headers = input.headers(input_row).to_vec();
        for (name, slot) in &self.headers {
            let Some(column) = &columns[*slot] else { continue };
            headers.retain(|(known, _)| known != name);
            if let Some(value) = bytes(column, row) {
                headers.push((name.clone(), Some(value.to_vec())));
            }
        }
        headers
    }

    fn payload(&self, payload: Option<&[u8]>, columns: &[Option<Column>], row: usize) -> Result<Vec<u8>, Refusal> {
        let mut written = Vec::with_capacity(payload.map_or(0, <[u8]>::len) + 256);
        let text = std::str::from_utf8(payload.unwrap_or(b"null"))
            .map_err(|error| (None, format!("payload is not UTF-8 at byte {}", error.valid_up_to())))?;
        // What is copied must be JSON up to its end, or the result is none.
        let mut scanner = Scanner::new(text);
        if let Err(what) = scanner.value(DEPTH).and_then(|_| scanner.finish()) {
            return Err((None, format!("payload is not JSON: {what} at byte {}", scanner.at())));
        }
        self.object(0, text, columns, row, &mut written)?;
        Ok(written)
    }

    fn object(&self, node: usize, text: &str, columns: &[Option<Column>], row: usize, into: &mut Vec<u8>) -> Result<(), Refusal> {
        let members = &self.nodes[node];
        let mut below = vec![""; members.len()];
        into.push(b'{');
        copy_foreign(members, text, &mut below, into).map_err(|what| (None, format!("payload is not JSON: {what}")))?;
        for (member, text) in members.iter().zip(below) {
            if into.last() != Some(&b'{') {
                into.push(b',');
            }
            into.extend_from_slice(&member.quoted);
            match member.target {
                Target::Node(node) => self.object(node, text, columns, row, into)?,
                Target::Slot(slot) => match &columns[slot] {
                    Some(column) => kinds::write_json(column, row, into).map_err(|problem| self.refusal(slot, problem))?,
                    None => into.extend_from_slice(b"null"),
                },
            }
        }
        into.push(b'}');
        Ok(())
    }

    fn refusal(&self, slot: usize, problem: &str) -> Refusal {
        match self.writers.iter().find(|(known, ..)| *known == slot) {
            Some((_, name, stage)) => (Some(stage.clone()), format!("field `{name}`: what stage `{stage}` wrote {problem}")),
            None => (None, problem.to_owned()),
        }
    }
}

fn bytes(column: &Column, row: usize) -> Option<&[u8]> {
    match &column.values {
        Values::Bytes(buffer) if !column.is_null(row) => Some(buffer.get(row)),
        _ => None,
    }
}

/// Copies the members that are not written; of the others, gives the text of the last value of each.
fn copy_foreign<'t>(members: &[Member], text: &'t str, below: &mut [&'t str], into: &mut Vec<u8>) -> Scan<()> {
    let mut scanner = Scanner::new(text);
    if scanner.peek() != b'{' {
        return Ok(());
    }
    let depth = scanner.enter(DEPTH)?;
    if scanner.peek() == b'}' {
        return Ok(());
    }
    loop {
        scanner.peek();
        let start = scanner.at();
        let (key, escaped) = scanner.key()?;
        let mut plain = Vec::new();
        let key = match escaped {
            true => {
                unescape(key, &mut plain);
                &plain
            }
            false => key,
        };
        scanner.peek();
        let value = scanner.at();
        scanner.value(depth)?;
        match members.iter().position(|member| *member.key == *key) {
            Some(written) => below[written] = &text[value..scanner.at()],
            None => {
                if into.last() != Some(&b'{') {
                    into.push(b',');
                }
                into.extend_from_slice(scanner.text(start, scanner.at()));
            }
        }
        if scanner.member_ends()? {
            return Ok(());
        }
    }
}
