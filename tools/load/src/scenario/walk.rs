//! A scenario's file taken apart key by key: every problem is noted with its line, the key in dots, and what is allowed;
//! what nobody asked for is unknown.

use std::{fmt, ops::Range, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// From 1.
    pub(crate) line: usize,
    /// In dots; empty where the text is no TOML.
    pub(crate) key: String,
    pub(crate) what: String,
    /// What would be right; empty if there is nothing to say.
    pub(crate) allowed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.allowed.is_empty() {
            write!(f, " (allowed: {})", self.allowed)?;
        }
        Ok(())
    }
}

/// What is found on the way.
pub(crate) struct Walk<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// The text's tables. Nothing of a text that is no TOML: a table that was cut short by bad syntax would only seem to have
    /// wrong or missing keys.
    pub(crate) fn document<'t>(&mut self, text: &'t str) -> Option<Spanned<DeTable<'t>>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for e in &errors {
            self.problem("", &e.span().unwrap_or(0..0), e.message(), "");
        }
        errors.is_empty().then_some(document)
    }

    /// Notes a problem with `key` at `span`.
    pub(crate) fn problem(
        &mut self,
        key: impl Into<String>,
        span: &Range<usize>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        self.problems.push(Problem {
            line: 1 + before.iter().filter(|b| **b == b'\n').count(),
            key: key.into(),
            what: what.into(),
            allowed: allowed.into(),
        });
    }

    /// All problems in the order of their lines.
    pub(crate) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| p.line);
        self.problems
    }
}

/// One table of the file: the top, a `[section]`, or one of several `[[section]]`s.
pub(crate) struct Section<'w, 'a> {
    walk: &'w mut Walk<'a>,
    name: String,
    /// Where the table stands in the file.
    at: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'w, 'a> Section<'w, 'a> {
    /// Without a `table` every key is absent.
    pub(crate) fn new(
        walk: &'w mut Walk<'a>,
        name: impl Into<String>,
        at: Range<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Self {
        Self {
            walk,
            name: name.into(),
            at,
            table,
            asked: Vec::new(),
        }
    }

    /// The value of `key`, which is known from now on.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(key);
        self.table?.get(key)
    }

    /// Whether `key` is written.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    /// Notes a problem with `key`, where it stands, or where its table does.
    pub(crate) fn problem(
        &mut self,
        key: &str,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let span = self
            .table
            .and_then(|t| t.get(key))
            .map_or_else(|| self.at.clone(), Spanned::span);
        self.problem_at(key, &span, what, allowed);
    }

    fn problem_at(
        &mut self,
        key: &str,
        span: &Range<usize>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        let key = if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        };
        self.walk.problem(key, span, what, allowed);
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn close(mut self) {
        let Some(table) = self.table else { return };
        for (key, _) in table {
            let name: &str = key.get_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let allowed = if self.asked.is_empty() {
                "no key".to_owned()
            } else {
                self.asked.join(", ")
            };
            self.problem_at(name, &key.span(), "unknown key", allowed);
        }
    }

    /// Reads `key` by `parse` into `slot`, which keeps its value when the key is absent or wrong.
    fn read<T>(
        &mut self,
        key: &'static str,
        allowed: impl FnOnce() -> String,
        slot: &mut T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) {
        let Some(value) = self.take(key) else { return };
        match parse(value.get_ref()) {
            Ok(v) => *slot = v,
            Err(what) => self.problem_at(key, &value.span(), what, allowed()),
        }
    }

    /// A whole number in `range`.
    pub(crate) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        slot: &mut T,
    ) {
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, allowed, slot, |v| {
            let text = v
                .as_integer()
                .ok_or_else(|| wrong(v, "a whole number"))?
                .as_str()
                .replace('_', "");
            text.parse::<u64>()
                .ok()
                .filter(|n| range.contains(n))
                .and_then(|n| T::try_from(n).ok())
                .ok_or_else(|| format!("{text} is out of range"))
        });
    }

    /// A number, with a fraction or without, in `range`.
    pub(crate) fn real(&mut self, key: &'static str, range: RangeInclusive<f64>, slot: &mut f64) {
        let allowed = || format!("a number from {} to {}", range.start(), range.end());
        self.read(key, allowed, slot, |v| {
            let n = real_of(v).ok_or_else(|| wrong(v, "a number"))?;
            range
                .contains(&n)
                .then_some(n)
                .ok_or_else(|| format!("{n} is out of range"))
        });
    }

    /// As [`Section::real`], for a key that may be absent.
    pub(crate) fn real_if_any(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<f64> {
        let mut n = f64::NAN;
        self.real(key, range, &mut n);
        (!n.is_nan()).then_some(n)
    }

    /// Seconds, with a fraction or without, from 0 to an hour.
    pub(crate) fn seconds(&mut self, key: &'static str, slot: &mut Duration) {
        let mut seconds = slot.as_secs_f64();
        self.real(key, 0.0..=3600.0, &mut seconds);
        *slot = Duration::from_secs_f64(seconds);
    }

    /// A list of numbers in `range`, one at least.
    pub(crate) fn reals(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        slot: &mut Vec<f64>,
    ) {
        let (low, high) = (*range.start(), *range.end());
        let allowed = || format!("a list of numbers from {low} to {high}");
        self.read(key, allowed, slot, |v| {
            let list = v.as_array().ok_or_else(|| wrong(v, "a list"))?;
            let all: Option<Vec<f64>> = list
                .iter()
                .map(|v| real_of(v.get_ref()).filter(|n| range.contains(n)))
                .collect();
            all.filter(|l| !l.is_empty())
                .ok_or_else(|| "it is empty, or one is no number in range".to_owned())
        });
    }

    /// True or false.
    pub(crate) fn flag(&mut self, key: &'static str, slot: &mut bool) {
        let allowed = || "true or false".to_owned();
        self.read(key, allowed, slot, |v| {
            v.as_bool().ok_or_else(|| wrong(v, "true or false"))
        });
    }

    /// A text that `parse` understands; `allowed` says which those are.
    pub(crate) fn text<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        slot: &mut T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) {
        let allowed = || allowed.to_owned();
        self.read(key, allowed, slot, |v| {
            let text = v.as_str().ok_or_else(|| wrong(v, "a text in quotes"))?;
            parse(text).ok_or_else(|| format!("{text:?} is not allowed"))
        });
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], slot: &mut T) {
        let allowed: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
        self.text(key, &allowed.join(", "), slot, |text| {
            words.iter().find(|(w, _)| *w == text).map(|(_, v)| *v)
        });
    }
}

fn real_of(v: &DeValue<'_>) -> Option<f64> {
    let text = match v {
        DeValue::Integer(n) => n.as_str(),
        DeValue::Float(n) => n.as_str(),
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => return None,
    };
    text.replace('_', "")
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite())
}

fn wrong(found: &DeValue<'_>, expected: &str) -> String {
    let found = match found {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    format!("{expected} is expected, {found} was found")
}
