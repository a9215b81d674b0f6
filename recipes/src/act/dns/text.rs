//! Lines of a zone's text: words with their places, across parentheses, quotes, escapes and comments.

use std::fmt;

use super::name::escaped;

/// A place in a text that cannot be understood, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub line: usize,
    pub column: usize,
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Where it stands in the text, quotes included.
    pub start: usize,
    pub end: usize,
    pub line: usize,
    pub column: usize,
    pub quoted: bool,
    /// Without its quotes; escapes as they are written.
    pub text: Vec<u8>,
}

/// One entry: a line, or several that parentheses hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub words: Vec<Word>,
    /// Whether it begins with white space, and so has the owner of the one before.
    pub indented: bool,
    pub start: usize,
    /// Behind its last line break.
    pub end: usize,
}

impl Word {
    pub fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { line: self.line, column: self.column, what: what.into() }
    }

    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    pub fn upper(&self) -> String {
        self.shown().to_ascii_uppercase()
    }

    /// With escapes resolved.
    pub fn plain(&self) -> Option<Vec<u8>> {
        let (mut plain, mut rest) = (Vec::new(), self.text.as_slice());
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte == b'\\' {
                let (byte, length) = escaped(rest)?;
                plain.push(byte);
                rest = &rest[length..];
            } else {
                plain.push(byte);
            }
        }
        Some(plain)
    }
}

/// Seconds, as a number or as `1h30m`.
pub fn seconds(text: &str) -> Option<u32> {
    let (mut total, mut number): (u64, Option<u64>) = (0, None);
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(digit.into())?);
            continue;
        }
        let factor = match c.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = number.take()?.checked_mul(factor)?.checked_add(total)?;
    }
    let whole = match number {
        Some(number) if total == 0 => number,
        Some(_) => return None,
        None => total,
    };
    let written = text.chars().any(|c| c.is_ascii_digit());
    u32::try_from(whole).ok().filter(|whole| written && *whole <= i32::MAX as u32)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    begin: usize,
}

/// All entries of a text; those without a word are left out.
pub fn lines(text: &[u8]) -> Result<Vec<Line>, Wrong> {
    let mut reader = Reader { text, at: 0, line: 1, begin: 0 };
    let mut list = Vec::new();
    while reader.at < text.len() {
        let line = reader.entry()?;
        if !line.words.is_empty() {
            list.push(line);
        }
    }
    Ok(list)
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> Wrong {
        Wrong { line: self.line, column: self.at - self.begin + 1, what: what.into() }
    }

    fn entry(&mut self) -> Result<Line, Wrong> {
        let start = self.at;
        let indented = matches!(self.text.get(start), Some(b' ' | b'\t'));
        let (mut words, mut open) = (Vec::new(), None);
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\n' => {
                    self.at += 1;
                    self.line += 1;
                    self.begin = self.at;
                    if open.is_none() {
                        break;
                    }
                }
                b' ' | b'\t' | b'\r' => self.at += 1,
                b';' => self.skip_comment(),
                b'(' if open.is_some() => return Err(self.wrong("one parenthesis is open already")),
                b'(' => {
                    open = Some(self.wrong("this parenthesis is never closed"));
                    self.at += 1;
                }
                b')' if open.is_none() => return Err(self.wrong("no parenthesis is open here")),
                b')' => {
                    open = None;
                    self.at += 1;
                }
                0 => return Err(self.wrong("there is a null byte")),
                b'"' => words.push(self.quoted()?),
                _ => words.push(self.word()?),
            }
        }
        open.map_or(Ok(()), Err)?;
        Ok(Line { words, indented, start, end: self.at })
    }

    fn skip_comment(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    }

    fn quoted(&mut self) -> Result<Word, Wrong> {
        let (start, place) = (self.at, self.wrong("this quote is never closed"));
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'\n' => return Err(place),
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    let text = self.text[start + 1..self.at - 1].to_vec();
                    return Ok(Word { start, end: self.at, line: place.line, column: place.column, quoted: true, text });
                }
                _ => self.at += 1,
            }
        }
        self.at = self.text.len();
        Err(place)
    }

    fn word(&mut self) -> Result<Word, Wrong> {
        let (start, column) = (self.at, self.at - self.begin + 1);
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
                b'\\' if self.text.get(self.at + 1).is_none_or(|next| *next == b'\n') => {
                    return Err(self.wrong("a backslash must have something behind it"));
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        let text = self.text[start..self.at].to_vec();
        Ok(Word { start, end: self.at, line: self.line, column, quoted: false, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let list = lines(text.as_bytes()).unwrap();
        list.iter().map(|line| line.words.iter().map(Word::shown).collect::<Vec<_>>().join("|")).collect()
    }

    #[test]
    fn words_are_found_across_tabs_comments_quotes_and_parentheses() {
        let text = "; only a comment\r\n\r\nwww.DOMAIN.\t900 IN A WEB_MASTER ; here\r\n\tA 1.2.3.4\n@ SOA a b ( 1 ; serial\n 2 3 )\nt TXT \"a ; b\" \"c\\\"d\"\n";
        assert_eq!(shown(text), ["www.DOMAIN.|900|IN|A|WEB_MASTER", "A|1.2.3.4", "@|SOA|a|b|1|2|3", "t|TXT|a ; b|c\\\"d"]);
        let list = lines(text.as_bytes()).unwrap();
        assert_eq!((list[1].indented, list[0].indented, list[1].words[1].line, list[1].words[1].column), (true, false, 4, 4));
        assert!(text[list[2].start..list[2].end].ends_with("3 )\n"), "an entry ends with its last line");
    }

    #[test]
    fn what_is_broken_has_its_place() {
        for (text, line, column) in [("a (\n b\n", 1, 3), ("a b )", 1, 5), ("a\n  \"b\n", 2, 3), ("a ( b ( c", 1, 7), ("a\\\n", 1, 2)] {
            let wrong = lines(text.as_bytes()).unwrap_err();
            assert_eq!((wrong.line, wrong.column), (line, column), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn times_have_units_or_none() {
        for (text, expected) in [("900", Some(900)), ("1h30m", Some(5400)), ("1D", Some(86_400)), ("0", Some(0)), ("2W", Some(1_209_600))] {
            assert_eq!(seconds(text), expected, "{text}");
        }
        for bad in ["", "h", "1x", "1h30", "-1", "4294967296", "99999999999999999999"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
