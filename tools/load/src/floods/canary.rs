//! The canary: a well-behaved session on the shard that is flooded. It must lose nothing.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::Ordering,
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    chat::{Chat, Manner, Stop, heard, pause, push, socket},
    text,
};
use crate::{
    clock::{Clock, Nanos, nanos},
    report::round3,
    trouble::Trouble,
};

const EVERY: Duration = Duration::from_millis(100);
const REGISTERS_EVERY: Duration = Duration::from_millis(500);
const DEVICES: usize = 2;
/// How long it waits in the end for what is under way.
const REST: Duration = Duration::from_secs(5);
/// T1, and how often a request goes out at most.
const T1: Duration = Duration::from_millis(500);
const TRIES: u32 = 7;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Song {
    pub(super) sent: u64,
    pub(super) expected: u64,
    pub(super) delivered: u64,
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) registers: u64,
    pub(super) registers_lost: u64,
    /// Of deliveries and of REGISTERs, in nanoseconds: those that were begun before the flood, and within it.
    quiet: Vec<Nanos>,
    loud: Vec<Nanos>,
    quiet_registers: Vec<Nanos>,
    loud_registers: Vec<Nanos>,
}

fn quantile(all: &[Nanos], q: f64) -> f64 {
    let mut all = all.to_vec();
    all.sort_unstable();
    let at = crate::tally::as_f64(all.len() as u64) * q;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below the length"
    )]
    let at = (at as usize).min(all.len().saturating_sub(1));
    all.get(at).map_or(f64::NAN, |ns| crate::tally::as_f64(*ns))
}

impl Song {
    pub(super) fn lost(&self) -> u64 {
        self.expected - self.delivered.min(self.expected)
    }

    pub(super) fn unanswered(&self) -> u64 {
        self.sent - (self.answered + self.refused).min(self.sent)
    }

    /// Of the medians, within the flood over before.
    pub(super) fn ratio(&self) -> f64 {
        quantile(&self.loud, 0.5) / quantile(&self.quiet, 0.5)
    }

    pub(super) fn json(&self) -> Value {
        let us = |all: &[Nanos]| {
            json!({
                "p50": round3(quantile(all, 0.5) / 1e3),
                "p99": round3(quantile(all, 0.99) / 1e3),
                "max": round3(quantile(all, 1.0) / 1e3),
            })
        };
        json!({
            "sent": self.sent, "expected": self.expected, "delivered": self.delivered, "lost": self.lost(),
            "answered": self.answered, "unanswered": self.unanswered(), "refused": self.refused,
            "registers": self.registers, "registers_lost": self.registers_lost,
            "quiet_us": us(&self.quiet), "flood_us": us(&self.loud),
            "quiet_register_us": us(&self.quiet_registers), "flood_register_us": us(&self.loud_registers),
            "delay_ratio": round3(self.ratio()),
            "register_ratio": round3(quantile(&self.loud_registers, 0.5) / quantile(&self.quiet_registers, 0.5)),
        })
    }
}

/// A canary that sings.
pub(super) struct Canary {
    stop: Stop,
    end: Stop,
    /// Where MSRP is taken.
    pub(super) msrp: SocketAddr,
    singer: JoinHandle<Song>,
    registrant: JoinHandle<Song>,
}

impl Canary {
    /// Its session stands, and it begins; what it does before `flood` is set was in the quiet.
    pub(super) fn start(server: SocketAddr, clock: Clock, flood: &Stop) -> Result<Self, Trouble> {
        let (stop, end) = (Stop::default(), Stop::default());
        let chat = Chat::open(server, "canary", &[Manner::Good; DEVICES], clock, &end)?;
        let msrp = chat.stream.peer_addr()?;
        let registrant = {
            let (stop, flood) = (stop.clone(), flood.clone());
            thread::spawn(move || register(server, clock, &stop, &flood).unwrap_or_default())
        };
        let singer = {
            let (stop, flood) = (stop.clone(), flood.clone());
            thread::spawn(move || sing(&chat, clock, &stop, &flood))
        };
        Ok(Self {
            stop,
            end,
            msrp,
            singer,
            registrant,
        })
    }

    /// It stops, and says what came of it.
    pub(super) fn end(self) -> Result<Song, Trouble> {
        self.stop.set();
        let gone = |_| Trouble::failed("the canary panicked");
        let mut song = self.singer.join().map_err(gone)?;
        let registers = self.registrant.join().map_err(gone)?;
        self.end.set();
        song.registers = registers.registers;
        song.registers_lost = registers.registers_lost;
        song.quiet_registers = registers.quiet_registers;
        song.loud_registers = registers.loud_registers;
        Ok(song)
    }
}

fn sing(chat: &Chat, clock: Clock, stop: &Stop, flood: &Stop) -> Song {
    let mut song = Song::default();
    // When each was sent, and whether in the quiet.
    let mut sent: BTreeMap<String, (Nanos, bool)> = BTreeMap::new();
    let never = Stop::default();
    let collect = |song: &mut Song, sent: &BTreeMap<String, (Nanos, bool)>| {
        while let Ok(got) = chat.got.try_recv() {
            if got.device < DEVICES
                && let Some((at, quiet)) = sent.get(&got.text)
            {
                song.delivered += 1;
                let all = if *quiet {
                    &mut song.quiet
                } else {
                    &mut song.loud
                };
                all.push(got.at.saturating_sub(*at));
            }
        }
    };
    let mut next = clock.now();
    while !stop.is_set() {
        let text = format!("song-{}", song.sent);
        let body = text::cpim(&text, 300);
        let id = text::fresh("m");
        let bytes = text::send(chat.paths(), &id, (1, body.len()), &body, '$');
        sent.insert(text, (clock.now(), !flood.is_set()));
        song.sent += 1;
        song.expected += DEVICES as u64;
        if push(&chat.stream, &bytes, &never).is_err() {
            break;
        }
        next += nanos(EVERY);
        pause(
            clock,
            Duration::from_nanos(next.saturating_sub(clock.now())),
        );
        collect(&mut song, &sent);
    }
    let until = clock.now() + nanos(REST);
    loop {
        collect(&mut song, &sent);
        song.answered = chat.answers.ok.load(Ordering::Relaxed);
        song.refused = chat.answers.other.load(Ordering::Relaxed);
        if (song.lost() == 0 && song.unanswered() == 0) || clock.now() > until {
            return song;
        }
        pause(clock, Duration::from_millis(10));
    }
}

/// Registers again and again, as a user agent does it over UDP: sent again after T1, doubling.
fn register(server: SocketAddr, clock: Clock, stop: &Stop, flood: &Stop) -> Option<Song> {
    let mut song = Song::default();
    let socket = socket().ok()?;
    let here = socket.local_addr().ok()?;
    let call_id = text::fresh("again");
    let mut next = clock.now();
    while !stop.is_set() {
        song.registers += 1;
        let cseq = u32::try_from(song.registers).unwrap_or(u32::MAX);
        let contact = format!("<sip:again@{here}>");
        let request = text::register("again", here, "UDP", &contact, (&call_id, cseq));
        let (at, quiet) = (clock.now(), !flood.is_set());
        let wanted = format!("{cseq} REGISTER");
        let mut wait = T1;
        let mut ok = false;
        'tries: for _ in 0..TRIES {
            socket.send_to(&request, server).ok()?;
            let until = clock.now() + nanos(wait);
            while clock.now() < until {
                if let Ok(Some((m, _))) = heard(&socket)
                    && text::header(&m, "CSeq") == Some(&wanted)
                {
                    ok = text::code(&m) == Some(200);
                    break 'tries;
                }
            }
            wait = (2 * wait).min(Duration::from_secs(4));
        }
        if ok {
            let all = if quiet {
                &mut song.quiet_registers
            } else {
                &mut song.loud_registers
            };
            all.push(clock.now() - at);
        } else {
            song.registers_lost += 1;
        }
        next += nanos(REGISTERS_EVERY);
        pause(
            clock,
            Duration::from_nanos(next.saturating_sub(clock.now())),
        );
    }
    Some(song)
}
