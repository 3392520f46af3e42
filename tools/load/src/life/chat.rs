//! The kinds `churn` and `mixed`: sessions stand and chat, and beside them others are set up at intended times, chat for a
//! moment and are hung up.

use std::{cell::RefCell, collections::VecDeque, rc::Rc, time::Duration};

use serde_json::json;

use super::{
    act::Act,
    answering::LEAD,
    cast,
    census::Census,
    course::Course,
    scene::Scene,
    script::{self, Dice, Mix, scale},
    told,
};
use crate::{
    clock::{Nanos, nanos},
    leg::Role,
    post::Departure,
    report::Report,
    round::Load,
    scenario::Scenario,
    setting::Setting,
    tally::as_f64,
    trouble::Trouble,
};

/// Sessions that come and go.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Churn {
    /// Session Attempts a second (RFC 7501 §3.3.1); none if 0.
    pub(crate) per_s: f64,
    /// How long each stands.
    pub(crate) hold: Duration,
    /// What is said in each.
    pub(crate) messages: u32,
    /// Exponential gaps instead of even ones.
    pub(crate) poisson: bool,
}

/// What is said, and beside which churn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Chat {
    pub(crate) mix: Mix,
    /// What standing sessions say comes at exponential gaps, from a session at random, instead of in turn.
    pub(crate) poisson: bool,
    pub(crate) churn: Churn,
}

/// How long a call may take beside its hold, for the number of users that it takes to have one free at any time.
const SPARE: Duration = Duration::from_secs(3);

/// INVITEs are written so long before they are due, and leave at their times however busy signalling is then.
const AHEAD: Nanos = 20_000_000;

/// Runs it.
pub(crate) async fn run(
    scenario: &Scenario,
    setting: &Setting,
    chat: &Chat,
) -> Result<Report, Trouble> {
    let traffic = &scenario.traffic;
    let per_s = super::rate_of(scenario)?;
    let standing = traffic.sessions;
    let load = Load::Script { per_s, standing };
    let pool = pool(&chat.churn);
    let mut report = Report::new(scenario.name.clone(), "");
    let scene = Scene::open(
        scenario,
        setting,
        standing + pool,
        super::GIVE_UP,
        &mut report,
    )
    .await?;
    scene.peers.register().await?;
    let courses = cast::set_up(&scene, 0, standing).await?;
    scene.census.replace(Census::new());
    scene.peers.take_waited();

    let mut dice = Dice::new(setting.seed, "day");
    let answers = script::answerers(&chat.mix, standing, traffic.devices, &mut dice);
    let users = Rc::new(RefCell::new((standing..standing + pool).collect()));
    let mut churner = Churner {
        scene: Rc::clone(&scene),
        chat: *chat,
        users,
        patience: traffic.patience,
        devices: traffic.devices,
        dice: Dice::new(setting.seed, "churn"),
        next_call: standing,
    };
    let length = nanos(traffic.warmup) + nanos(traffic.steady);
    let mut tallies = Vec::new();
    for _ in 0..traffic.rounds {
        scene.begin(scenario, load)?;
        let start = scene.clock.now() + LEAD;
        let lines = match chat.poisson {
            true => script::day(&chat.mix, &answers, per_s, length, &mut dice),
            false => script::even(standing, per_s, length),
        };
        cast::perform(&scene, &lines, start, 0)?;
        churner.run(start, length).await?;
        scene.watch_until(start + length).await;
        cast::be_quiet(&courses, traffic.patience).await?;
        tallies.push(scene.finish().await?);
    }
    let mut census = scene.census.replace(Census::new());
    census.waited = scene.peers.take_waited();
    cast::hang_up(&courses).await?;
    census.add_faults(&scene.census.borrow());
    if chat.churn.per_s > 0.0 {
        report.field("session_attempts_per_s", json!(chat.churn.per_s));
    }
    scene.close(&mut report).await?;
    told::conclude(scenario, setting, tallies, load, &census, &mut report)?;
    Ok(report)
}

/// Users that calls need which come and go.
fn pool(churn: &Churn) -> u32 {
    if churn.per_s <= 0.0 {
        return 0;
    }
    let each = churn.hold + SPARE;
    // Bounded by what the scenario file may say: some thousands a second, for some seconds.
    let n = scale(nanos(each), churn.per_s) / 1_000_000_000 + 1;
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Begins calls at their times and lets each have its life.
struct Churner {
    scene: Rc<Scene>,
    chat: Chat,
    /// Those who have no call.
    users: Rc<RefCell<VecDeque<u32>>>,
    patience: Duration,
    devices: u16,
    dice: Dice,
    next_call: u32,
}

impl Churner {
    /// Lets them come for `length`, and waits until the last has gone.
    async fn run(&mut self, start: Nanos, length: Nanos) -> Result<(), Trouble> {
        let churn = self.chat.churn;
        let mut tasks = Vec::new();
        for after in attempts(&churn, length, &mut self.dice) {
            let call = self.next_call;
            self.next_call += 1;
            let at = start + after;
            match self.scene.peers.write_ahead() {
                true => self.scene.doze_until(at.saturating_sub(AHEAD)).await,
                false => self.scene.until(at).await?,
            }
            let user = self.users.borrow_mut().pop_front();
            let Some(user) = user else {
                let mut census = self.scene.census.borrow_mut();
                census.attempts += 1;
                census.failed(
                    None,
                    format!("session {call}: all users are still in calls that should have ended"),
                );
                continue;
            };
            let script = script::call(
                &self.chat.mix,
                self.devices,
                churn.messages,
                nanos(churn.hold),
                &mut self.dice,
            );
            let life = Life {
                course: Course::new(&self.scene, call, user),
                scene: Rc::clone(&self.scene),
                at,
                hold: nanos(churn.hold),
                patience: self.patience,
            };
            let users = Rc::clone(&self.users);
            tasks.push(tokio_uring::spawn(async move {
                let done = life.live(&script).await;
                users.borrow_mut().push_back(user);
                done
            }));
        }
        for task in tasks {
            cast::joined(task).await?;
        }
        Ok(())
    }
}

/// When calls are meant to begin.
fn attempts(churn: &Churn, length: Nanos, dice: &mut Dice) -> Vec<Nanos> {
    if churn.per_s <= 0.0 {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut after = 0;
    let mut n = 0;
    while after < length {
        all.push(after);
        n += 1;
        after = match churn.poisson {
            true => after + dice.gap(churn.per_s),
            // From the count: errors do not add up.
            false => scale(1_000_000_000, as_f64(n) / churn.per_s),
        };
    }
    all
}

/// One call that comes and goes.
struct Life {
    course: Course,
    scene: Rc<Scene>,
    at: Nanos,
    hold: Nanos,
    patience: Duration,
}

impl Life {
    async fn live(&self, script: &[(Nanos, super::act::Deed)]) -> Result<(), Trouble> {
        let departure = Departure::at(self.at);
        let stands = self.course.set_up(&departure).await?;
        if let Some(left) = departure.left() {
            let late = left.saturating_sub(self.at);
            self.scene.census.borrow_mut().lag.record(late);
        }
        if !stands {
            return Ok(());
        }
        // Nobody can speak before the session stands; from then on times are fixed.
        let stands = self.scene.clock.now();
        for (after, deed) in script {
            self.scene.act(Act {
                at: stands + after,
                session: self.course.call,
                deed: *deed,
            })?;
        }
        let answer = script
            .iter()
            .find(|(_, deed)| matches!(deed, super::act::Deed::Say(Role::Device(_), _)));
        if let Some((after, _)) = answer {
            self.course.settle(stands + after, self.patience).await?;
        }
        self.scene.doze_until(stands + self.hold).await;
        self.course.be_quiet(self.patience).await?;
        self.course.hang_up().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHURN: Churn = Churn {
        per_s: 50.0,
        hold: Duration::from_secs(1),
        messages: 3,
        poisson: false,
    };

    #[test]
    fn attempts_come_at_their_rate_evenly_or_by_chance() {
        let mut dice = Dice::new(3, "churn");
        let even = attempts(&CHURN, 2_000_000_000, &mut dice);
        assert_eq!(even.len(), 100);
        assert_eq!(even[99], 1_980_000_000);
        let churn = Churn {
            poisson: true,
            ..CHURN
        };
        let chance = attempts(&churn, 20_000_000_000, &mut dice);
        assert!((850..1150).contains(&chance.len()), "{}", chance.len());
        assert!(chance.is_sorted());
        let none = Churn {
            per_s: 0.0,
            ..CHURN
        };
        assert!(attempts(&none, 2_000_000_000, &mut dice).is_empty());
        assert_eq!(pool(&none), 0);
    }

    #[test]
    fn there_are_users_for_all_calls_at_a_time() {
        assert_eq!(pool(&CHURN), 201);
    }
}
