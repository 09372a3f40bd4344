//! Tokens of the text form.

use super::ParseError;

/// One token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token<'a> {
    /// Letters, digits, `_`, `.`, `+` and `-`: names, numbers, keywords.
    Word(&'a str),
    /// `%` and a word.
    Value(&'a str),
    /// A quoted string, escapes resolved.
    Str(String),
    /// One of `:=,(){}[]@`.
    Punct(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token as messages name it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("`{w}`"),
            Token::Value(v) => format!("`%{v}`"),
            Token::Str(s) => format!("{s:?}"),
            Token::Punct(c) => format!("`{c}`"),
            Token::End => "the end of the text".into(),
        }
    }
}

/// Reads tokens one at a time, with one token of lookahead.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Where reading goes on.
    at: usize,
    /// The lookahead and where it starts.
    next: Token<'a>,
    next_at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, ParseError> {
        let mut lexer = Self {
            text,
            at: 0,
            next: Token::End,
            next_at: 0,
        };
        lexer.advance()?;
        Ok(lexer)
    }

    /// The next token.
    pub(super) fn peek(&self) -> &Token<'a> {
        &self.next
    }

    /// Where the next token starts.
    pub(super) fn position(&self) -> usize {
        self.next_at
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Result<Token<'a>, ParseError> {
        let token = std::mem::replace(&mut self.next, Token::End);
        self.advance()?;
        Ok(token)
    }

    /// An error at byte `position`.
    pub(super) fn error(&self, position: usize, message: impl Into<String>) -> ParseError {
        let before = &self.text[..position];
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let rest = &self.text[start..];
        let line_text = rest.split(['\n', '\r']).next().unwrap_or_default();
        ParseError {
            line: before.matches('\n').count() + 1,
            column: self.text[start..position].chars().count() + 1,
            text: line_text.chars().take(400).collect(),
            message: message.into(),
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn advance(&mut self) -> Result<(), ParseError> {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start().len();
            self.at += blank;
            if !self.rest().starts_with("//") {
                break;
            }
            let rest = self.rest();
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
        self.next_at = self.at;
        let Some(first) = self.rest().chars().next() else {
            self.next = Token::End;
            return Ok(());
        };
        self.next = match first {
            ':' | '=' | ',' | '(' | ')' | '{' | '}' | '[' | ']' | '@' => {
                self.at += 1;
                Token::Punct(first)
            }
            '%' => {
                self.at += 1;
                match self.word() {
                    "" => return Err(self.error(self.next_at, "expected a number after `%`")),
                    word => Token::Value(word),
                }
            }
            '"' => Token::Str(self.string()?),
            c if is_word_char(c) => Token::Word(self.word()),
            c => return Err(self.error(self.at, format!("unexpected character {c:?}"))),
        };
        Ok(())
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A quoted string from its opening quote on.
    fn string(&mut self) -> Result<String, ParseError> {
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        chars.next();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + i + 1;
                    return Ok(out);
                }
                '\n' => break,
                '\\' => {
                    let bad = || self.error(start + i, "unknown escape in a string");
                    match chars.next().ok_or_else(bad)?.1 {
                        'n' => out.push('\n'),
                        'r' => out.push('\r'),
                        't' => out.push('\t'),
                        c @ ('"' | '\\') => out.push(c),
                        'u' => {
                            if chars.next().map(|c| c.1) != Some('{') {
                                return Err(bad());
                            }
                            let digits: String = chars
                                .by_ref()
                                .map(|c| c.1)
                                .take_while(|&c| c != '}')
                                .take(7)
                                .collect();
                            let code = u32::from_str_radix(&digits, 16).ok();
                            out.push(code.and_then(char::from_u32).ok_or_else(bad)?);
                        }
                        _ => return Err(bad()),
                    }
                }
                c => out.push(c),
            }
        }
        Err(self.error(start, "the string does not end on its line"))
    }
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}

/// `text` in quotes, with everything escaped that would end the string or not print.
pub(super) fn quote(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
