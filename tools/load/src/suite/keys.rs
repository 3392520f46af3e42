//! A TOML file taken apart key by key: what is missing, wrong or unknown is noted with its line, and reading goes on.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Range, RangeInclusive},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What is wrong with a file, each with its line and key.
#[derive(Debug)]
pub(crate) struct Problems {
    name: String,
    /// Where each line begins.
    lines: Vec<usize>,
    list: Vec<(usize, String, String)>,
    /// The text is no TOML: what seems to be wrong with its keys may not be.
    broken: bool,
}

impl Problems {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        Self {
            name: name.to_owned(),
            lines: std::iter::once(0)
                .chain(starts.map(|(i, _)| i + 1))
                .collect(),
            list: Vec::new(),
            broken: false,
        }
    }

    /// The text's tables, as far as it is TOML.
    pub(crate) fn document<'a>(&mut self, text: &'a str) -> Spanned<DeTable<'a>> {
        let (document, errors) = DeTable::parse_recoverable(text);
        for e in &errors {
            self.add(e.span().unwrap_or(0..0), "", e.message());
        }
        self.broken = !errors.is_empty();
        document
    }

    /// Notes a problem with `key` at `place`.
    pub(crate) fn add(&mut self, place: Range<usize>, key: &str, what: impl Into<String>) {
        if !self.broken {
            let line = self.lines.partition_point(|start| *start <= place.start);
            self.list.push((line, key.to_owned(), what.into()));
        }
    }

    /// `value`, if nothing was wrong.
    pub(crate) fn or<T>(mut self, value: T) -> Result<T, Self> {
        self.list.sort();
        if self.list.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// Lines, from 1, and keys.
    #[cfg(test)]
    pub(crate) fn places(&self) -> Vec<(usize, String)> {
        let each = self.list.iter();
        each.map(|(line, key, _)| (*line, key.clone())).collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (line, key, what)) in self.list.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            let colon = if key.is_empty() { "" } else { ": " };
            write!(f, "{newline}{}:{line}: {key}{colon}{what}", self.name)?;
        }
        Ok(())
    }
}

/// One table; keys that nobody asked for are unknown.
pub(crate) struct Table<'a> {
    /// In dots, as people name it.
    name: String,
    table: &'a DeTable<'a>,
    whole: Range<usize>,
    asked: Vec<&'static str>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Table<'a> {
    /// `whole` is where it stands: what is missing has no other place.
    pub(crate) fn new(
        name: impl Into<String>,
        table: &'a DeTable<'a>,
        whole: Range<usize>,
    ) -> Self {
        Self {
            name: name.into(),
            table,
            whole,
            asked: Vec::new(),
        }
    }

    /// A key of this table in dots.
    pub(crate) fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Where a key's value stands; where the table begins if there is none.
    pub(crate) fn place(&self, key: &str) -> Range<usize> {
        self.table
            .get(key)
            .map_or_else(|| self.whole.clone(), Spanned::span)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(key);
        self.table.get(key)
    }

    /// A key that others read.
    pub(crate) fn leave(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        problems: &mut Problems,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let read = read(value.get_ref());
        if read.is_none() {
            problems.add(value.span(), &self.key(key), format!("expected {expected}"));
        }
        read
    }

    fn must(&self, key: &str, problems: &mut Problems) {
        if !self.has(key) {
            problems.add(self.whole.clone(), &self.key(key), "missing");
        }
    }

    /// A text that is not empty.
    pub(crate) fn optional_text(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<String> {
        self.read(key, "a text", problems, |v| {
            v.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
        })
    }

    /// The same, where it has to be; empty if it is not.
    pub(crate) fn text(&mut self, key: &'static str, problems: &mut Problems) -> String {
        self.must(key, problems);
        self.optional_text(key, problems).unwrap_or_default()
    }

    /// A number above 0.
    pub(crate) fn optional_number(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<f64> {
        self.read(key, "a number above 0", problems, |v| {
            let text = match v {
                DeValue::Integer(i) => i.as_str(),
                DeValue::Float(f) => f.as_str(),
                DeValue::String(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => return None,
            };
            text.parse()
                .ok()
                .filter(|n: &f64| n.is_finite() && *n > 0.0)
        })
    }

    /// A whole number in `range`; its least if there is none.
    pub(crate) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
        problems: &mut Problems,
    ) -> u32 {
        self.must(key, problems);
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let least = *range.start();
        self.read(key, &expected, problems, |v| {
            v.as_integer()?
                .as_str()
                .parse()
                .ok()
                .filter(|n| range.contains(n))
        })
        .unwrap_or(least)
    }

    pub(crate) fn optional_flag(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<bool> {
        self.read(key, "true or false", problems, DeValue::as_bool)
    }

    /// `[[key]]`, in order.
    pub(crate) fn tables(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Table<'a>> {
        let name = self.key(key);
        let all = self.read(key, "[[…]]: a list of tables", problems, |v| {
            v.as_array()?
                .iter()
                .map(|v| Some(Table::new(name.clone(), v.get_ref().as_table()?, v.span())))
                .collect()
        });
        all.unwrap_or_default()
    }

    /// `[key.NAME]`, with their names.
    pub(crate) fn tables_by_name(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> BTreeMap<String, Table<'a>> {
        let name = self.key(key);
        let all = self.read(key, "[….NAME]: tables with a name each", problems, |v| {
            v.as_table()?
                .iter()
                .map(|(k, v)| {
                    let of = k.get_ref().to_string();
                    let table =
                        Table::new(format!("{name}.{of}"), v.get_ref().as_table()?, k.span());
                    Some((of, table))
                })
                .collect()
        });
        all.unwrap_or_default()
    }

    /// The names in `[key.NAME]` and where each stands.
    pub(crate) fn names(&self, key: &str) -> Vec<(String, Range<usize>)> {
        let tables = self.table.get(key).and_then(|v| v.get_ref().as_table());
        tables.map_or_else(Vec::new, |t| {
            t.keys()
                .map(|k| (k.get_ref().to_string(), k.span()))
                .collect()
        })
    }

    /// Notes what nobody asked for.
    pub(crate) fn end(self, problems: &mut Problems) {
        for key in self.table.keys() {
            let said = key.get_ref().as_ref();
            if self.asked.contains(&said) {
                continue;
            }
            let near = self.asked.iter().map(|k| (distance(said, k), *k)).min();
            let what = match near {
                Some((d, k)) if d <= (said.len().max(k.len()) / 3).max(1) => {
                    format!("unknown key; did you mean `{k}`?")
                }
                Some(_) | None => format!("unknown key; known: {}", self.asked.join(", ")),
            };
            problems.add(key.span(), &self.key(said), what);
        }
    }
}

/// How many letters have to be put in, taken out, changed, or turned round with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(x != y))
                .min(rows[i][j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("rounds", "rounds"), 0);
        assert_eq!(distance("waht", "what"), 1);
        assert_eq!(distance("round", "rounds"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
