//! A source file, with and without its comments, texts and tests.

use std::{collections::BTreeSet, fs, path::Path};

/// One file of the tree.
pub(super) struct Source {
    /// From the root of the repository, with `/`.
    pub(super) path: String,
    /// As it is.
    pub(super) raw: String,
    /// Comments, texts and characters are blanks; lines are where they were.
    code: String,
}

/// Every Rust file below `folders`.
pub(super) fn all(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        walk(Path::new(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(at: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(at) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("the folder can be read").path();
        // The fuzz package stands outside the workspace, with its own build folder.
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            found.push(Source::new(&path.to_string_lossy(), &text));
        }
    }
}

/// The names of the crates that a manifest's dependencies have in code.
pub(super) fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(" = ") {
            names.insert(match name {
                "md-5" => "md5".to_owned(),
                name => name.replace('-', "_"),
            });
        }
    }
    names
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            raw: text.to_owned(),
            code: code(text),
        }
    }

    /// Without its unit tests.
    pub(super) fn production(&self) -> Self {
        let cut = if self.path.ends_with("/tests.rs") {
            0
        } else {
            self.code.find("#[cfg(test)]").unwrap_or(self.code.len())
        };
        Self {
            path: self.path.clone(),
            raw: String::new(),
            code: self.code.get(..cut).unwrap_or("").to_owned(),
        }
    }

    /// The rooms of this crate that the code uses, its unit tests apart.
    pub(super) fn rooms_used(&self) -> BTreeSet<String> {
        let production = self.production();
        let mut rooms = BTreeSet::new();
        for (_, rest) in production.after("crate::") {
            rooms.extend(first_names(rest));
        }
        // Macros and items of the crate's root have no room.
        rooms.retain(|r| r.starts_with(|c: char| c.is_ascii_lowercase()));
        rooms
    }

    /// Which of `crates` the code uses, its unit tests apart.
    pub(super) fn crates_used(&self, crates: &BTreeSet<String>) -> BTreeSet<String> {
        let production = self.production();
        let uses = |name: &String| {
            let path = format!("{name}::");
            let by_path = production.occurrences(&path).any(|at| {
                let before = &production.code[..at];
                // `crate::io::x` or `self.bytes::<T>` is no crate of that name.
                !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c))
            });
            by_path || production.code.contains(&format!("use {name};"))
        };
        crates.iter().filter(|c| uses(c)).cloned().collect()
    }

    fn occurrences<'a>(&'a self, what: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(what).map(|(at, _)| at)
    }

    /// What follows each occurrence of `what` in the code, with its line.
    pub(super) fn after<'a>(
        &'a self,
        what: &'a str,
    ) -> impl Iterator<Item = (usize, &'a str)> + 'a {
        self.occurrences(what)
            .filter(|at| {
                let before = self.code[..*at].chars().next_back();
                let begins_word = what.starts_with(|c: char| c.is_alphabetic());
                !begins_word || before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            })
            .map(|at| (line_of(&self.code, at), &self.code[at + what.len()..]))
    }

    /// The lines where `word` stands in the code by itself.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.after(word)
            .filter(|(_, rest)| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
            .map(|(line, _)| line)
    }

    /// Requirement ids in brackets, each with its line.
    pub(super) fn ids(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.raw.lines().enumerate().flat_map(|(n, line)| {
            let pieces = line.split('[').skip(1);
            let inside = pieces.filter_map(|p| p.split_once(']').map(|(id, _)| id));
            inside
                .filter(|id| is_id(id))
                .map(move |id| (n + 1, id.to_owned()))
        })
    }

    /// Whether a line belongs to a test.
    pub(super) fn in_test(&self, line: usize) -> bool {
        let begins = self.raw.lines().position(|l| l.trim() == "#[cfg(test)]");
        !self.path.starts_with("src/")
            || self.path.ends_with("/tests.rs")
            || begins.is_some_and(|n| line > n)
    }
}

/// `MSRP-FRAME-06`, `TERM-INV-13b`: capitals and digits in at least three parts, or two with a family of three letters.
fn is_id(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [family @ .., number] = parts.as_slice() else {
        return false;
    };
    let capital = |p: &&str| {
        p.starts_with(|c: char| c.is_ascii_uppercase())
            && p.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    let number = number.trim_end_matches(|c: char| c.is_ascii_lowercase());
    family.first().is_some_and(|f| f.len() >= 3)
        && family.iter().skip(1).all(|p| {
            p.bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
        })
        && family.first().is_some_and(capital)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

/// The first names of a path or of a group of paths.
fn first_names(rest: &str) -> Vec<String> {
    let name = |t: &str| -> String {
        let t = t.trim_start();
        t.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|n| !n.is_empty());
    names
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

/// `text` with comments, texts and characters blanked out.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let skipped = skip(rest, before);
        let n = skipped.max(c.len_utf8());
        let (part, tail) = rest.split_at(n);
        if skipped > 0 {
            out.extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            out.push(c);
        }
        before = part.chars().next_back().unwrap_or(' ');
        rest = tail;
    }
    out
}

/// Bytes of the comment, text or character that `rest` begins with; 0: it is code.
fn skip(rest: &str, before: char) -> usize {
    let to = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return to(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return to(rest.find("*/").map(|n| n + 2));
    }
    let in_word = before.is_alphanumeric() || before == '_';
    for prefix in ["r", "br"] {
        if let Some(raw) = rest.strip_prefix(prefix).filter(|_| !in_word) {
            let hashes = raw.bytes().take_while(|b| *b == b'#').count();
            if raw[hashes..].starts_with('"') {
                let end = format!("\"{}", "#".repeat(hashes));
                let from = prefix.len() + hashes + 1;
                return to(rest[from..].find(&end).map(|n| from + n + end.len()));
            }
        }
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    // A lifetime has no second quote within a character's length.
    if let Some(behind) = rest.strip_prefix('\'') {
        let mut chars = behind.char_indices();
        let first = chars.next().map(|(_, c)| c);
        let second = chars.next();
        let is_char = first == Some('\\') || second.is_some_and(|(_, c)| c == '\'');
        return if is_char { quoted(rest, '\'') } else { 0 };
    }
    0
}

/// Bytes up to and with the closing quote, escapes apart.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
