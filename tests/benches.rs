//! What the benches are made of: a wrong answer fails a case; a count over its budget fails with its figure, and what is not
//! the budgets' in the file stays.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of a test: what is wrong fails it"
)]

#[path = "../benches/instructions/budgets.rs"]
mod budgets;
#[path = "../benches/common/case.rs"]
#[allow(dead_code, reason = "the benches use all of it")]
mod case;

use std::{cell::Cell, rc::Rc};

use budgets::{Budgets, Count};
use case::{Meter, whole};

#[test]
fn a_case_does_the_rounds_that_it_is_asked_for() {
    let done = Rc::new(Cell::new(0));
    let counter = Rc::clone(&done);
    let mut rounds = whole(move || {
        counter.set(counter.get() + 1);
        true
    });
    rounds(7, &mut Meter::default());
    rounds(5, &mut Meter::counting());
    assert_eq!(done.get(), 12);
}

#[test]
#[should_panic(expected = "a round gave a wrong answer")]
fn one_wrong_answer_fails_a_case() {
    let mut n = 0;
    let mut rounds = whole(move || {
        n += 1;
        n != 3
    });
    rounds(5, &mut Meter::default());
}

fn count(name: &str, instructions: f64) -> Count {
    Count {
        name: name.to_owned(),
        unit: "head",
        instructions,
    }
}

const FILE: &str = "\
# Of somebody else.
[measure.one]
run = \"x\"

[instructions]
\"head/send\" = 100.0
\"head/gone\" = 7

# Belongs to the target.
[[target]]
id = \"one\"
";

#[test]
fn five_percent_more_is_kept_and_a_little_more_is_not() {
    let budgets = Budgets::read(FILE).unwrap();
    for (n, kept, word) in [
        (94.0, true, "cheaper: rebase"),
        (104.9, true, ""),
        (105.2, false, "OVER ITS BUDGET"),
    ] {
        let verdict = budgets.judge(&[count("head/send", n)]);
        assert_eq!(verdict.kept, kept, "{n}");
        let line = verdict.table.lines().last().unwrap().trim_end();
        assert!(line.contains(&format!("{n:.1}")) && line.contains("100.0"));
        assert!(
            line.ends_with(if word.is_empty() { "head" } else { word }),
            "{line}"
        );
    }
}

#[test]
fn a_case_without_a_budget_is_not_kept() {
    let budgets = Budgets::read(FILE).unwrap();
    let verdict = budgets.judge(&[count("head/send", 100.0), count("head/new", 1.0)]);
    assert!(!verdict.kept && verdict.table.contains("NO BUDGET"));
    assert!(!Budgets::default().judge(&[count("head/send", 1.0)]).kept);
}

#[test]
fn what_is_counted_becomes_the_budget_and_the_rest_of_the_file_stays() {
    let mut budgets = Budgets::read(FILE).unwrap();
    let known = ["head/send".to_owned(), "head/other".to_owned()];
    budgets.rebase(&[count("head/other", 12.34)], &known);
    let written = budgets.written(FILE);
    insta::assert_snapshot!(written);
    let again = Budgets::read(&written).unwrap();
    assert_eq!(again.written(&written), written);
    assert!(
        again
            .judge(&[count("head/send", 100.0), count("head/other", 12.3)])
            .kept
    );
    assert!(
        !again.judge(&[count("head/gone", 7.0)]).kept,
        "no such case any more"
    );
}

#[test]
fn a_file_without_the_table_gets_one_at_its_end() {
    let file = "[measure.one]\nrun = \"x\"\n";
    let mut budgets = Budgets::read(file).unwrap();
    budgets.rebase(&[count("head/send", 5.0)], &["head/send".to_owned()]);
    let written = budgets.written(file);
    assert!(
        written.starts_with(file) && written.ends_with("[instructions]\n\"head/send\" = 5.00\n")
    );
    assert!(Budgets::read("[instructions]\n\"head/send\" = \"much\"\n").is_err());
    assert!(Budgets::read("[instructions]\n\"head/send\" = 0\n").is_err());
}
