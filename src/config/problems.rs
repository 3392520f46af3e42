//! What is wrong with a configuration: all of it, each in its place.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key in dots, as `sip.t1_ms`; empty where the text is no TOML.
    pub key: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What is allowed, or what to do.
    pub allowed: String,
    /// The bytes of the text that are meant.
    pub(super) span: Range<usize>,
}

/// Everything that is wrong with a configuration, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    name: String,
    text: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(name: &str, text: &str, mut list: Vec<Problem>) -> Self {
        for problem in &mut list {
            let end = text.len();
            problem.span = problem.span.start.min(end)..problem.span.end.min(end);
            problem.line = 1 + text.as_bytes()[..problem.span.start]
                .iter()
                .filter(|b| **b == b'\n')
                .count();
        }
        list.sort_by_key(|p| p.span.start);
        Self {
            name: name.to_owned(),
            text: text.to_owned(),
            list,
        }
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// All of them, each with the lines that it is about; `coloured` for a terminal.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let one = |p: &Problem| {
            let title = if p.key.is_empty() {
                p.what.clone()
            } else {
                format!("`{}`: {}", p.key, p.what)
            };
            let snippet = Snippet::source(self.text.as_str())
                .path(self.name.as_str())
                .annotation(AnnotationKind::Primary.span(p.span.clone()));
            let group = Group::with_title(Level::ERROR.primary_title(title)).element(snippet);
            let group = if p.allowed.is_empty() {
                group
            } else {
                group.element(Level::HELP.message(p.allowed.as_str()))
            };
            renderer.render(&[group])
        };
        let all: Vec<String> = self.list.iter().map(one).collect();
        all.join("\n\n")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}
