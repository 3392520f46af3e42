//! One table of the file, taken apart key by key; what nobody asked for is unknown.

use std::{ops::Range, ops::RangeInclusive, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Problem;

/// What is found on the way through the tables.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) problems: Vec<Problem>,
    /// Every key that was asked for: its section (empty: the top) and its name.
    known: Vec<(&'static str, &'static str)>,
    /// Every key that is there and was not asked for.
    unknown: Vec<(&'static str, String, Range<usize>)>,
}

impl Walk {
    /// Notes a problem with `key` (in dots) at `span`.
    pub(super) fn problem(
        &mut self,
        key: impl Into<String>,
        span: Range<usize>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.problems.push(Problem {
            key: key.into(),
            line: 0, // from the span, once all are known
            what: what.into(),
            allowed: allowed.into(),
            span,
        });
    }

    /// Turns what nobody asked for into problems; after the last section, when every known key is known.
    pub(super) fn settle_unknown(&mut self) {
        for (section, key, span) in std::mem::take(&mut self.unknown) {
            let here = self.known.iter().filter(|(s, _)| *s == section);
            let near = here
                .clone()
                .map(|(_, k)| (distance(&key, k), *k))
                .min()
                .filter(|(d, k)| *d <= (key.len().max(k.len()) / 3).max(1));
            let elsewhere = self
                .known
                .iter()
                .find(|(s, k)| *k == key && *s != section)
                .map(|(s, _)| *s);
            let advice = match (near, elsewhere) {
                (_, Some("")) => {
                    format!("`{key}` belongs at the top of the file, before any [section]")
                }
                (_, Some(s)) => format!("`{key}` belongs in [{s}]"),
                (Some((_, k)), None) => format!("did you mean `{k}`?"),
                (None, None) => {
                    let mut all: Vec<_> = here.map(|(_, k)| *k).collect();
                    all.sort_unstable();
                    format!("known here: {}", all.join(", "))
                }
            };
            self.problem(dotted(section, &key), span, "unknown key", advice);
        }
    }
}

/// One table: the top of the file, a `[section]`, or one of `[[user]]`.
pub(super) struct Section<'w, 'a> {
    pub(super) walk: &'w mut Walk,
    name: &'static str,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'w, 'a> Section<'w, 'a> {
    pub(super) fn new(walk: &'w mut Walk, name: &'static str, table: &'a DeTable<'a>) -> Self {
        Self {
            walk,
            name,
            table,
            asked: Vec::new(),
        }
    }

    /// The value of `key`, which is known from now on.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(key);
        self.walk.known.push((self.name, key));
        self.table.get(key)
    }

    /// Where `key` has its value, if it is written.
    pub(super) fn span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// Notes a problem with `key` at `span`.
    pub(super) fn problem(
        &mut self,
        key: &str,
        span: Range<usize>,
        what: impl Into<String>,
        allowed: impl Into<String>,
    ) {
        self.walk
            .problem(dotted(self.name, key), span, what, allowed);
    }

    /// What nobody asked for is unknown.
    pub(super) fn close(self) {
        for key in self.table.keys() {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let unknown = (self.name, key.get_ref().to_string(), key.span());
                self.walk.unknown.push(unknown);
            }
        }
    }

    /// Reads `key` by `parse` into `slot`, which keeps its default when the key is absent or wrong.
    fn read<T>(
        &mut self,
        key: &'static str,
        allowed: impl FnOnce() -> String,
        slot: &mut T,
        parse: impl FnOnce(&'a DeValue<'a>) -> Result<T, String>,
    ) {
        let Some(value) = self.take(key) else { return };
        match parse(value.get_ref()) {
            Ok(v) => *slot = v,
            Err(what) => self.problem(key, value.span(), what, allowed()),
        }
    }

    /// A whole number in `range`.
    pub(super) fn number<T: TryFrom<u64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
        slot: &mut T,
    ) {
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, allowed, slot, |v| {
            let n = integer(v)?;
            u64::try_from(n)
                .ok()
                .filter(|n| range.contains(n))
                .and_then(|n| T::try_from(n).ok())
                .ok_or_else(|| format!("{n} is out of range"))
        });
    }

    /// A time in units of `unit`.
    pub(super) fn time(
        &mut self,
        key: &'static str,
        unit: Duration,
        range: RangeInclusive<u32>,
        slot: &mut Duration,
    ) {
        let mut n: Option<u32> = None;
        let allowed = || format!("a whole number from {} to {}", range.start(), range.end());
        self.read(key, allowed, &mut n, |v| {
            let n = integer(v)?;
            u32::try_from(n)
                .ok()
                .filter(|n| range.contains(n))
                .map(Some)
                .ok_or_else(|| format!("{n} is out of range"))
        });
        if let Some(n) = n {
            *slot = unit * n;
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, slot: &mut bool) {
        let allowed = || "true or false".to_owned();
        self.read(key, allowed, slot, |v| {
            v.as_bool().ok_or_else(|| wrong(v, "true or false"))
        });
    }

    /// A text that `parse` understands; `allowed` says which those are.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        slot: &mut T,
        parse: impl FnOnce(&str) -> Option<T>,
    ) {
        self.read(
            key,
            || allowed.to_owned(),
            slot,
            |v| {
                let text = v.as_str().ok_or_else(|| wrong(v, "a text in quotes"))?;
                parse(text).ok_or_else(|| format!("{text:?} is not allowed"))
            },
        );
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], slot: &mut T) {
        let allowed: Vec<String> = words.iter().map(|(w, _)| format!("{w:?}")).collect();
        self.text(key, &allowed.join(" or "), slot, |text| {
            words.iter().find(|(w, _)| *w == text).map(|(_, v)| *v)
        });
    }

    /// A list of texts, each understood by `parse`; gives each value with its place. Wrong elements are left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<(T, Range<usize>)>> {
        let value = self.take(key)?;
        let Some(array) = value.get_ref().as_array() else {
            let what = wrong(value.get_ref(), "a list in brackets");
            self.problem(key, value.span(), what, allowed);
            return None;
        };
        let mut list = Vec::new();
        for element in array.iter() {
            let what = match element.get_ref().as_str() {
                None => wrong(element.get_ref(), "a text in quotes"),
                Some(text) => match parse(text) {
                    Some(v) => {
                        list.push((v, element.span()));
                        continue;
                    }
                    None => format!("{text:?} is not allowed"),
                },
            };
            self.problem(key, element.span(), what, allowed);
        }
        Some(list)
    }
}

fn dotted(section: &str, key: &str) -> String {
    if section.is_empty() {
        key.to_owned()
    } else {
        format!("{section}.{key}")
    }
}

fn integer(v: &DeValue<'_>) -> Result<i128, String> {
    let n = v.as_integer().ok_or_else(|| wrong(v, "a whole number"))?;
    let digits = n.as_str().replace('_', "");
    i128::from_str_radix(&digits, n.radix()).map_err(|_| format!("{n} is out of range"))
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

/// How many letters must be put in, left out, changed or swapped with their neighbour to come from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if swap {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn a_swapped_pair_is_one_slip() {
        assert_eq!(distance("lisetn", "listen"), 1);
        assert_eq!(distance("listen", "listen"), 0);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("t1", "t1_ms"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
