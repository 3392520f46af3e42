//! The tables of the kinds that are about sessions' lives.

use std::time::Duration;

use super::walk::Section;
use crate::life::{
    chat::{Chat, Churn},
    registrations::Storm,
    script::Mix,
};

/// Calls a second that one generator can be asked for.
const PER_S: std::ops::RangeInclusive<f64> = 0.0..=10_000.0;

/// `[churn]`: sessions come and go at an even pace.
pub(super) fn churn(s: &mut Section<'_, '_>) -> Chat {
    let mut churn = Churn {
        per_s: 50.0,
        hold: Duration::from_secs(1),
        messages: 3,
        poisson: false,
    };
    s.real("per_s", PER_S, &mut churn.per_s);
    s.seconds("hold_s", &mut churn.hold);
    s.number("messages", 0..=1000, &mut churn.messages);
    s.flag("poisson", &mut churn.poisson);
    Chat {
        mix: Mix::PLAIN,
        poisson: churn.poisson,
        churn,
    }
}

/// `[mixed]`: shares of what is said, and churn; all by chance.
pub(super) fn mixed(s: &mut Section<'_, '_>) -> Chat {
    let mut mix = Mix {
        composing: 0.25,
        reported: 0.2,
        replies: 0.3,
        answered: 0.5,
    };
    for (key, slot) in [
        ("composing", &mut mix.composing),
        ("reported", &mut mix.reported),
        ("replies", &mut mix.replies),
        ("answered", &mut mix.answered),
    ] {
        s.real(key, 0.0..=1.0, slot);
    }
    let mut churn = Churn {
        per_s: 20.0,
        hold: Duration::from_secs(2),
        messages: 4,
        poisson: true,
    };
    s.real("churn_per_s", PER_S, &mut churn.per_s);
    s.seconds("churn_hold_s", &mut churn.hold);
    s.number("churn_messages", 0..=1000, &mut churn.messages);
    Chat {
        mix,
        poisson: true,
        churn,
    }
}

/// `[register-storm]`: a rate, or all at once.
pub(super) fn register_storm(s: &mut Section<'_, '_>) -> Storm {
    let per_s = s.real_if_any("per_s", 0.001..=1e6);
    let mut threshold = Duration::from_secs(8);
    s.seconds("threshold_s", &mut threshold);
    Storm { per_s, threshold }
}
