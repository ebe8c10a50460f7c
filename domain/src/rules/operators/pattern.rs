//! `matches`: regular expressions in time linear in the text.
//!
//! The dialect is what means the same in Rust, JavaScript and Python: ASCII classes for `\d`, `\w`, `\s` and
//! `\b`, no look-around, no back-references, no flags, no named groups, no Unicode classes. A pattern outside
//! it is refused when it is compiled, so that no evaluator meets it.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{Outcome, text_of};
use crate::rules::context::Attribute;

/// The longest pattern in bytes.
const PATTERN_MAX_BYTES: usize = 512;
/// The largest compiled program in bytes: repetitions of repetitions grow fast.
const PROGRAM_MAX_BYTES: usize = 256 * 1024;
/// The longest text that is searched in bytes: with the limits above it bounds the time of one search.
const TEXT_MAX_BYTES: usize = 4 * 1024;

/// A compiled regular expression.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(super) fn compile(value: &Value, ignore_case: bool) -> Result<Self, String> {
        let text = value.as_str().ok_or("the operator takes a text")?;
        if text.len() > PATTERN_MAX_BYTES {
            return Err(format!("a pattern has at most {PATTERN_MAX_BYTES} bytes"));
        }
        let translated = translate(text)?;
        let regex = RegexBuilder::new(&translated)
            .case_insensitive(ignore_case)
            .size_limit(PROGRAM_MAX_BYTES)
            .dfa_size_limit(PROGRAM_MAX_BYTES)
            .build();
        match regex {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err(format!(
                "the compiled pattern is larger than {PROGRAM_MAX_BYTES} bytes"
            )),
            Err(_) => Err("it is not a regular expression".to_owned()),
        }
    }

    pub(super) fn check(&self, attribute: Attribute<'_>) -> Outcome {
        match text_of(attribute) {
            Ok(text) if text.len() > TEXT_MAX_BYTES => Outcome::TooLong,
            Ok(text) => self.0.is_match(text).into(),
            Err(outcome) => outcome,
        }
    }
}

/// Where the translation is within the pattern.
struct Translation<'t> {
    rest: std::iter::Peekable<std::str::Chars<'t>>,
    out: String,
}

/// Rewrites a pattern of the dialect into Rust's, or says what is not of it.
fn translate(pattern: &str) -> Result<String, String> {
    let mut translation = Translation {
        rest: pattern.chars().peekable(),
        out: String::with_capacity(pattern.len()),
    };
    // Whether the last thing was a quantifier, after which only `?` may make it lazy.
    let mut quantified = false;
    while let Some(character) = translation.rest.next() {
        let quantifier = matches!(character, '*' | '+' | '?' | '{');
        if quantifier && quantified {
            return Err("a quantifier follows a quantifier".to_owned());
        }
        quantified = quantifier;
        match character {
            '\\' => translation.escape()?,
            '[' => translation.class()?,
            '(' => translation.group()?,
            '{' => translation.count()?,
            _ => translation.out.push(character),
        }
        if quantifier && translation.rest.next_if_eq(&'?').is_some() {
            translation.out.push('?');
        }
    }
    Ok(translation.out)
}

impl Translation<'_> {
    /// After a backslash outside a class.
    fn escape(&mut self) -> Result<(), String> {
        let character = self.rest.next().ok_or("a backslash ends the pattern")?;
        match character {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str("[\\t\\n\\x0B\\x0C\\r ]"),
            'S' => self.out.push_str("[^\\t\\n\\x0B\\x0C\\r ]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            _ => return self.literal(character),
        }
        Ok(())
    }

    /// An escape that stands for one character, in a class or outside.
    fn literal(&mut self, character: char) -> Result<(), String> {
        let digits = match character {
            't' | 'n' | 'r' | 'f' | 'v' => 0,
            'x' => 2,
            'u' => 4,
            _ if character.is_ascii_punctuation() => 0,
            _ => return Err(format!("\\{character} is not part of the dialect")),
        };
        // `\<` and `\>` are word boundaries to Rust and these signs to others.
        if !matches!(character, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(character);
        for _ in 0..digits {
            let digit = self.rest.next_if(char::is_ascii_hexdigit);
            self.out
                .push(digit.ok_or("\\x takes two and \\u four hexadecimal digits")?);
        }
        Ok(())
    }

    /// After an opening parenthesis.
    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_some() {
            if self.rest.next_if_eq(&':').is_none() {
                return Err("of the groups that start with (? only (?: is part of the dialect".to_owned());
            }
            self.out.push_str("?:");
        }
        Ok(())
    }

    /// After an opening brace.
    fn count(&mut self) -> Result<(), String> {
        const SHAPE: &str = "a brace starts a count such as {2}, {2,} or {2,5}; as a sign it is written \\{";
        self.out.push('{');
        if !self.rest.peek().is_some_and(char::is_ascii_digit) {
            return Err(SHAPE.to_owned());
        }
        loop {
            let character = self
                .rest
                .next_if(|next| next.is_ascii_digit() || matches!(next, ',' | '}'));
            let character = character.ok_or(SHAPE)?;
            self.out.push(character);
            if character == '}' {
                return Ok(());
            }
        }
    }

    /// After an opening bracket, up to the closing one.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut before = None;
        loop {
            let character = self.rest.next().ok_or("a class is not closed")?;
            match character {
                ']' if before.is_none() => return Err("a class is not empty; ] is written \\]".to_owned()),
                ']' => break,
                '[' => return Err("in a class, [ is written \\[".to_owned()),
                '&' | '~' | '-' if before == Some(character) => {
                    return Err(format!(
                        "in a class, {character}{character} is not part of the dialect"
                    ));
                }
                '\\' => self.class_escape()?,
                _ => self.out.push(character),
            }
            before = Some(character);
        }
        self.out.push(']');
        Ok(())
    }

    fn class_escape(&mut self) -> Result<(), String> {
        let character = self.rest.next().ok_or("a backslash ends the pattern")?;
        match character {
            'd' => self.out.push_str("0-9"),
            'w' => self.out.push_str("0-9A-Za-z_"),
            's' => self.out.push_str("\\t\\n\\x0B\\x0C\\r "),
            'D' | 'W' | 'S' | 'b' => {
                return Err(format!("in a class, \\{character} is not part of the dialect"));
            }
            _ => return self.literal(character),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
