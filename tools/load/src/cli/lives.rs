//! Options of the scenarios about sessions' lives.

use clap::Args;

use crate::{
    scenario::{Kind, Scenario},
    trouble::Trouble,
};

/// What comes and goes.
#[derive(Args, Debug)]
pub(super) struct Lives {
    /// churn, mixed: sessions a second that come and go; 0 for none.
    #[arg(long, value_name = "PER_S", value_parser = per_s)]
    churn: Option<f64>,
    /// register-storm: registrations a second.
    #[arg(long, value_name = "PER_S", value_parser = per_s, conflicts_with = "burst")]
    registrations: Option<f64>,
    /// register-storm: all at once.
    #[arg(long)]
    burst: bool,
}

impl Lives {
    /// What is said here goes before what the scenario says.
    pub(super) fn change(&self, scenario: &mut Scenario) -> Result<(), Trouble> {
        let name = &scenario.name;
        let not_for =
            |option| Trouble::usage(format!("{option} says nothing about scenario {name}"));
        if let Some(per_s) = self.churn {
            let (Kind::Churn(chat) | Kind::Mixed(chat)) = &mut scenario.kind else {
                return Err(not_for("--churn"));
            };
            chat.churn.per_s = per_s;
        }
        if self.registrations.is_some() || self.burst {
            let Kind::RegisterStorm(storm) = &mut scenario.kind else {
                return Err(not_for("--registrations or --burst"));
            };
            storm.per_s = self.registrations.filter(|per_s| *per_s > 0.0);
        }
        Ok(())
    }
}

fn per_s(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|r: &f64| (0.0..=1e6).contains(r))
        .ok_or_else(|| "expected a number a second".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Cli;
    use crate::scenario::{Kind, Scenario};

    fn scenario(args: &str) -> Result<Scenario, String> {
        let words = std::iter::once("ringfork-load").chain(args.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|e| e.to_string())?;
        cli.play.scenario().map_err(|e| e.to_string())
    }

    #[test]
    fn options_change_the_kind_that_they_are_about_and_no_other() {
        let to = "--target 127.0.0.1:1";
        let Kind::Mixed(chat) = scenario(&format!("mixed --churn 500 {to}")).unwrap().kind else {
            panic!("not mixed");
        };
        assert!((chat.churn.per_s - 500.0).abs() < 1e-9);
        for (args, per_s) in [("--registrations 7", Some(7.0)), ("--burst", None)] {
            let Kind::RegisterStorm(storm) = scenario(&format!("register-storm {args} {to}"))
                .unwrap()
                .kind
            else {
                panic!("no storm");
            };
            assert_eq!(storm.per_s, per_s);
        }
        for wrong in [
            "oneway --churn 5",
            "mixed --burst",
            "register-storm --burst --registrations 5",
            "churn --churn -1",
        ] {
            assert!(scenario(&format!("{wrong} {to}")).is_err(), "{wrong}");
        }
    }
}
