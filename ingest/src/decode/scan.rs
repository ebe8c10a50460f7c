//! A strict RFC 8259 scanner over the bytes of one record.
//!
//! It finds where values begin and end, eight bytes at a time within strings, and builds nothing. Every byte that it
//! passes is checked against the grammar. Nesting is kept in a bit stack, so that no input can exhaust the call stack.
//! That the bytes are UTF-8 is for the caller to know.

/// The deepest nesting that is read at all, in fields that nobody asked for.
pub(crate) const VALUE_MAX_DEPTH: u32 = 32;

/// Why a text is not JSON, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The byte does not fit the grammar, or the text ends too early.
    Syntax { at: usize },
    /// More than [`VALUE_MAX_DEPTH`] levels.
    TooDeep { at: usize },
}

/// A string between its quotation marks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it holds at least one escape.
    pub(crate) escaped: bool,
}

/// A value that is neither a string nor a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    Bool,
    Number,
}

/// A reading place in the bytes of one record.
pub(crate) struct Scanner<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) at: usize,
}

const EACH: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks the high bit of each byte of the word that ends a plain run of a string: a quotation mark, a backslash or a
/// control character. Marks above the lowest one may be false, which is why only the lowest is used.
#[inline]
fn string_stops(word: u64) -> u64 {
    let quote = word ^ (EACH * 0x22);
    let backslash = word ^ (EACH * 0x5c);
    let found_quote = quote.wrapping_sub(EACH) & !quote;
    let found_backslash = backslash.wrapping_sub(EACH) & !backslash;
    let found_control = word.wrapping_sub(EACH * 0x20) & !word;
    (found_quote | found_backslash | found_control) & HIGH
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The byte at the reading place; 0, which no JSON text holds outside of strings, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn skip_whitespace(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    pub(crate) fn fault<T>(&self) -> Result<T, Fault> {
        Err(Fault::Syntax { at: self.at })
    }

    /// Passes one byte that must be there.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek() != byte {
            return self.fault();
        }
        self.at += 1;
        Ok(())
    }

    /// Passes a string whose opening quotation mark is at the reading place.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Text, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let mut escaped = false;
        loop {
            if let Some(chunk) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
                let stops = string_stops(u64::from_le_bytes(*chunk));
                if stops == 0 {
                    self.at += 8;
                    continue;
                }
                self.at += (stops.trailing_zeros() / 8) as usize;
            }
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    let end = self.at - 1;
                    return Ok(Text { start, end, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                // A control character, or the end, for which `peek` says 0.
                0..0x20 => return self.fault(),
                // The last seven bytes of a record are read one by one.
                _ => self.at += 1,
            }
        }
    }

    /// Passes one escape. A surrogate without its other half is no character, so it is a fault.
    #[cold]
    fn escape(&mut self) -> Result<(), Fault> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.at += 1;
                Ok(())
            }
            b'u' => {
                self.at += 1;
                let unit = self.hex_unit()?;
                match unit {
                    0xD800..0xDC00 => {
                        self.expect(b'\\')?;
                        self.expect(b'u')?;
                        let low = self.hex_unit()?;
                        if (0xDC00..0xE000).contains(&low) {
                            Ok(())
                        } else {
                            self.fault()
                        }
                    }
                    0xDC00..0xE000 => self.fault(),
                    _ => Ok(()),
                }
            }
            _ => self.fault(),
        }
    }

    fn hex_unit(&mut self) -> Result<u16, Fault> {
        let mut unit = 0_u16;
        for _ in 0..4 {
            let Some(digit) = char::from(self.peek()).to_digit(16) else {
                return self.fault();
            };
            unit = unit << 4 | digit as u16;
            self.at += 1;
        }
        Ok(unit)
    }

    /// Passes a number.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        if self.at == start { self.fault() } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Fault> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return self.fault();
        }
        self.at = end;
        Ok(())
    }

    /// Passes null, a boolean or a number.
    #[inline]
    pub(crate) fn scalar(&mut self) -> Result<Scalar, Fault> {
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number().map(|()| Scalar::Number),
            b'n' => self.literal(b"null").map(|()| Scalar::Null),
            b't' => self.literal(b"true").map(|()| Scalar::Bool),
            b'f' => self.literal(b"false").map(|()| Scalar::Bool),
            _ => self.fault(),
        }
    }

    /// Passes an array or an object with everything in it, and gives its depth; a flat one has depth 1.
    pub(crate) fn container(&mut self) -> Result<u32, Fault> {
        // One bit a level, the lowest for the innermost: 1 for an object, 0 for an array.
        let mut levels = 0_u64;
        let mut depth = 0;
        let mut deepest = 0;
        loop {
            // A value begins here.
            match self.peek() {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    depth += 1;
                    if depth > VALUE_MAX_DEPTH {
                        return Err(Fault::TooDeep { at: self.at });
                    }
                    deepest = deepest.max(depth);
                    self.at += 1;
                    self.skip_whitespace();
                    levels = levels << 1 | u64::from(open == b'{');
                    // In ASCII, `]` and `}` stand two places after their opening halves.
                    if self.peek() != open + 2 {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            // A value has ended, or a container is about to.
            loop {
                self.skip_whitespace();
                let is_object = levels & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        self.skip_whitespace();
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    b'}' if is_object => self.at += 1,
                    b']' if !is_object => self.at += 1,
                    _ => return self.fault(),
                }
                levels >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Ok(deepest);
                }
            }
        }
    }

    /// Passes a key, its colon, and the whitespace up to the value.
    #[inline]
    fn key(&mut self) -> Result<(), Fault> {
        self.string()?;
        self.colon()
    }

    /// Passes a colon and the whitespace around it.
    #[inline]
    pub(crate) fn colon(&mut self) -> Result<(), Fault> {
        self.skip_whitespace();
        self.expect(b':')?;
        self.skip_whitespace();
        Ok(())
    }

    /// Passes any value.
    pub(crate) fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.container().map(drop),
            _ => self.scalar().map(drop),
        }
    }
}

/// Appends the text that an escaped string stands for. The string has passed [`Scanner::string`].
pub(crate) fn unescape(escaped: &[u8], out: &mut Vec<u8>) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let kind = rest.get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or_default();
        let plain = match kind {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, after) = escaped_character(rest);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    out.extend_from_slice(rest);
}

/// The character whose hexadecimal digits, after `\u`, begin the bytes, and what comes after it.
fn escaped_character(bytes: &[u8]) -> (char, &[u8]) {
    let unit = |from: usize| {
        let digits = bytes
            .get(from..from + 4)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .unwrap_or(0xFFFD)
    };
    let (code, length) = match unit(0) {
        high @ 0xD800..0xDC00 => (
            0x1_0000 + ((high - 0xD800) << 10) + (unit(6).wrapping_sub(0xDC00) & 0x3FF),
            10,
        ),
        single => (single, 4),
    };
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    (character, bytes.get(length..).unwrap_or_default())
}
