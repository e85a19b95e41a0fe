//! Dotted paths into payloads, many at once: a tree that is walked while the text is read.
//!
//! A step names a member of an object. Lists are not indexed and a path through anything but an object is absent. Of members
//! with the same key the last counts, with all that is below it, as in `serde_json::Value`.

use super::scan::{DEPTH, Scan, Scanner, Shape, unescape};

/// Where the value of a node lies in the text. Strings without their quotes.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub shape: Shape,
    pub start: u32,
    pub end: u32,
}

impl Found {
    pub const ABSENT: Found = Found { shape: Shape::Absent, start: 0, end: 0 };

    /// The value as it stood, with the quotes of a string.
    pub fn raw<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let (start, end) = (self.start as usize, self.end as usize);
        match self.shape {
            Shape::Plain | Shape::Escaped => &text[start - 1..end + 1],
            _ => &text[start..end],
        }
    }

    pub fn inner<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start as usize..self.end as usize]
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    /// Key and node.
    children: Vec<(Box<[u8]>, u32)>,
    /// One bit per length of a child's key, lengths from 63 on sharing one: most foreign keys are told apart by it alone.
    lengths: u64,
}

/// The paths that are wanted of each payload. Node 0 is the payload itself.
#[derive(Clone, Debug)]
pub struct Paths(Vec<Node>);

impl Default for Paths {
    fn default() -> Paths {
        Paths(vec![Node::default()])
    }
}

fn length_bit(key: &[u8]) -> u64 {
    1 << key.len().min(63)
}

impl Paths {
    /// Adds a path; gives the node whose [`Found`] is its value.
    pub fn add(&mut self, path: &str) -> u32 {
        let mut at = 0;
        for step in path.split('.') {
            at = match self.child(at, step.as_bytes()) {
                Some(child) => child,
                None => {
                    let child = self.0.len() as u32;
                    self.0.push(Node::default());
                    let node = &mut self.0[at as usize];
                    node.children.push((step.as_bytes().into(), child));
                    node.lengths |= length_bit(step.as_bytes());
                    child
                }
            };
        }
        at
    }

    pub fn nodes(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn child(&self, node: u32, key: &[u8]) -> Option<u32> {
        let node = &self.0[node as usize];
        if node.lengths & length_bit(key) == 0 {
            return None;
        }
        node.children.iter().find(|(name, _)| **name == *key).map(|(_, child)| *child)
    }

    /// Reads a whole payload; `found` has one entry per node. An error names the byte.
    pub fn read(&self, text: &str, found: &mut [Found]) -> Result<(), (usize, &'static str)> {
        found.fill(Found::ABSENT);
        let mut scanner = Scanner::new(text);
        self.value(&mut scanner, 0, DEPTH, found).and_then(|()| scanner.finish()).map_err(|what| (scanner.at(), what))
    }

    fn value(&self, scanner: &mut Scanner<'_>, node: u32, depth: u32, found: &mut [Found]) -> Scan<()> {
        let first = scanner.peek();
        let start = scanner.at();
        let shape = if first == b'{' && !self.0[node as usize].children.is_empty() {
            self.object(scanner, node, depth, found)?;
            Shape::Object
        } else {
            scanner.value(depth)?
        };
        let quotes = usize::from(matches!(shape, Shape::Plain | Shape::Escaped));
        found[node as usize] = Found { shape, start: (start + quotes) as u32, end: (scanner.at() - quotes) as u32 };
        Ok(())
    }

    fn object(&self, scanner: &mut Scanner<'_>, node: u32, depth: u32, found: &mut [Found]) -> Scan<()> {
        let depth = scanner.enter(depth)?;
        if scanner.peek() == b'}' {
            scanner.take();
            return Ok(());
        }
        loop {
            let (key, escaped) = scanner.key()?;
            let child = if escaped { self.escaped_child(node, key) } else { self.child(node, key) };
            match child {
                None => {
                    scanner.value(depth)?;
                }
                Some(child) => {
                    if found[child as usize].shape != Shape::Absent {
                        self.forget(child, found);
                    }
                    self.value(scanner, child, depth, found)?;
                }
            }
            if scanner.member_ends()? {
                return Ok(());
            }
        }
    }

    #[cold]
    fn escaped_child(&self, node: u32, key: &[u8]) -> Option<u32> {
        let mut plain = Vec::new();
        unescape(key, &mut plain);
        self.child(node, &plain)
    }

    /// A key that comes again takes with it what was found below its first value.
    #[cold]
    fn forget(&self, node: u32, found: &mut [Found]) {
        found[node as usize] = Found::ABSENT;
        for (_, child) in &self.0[node as usize].children {
            self.forget(*child, found);
        }
    }
}
