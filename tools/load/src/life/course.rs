//! The course of one call: set up at an intended time, torn down but for one device once one has answered, hung up, and
//! counted on the way.

use std::{rc::Rc, time::Duration};

use super::{board::Entry, scene::Scene};
use crate::{clock::Nanos, plane::Command, post::Departure, trouble::Trouble};

/// How long all legs of a call may take until their connections are there, and how long devices may wait for their BYEs
/// when the caller has hung up.
const LEGS_UP: Duration = Duration::from_secs(15);
const BYES: Duration = Duration::from_secs(8);

/// A call of a scene.
#[derive(Clone)]
pub(crate) struct Course {
    scene: Rc<Scene>,
    pub(crate) call: u32,
    user: u32,
}

impl Course {
    /// `call` is a number that no other call of the run has.
    pub(crate) fn new(scene: &Rc<Scene>, call: u32, user: u32) -> Self {
        Self {
            scene: Rc::clone(scene),
            call,
            user,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Nanos {
        self.scene.clock.now()
    }

    /// Sets it up: from the INVITE to the last leg's connection. False if it came to nothing, which is counted.
    pub(crate) async fn set_up(&self, departure: &Departure) -> Result<bool, Trouble> {
        let at = departure.at;
        if !self.invite(departure).await {
            self.scene.forget(self.call)?;
            return Ok(false);
        }
        if !self.stands(at).await {
            self.hang_up().await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// From INVITE to ACK.
    async fn invite(&self, departure: &Departure) -> bool {
        let (scene, call, at) = (&self.scene, self.call, departure.at);
        scene.watch_call(call);
        let answer = scene.peers.call(call, self.user, departure).await;
        let start = departure.left().unwrap_or(at);
        let mut census = scene.census.borrow_mut();
        census.attempts += 1;
        match answer {
            Ok((answered, acked)) => {
                census.request_delay.record(answered.saturating_sub(start));
                census.setup.record(acked.saturating_sub(at));
                true
            }
            Err(e) => {
                census.failed(e.code, format!("session {call}: {e}"));
                false
            }
        }
    }

    /// Waits until every leg has its connection and every device its ACK: before that the server need not know that the
    /// device is there, and nothing is owed to it.
    async fn stands(&self, at: Nanos) -> bool {
        let (scene, call) = (&self.scene, self.call);
        let devices = usize::from(scene.devices);
        let is_up = |up: usize, acked: usize| up > devices && acked >= devices;
        let settled = |e: &Entry| is_up(e.up, e.acked) || e.broken.is_some();
        scene.when(call, LEGS_UP, settled).await;
        let entry = scene.entry(call, |e| (e.up, e.acked, e.up_at, e.broken.clone()));
        let (up, acked, up_at, broken) = entry.unwrap_or_default();
        let mut census = scene.census.borrow_mut();
        if is_up(up, acked) {
            census.standing.record(up_at.saturating_sub(at));
            return true;
        }
        census.legs_missing += 1;
        census.finding(format!(
            "session {call}: {up} of {} connections came up, {acked} of {devices} devices got an ACK{}",
            1 + devices,
            broken.map(|b| format!("; {b}")).unwrap_or_default()
        ));
        false
    }

    /// Waits until a device has spoken, at `at` or a little later, and all others have got their BYEs, as long as `patience`
    /// lasts.
    pub(crate) async fn settle(&self, at: Nanos, patience: Duration) -> Result<(), Trouble> {
        let (scene, call) = (&self.scene, self.call);
        let left = Duration::from_nanos(at.saturating_sub(scene.clock.now()));
        if !scene
            .when(call, left + patience, |e| e.active.is_some())
            .await
        {
            return Ok(());
        }
        let others = usize::from(scene.devices) - 1;
        // What is missing after this time is counted when the call ends.
        scene.when(call, patience, |e| e.byes.len() >= others).await;
        Ok(())
    }

    /// Waits until all has come that was asked for until now, as long as `patience` lasts.
    pub(crate) async fn be_quiet(&self, patience: Duration) -> Result<(), Trouble> {
        let (scene, call) = (&self.scene, self.call);
        scene.ask(Command::Watch(call))?;
        scene.when(call, patience, |e| e.is_quiet).await;
        scene.ask(Command::Ending(call))
    }

    /// Ends it: who stayed is counted, then the caller hangs up and every device has to get its BYE.
    pub(crate) async fn hang_up(&self) -> Result<(), Trouble> {
        let (scene, call) = (&self.scene, self.call);
        scene.ask(Command::Ending(call))?;
        self.count_who_stayed();
        let start = self.now();
        let answer = scene.peers.hang_up_one(call).await;
        {
            let mut census = scene.census.borrow_mut();
            match answer {
                Ok(Some(took)) => census.disconnect_delay.record(took),
                Ok(None) => {}
                Err(e) => {
                    census.bye_failures += 1;
                    census.finding(format!("session {call}: {e}"));
                }
            }
        }
        let stand = || scene.peers.standing(call);
        scene.when(call, BYES, |_| stand() == 0).await;
        let last = scene
            .entry(call, |e| e.byes.values().map(|b| b.at).max())
            .flatten();
        {
            let mut census = scene.census.borrow_mut();
            let left = stand() as u64;
            if left > 0 {
                census.legs_without_bye += left;
                census.finding(format!("session {call}: {left} devices got no BYE"));
            } else if let Some(last) = last.filter(|at| *at >= start) {
                census.dismissal.record(last - start);
            }
        }
        scene.forget(call)
    }

    /// After activity exactly one device stays, and the others were told why.
    fn count_who_stayed(&self) {
        let (scene, call) = (&self.scene, self.call);
        let Some((Some((_, at)), byes)) = scene.entry(call, |e| (e.active, e.byes.clone())) else {
            return;
        };
        let standing = scene.peers.standing(call);
        let mut census = scene.census.borrow_mut();
        census.active += 1;
        if standing == 0 {
            census.nobody_stayed += 1;
            census.finding(format!("session {call}: no device stayed"));
        } else if standing > 1 {
            census.stayed += standing as u64 - 1;
            census.finding(format!("session {call}: {standing} devices stayed"));
        } else if let Some(last) = byes.values().map(|b| b.at).max() {
            census.teardown.record(last.saturating_sub(at));
        }
        let wrong = byes.values().filter(|b| b.cause != Some(200)).count() as u64;
        if wrong > 0 {
            census.wrong_reason += wrong;
            census.finding(format!(
                "session {call}: {wrong} BYEs without Reason: SIP;cause=200"
            ));
        }
    }
}
