//! Reading JSON text: strings, numbers and whole values are checked and skipped at the byte level.
//!
//! Accepts what `serde_json` accepts for a `serde_json::Value` (RFC 8259, nested at most 127 deep, no lone surrogates), except
//! that the size of a number is judged only where it is read as a number.

/// What is wrong; where is [`Scanner::at`].
pub type Scan<T> = Result<T, &'static str>;

/// Containers may nest one less deep than this, as in `serde_json`.
pub const DEPTH: u32 = 128;

/// A place in JSON text that is known to be UTF-8.
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

/// What a value turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Absent,
    Null,
    True,
    False,
    /// Digits only, with or without a minus.
    Integer,
    /// With a fraction or an exponent.
    Decimal,
    /// The text between the quotes stands for itself.
    Plain,
    /// The text between the quotes has escapes.
    Escaped,
    Object,
    Array,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// The high bit of the first byte that is a quote, a backslash or a control character, and perhaps of bytes behind it.
#[inline(always)]
fn string_stops(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGH
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text: text.as_bytes(), at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn text(&self, start: usize, end: usize) -> &'a [u8] {
        &self.text[start..end]
    }

    /// The next byte that is no whitespace, not yet taken; 0, which no JSON holds, at the end.
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        match self.text.get(self.at) {
            Some(byte) if *byte > b' ' => *byte,
            _ => self.peek_behind_space(),
        }
    }

    #[cold]
    fn peek_behind_space(&mut self) -> u8 {
        while let Some(byte) = self.text.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return *byte;
            }
            self.at += 1;
        }
        0
    }

    /// Takes the byte that [`Scanner::peek`] gave.
    #[inline(always)]
    pub fn take(&mut self) {
        self.at += 1;
    }

    /// Nothing but whitespace may follow.
    pub fn finish(&mut self) -> Scan<()> {
        self.peek();
        match self.at == self.text.len() {
            true => Ok(()),
            false => Err("trailing characters"),
        }
    }

    /// Takes a member's key and its colon; gives the text between the quotes and whether it has escapes.
    #[inline(always)]
    pub fn key(&mut self) -> Scan<(&'a [u8], bool)> {
        if self.peek() != b'"' {
            return Err("expected a key in quotes");
        }
        self.at += 1;
        let start = self.at;
        let escaped = self.string()?;
        let key = &self.text[start..self.at - 1];
        if self.peek() != b':' {
            return Err("expected `:`");
        }
        self.at += 1;
        Ok((key, escaped))
    }

    /// Takes the rest of a string behind its opening quote, the closing quote included; gives whether it has escapes.
    #[inline(always)]
    pub fn string(&mut self) -> Scan<bool> {
        let mut escaped = false;
        loop {
            let byte = match self.text.get(self.at..self.at + 8) {
                Some(chunk) => {
                    let stops = string_stops(u64::from_le_bytes(chunk.try_into().expect("8 bytes were asked for")));
                    if stops == 0 {
                        self.at += 8;
                        continue;
                    }
                    self.at += (stops.trailing_zeros() / 8) as usize;
                    self.text[self.at]
                }
                None => match self.text.get(self.at) {
                    Some(byte) => *byte,
                    None => return Err("end of text in a string"),
                },
            };
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return Err("control character in a string"),
                _ => self.at += 1,
            }
        }
    }

    /// Takes an escape behind its backslash.
    fn escape(&mut self) -> Scan<()> {
        let byte = self.text.get(self.at).ok_or("end of text in a string")?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(()),
            b'u' => match self.hex()? {
                0xDC00..=0xDFFF => Err("lone surrogate"),
                0xD800..=0xDBFF => {
                    if self.text.get(self.at..self.at + 2) != Some(br"\u") {
                        return Err("lone surrogate");
                    }
                    self.at += 2;
                    match self.hex()? {
                        0xDC00..=0xDFFF => Ok(()),
                        _ => Err("lone surrogate"),
                    }
                }
                _ => Ok(()),
            },
            _ => Err("unknown escape"),
        }
    }

    fn hex(&mut self) -> Scan<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or("end of text in a string")?;
        let value = hex4(digits).ok_or("expected four hex digits")?;
        self.at += 4;
        Ok(value)
    }

    /// Takes a number; gives [`Shape::Integer`] or [`Shape::Decimal`].
    #[inline]
    pub fn number(&mut self) -> Scan<Shape> {
        let mut shape = Shape::Integer;
        if self.byte() == b'-' {
            self.at += 1;
        }
        match self.byte() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err("expected a digit"),
        }
        if self.byte().is_ascii_digit() {
            return Err("leading zero in a number");
        }
        if self.byte() == b'.' {
            shape = Shape::Decimal;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            shape = Shape::Decimal;
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(shape)
    }

    #[inline(always)]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn digits(&mut self) {
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Scan<()> {
        if !self.byte().is_ascii_digit() {
            return Err("expected a digit");
        }
        self.digits();
        Ok(())
    }

    #[inline]
    fn word(&mut self, word: &[u8], shape: Shape) -> Scan<Shape> {
        match self.text.get(self.at..self.at + word.len()) {
            Some(found) if found == word => {
                self.at += word.len();
                Ok(shape)
            }
            _ => Err("expected a value"),
        }
    }

    /// Takes a value that is neither object nor list, or goes into one with `skip`; the caller has peeked.
    #[inline(always)]
    pub fn value(&mut self, depth: u32) -> Scan<Shape> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                Ok(if self.string()? { Shape::Escaped } else { Shape::Plain })
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b't' => self.word(b"true", Shape::True),
            b'f' => self.word(b"false", Shape::False),
            b'n' => self.word(b"null", Shape::Null),
            _ => Err("expected a value"),
        }
    }

    /// Takes the `{` or `[` that was peeked; gives the depth that is left inside.
    #[inline(always)]
    pub fn enter(&mut self, depth: u32) -> Scan<u32> {
        if depth <= 1 {
            return Err("nested too deep");
        }
        self.at += 1;
        Ok(depth - 1)
    }

    fn object(&mut self, depth: u32) -> Scan<Shape> {
        let depth = self.enter(depth)?;
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(Shape::Object);
        }
        loop {
            self.key()?;
            self.value(depth)?;
            if self.member_ends()? {
                return Ok(Shape::Object);
            }
        }
    }

    /// Takes what follows a member: `true` for the closing brace, `false` for a comma.
    #[inline(always)]
    pub fn member_ends(&mut self) -> Scan<bool> {
        match self.peek() {
            b',' => {
                self.at += 1;
                Ok(false)
            }
            b'}' => {
                self.at += 1;
                Ok(true)
            }
            _ => Err("expected `,` or `}`"),
        }
    }

    fn array(&mut self, depth: u32) -> Scan<Shape> {
        let depth = self.enter(depth)?;
        if self.peek() == b']' {
            self.at += 1;
            return Ok(Shape::Array);
        }
        loop {
            self.value(depth)?;
            match self.peek() {
                b',' => self.at += 1,
                b']' => {
                    self.at += 1;
                    return Ok(Shape::Array);
                }
                _ => return Err("expected `,` or `]`"),
            }
        }
    }
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
}

/// Writes what a scanned string with escapes stands for.
pub fn unescape(text: &[u8], into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        into.extend_from_slice(&rest[..at]);
        let escape = rest[at + 1];
        rest = &rest[at + 2..];
        let plain = match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = hex4(&rest[..4]).expect("the scanner checked it");
                rest = &rest[4..];
                if (0xD800..0xDC00).contains(&code) {
                    let low = hex4(&rest[2..6]).expect("the scanner checked it");
                    code = 0x10000 + ((code - 0xD800) << 10 | (low - 0xDC00));
                    rest = &rest[6..];
                }
                let character = char::from_u32(code).expect("the scanner refuses lone surrogates");
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        };
        into.push(plain);
    }
    into.extend_from_slice(rest);
}

/// Whether the text is one JSON value.
pub fn is_json(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut scanner = Scanner::new(text);
    scanner.value(DEPTH).and_then(|_| scanner.finish()).is_ok()
}
