//! Where lives are played: a server, callers and devices, the data plane, and the pump that brings what the data plane and
//! signalling say to who waits for it.

use std::{
    cell::{Cell, RefCell},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use serde_json::json;

use super::{
    act::{Act, Deed},
    board::{Board, Entry},
    census::Census,
};
use crate::{
    bell::Hearer,
    clock::{Clock, Nanos, nanos},
    hiccup::Meter,
    leftovers,
    link::{Asker, Link},
    pin,
    plane::{Command, Settings, body_bytes_min},
    proc,
    report::Report,
    round::{Load, Plan},
    scenario::Scenario,
    setting::{Setting, Target},
    spawn::Server,
    tally::Tally,
    trouble::Trouble,
    ua::{self, News, Peers, PeersOptions},
};

/// A session that is nobody's.
const NOBODY: u32 = u32::MAX;
/// After which a device that was hung up closes its connection, so that its 200 is there first.
const PARTING: Nanos = 50_000_000;
/// Longest time without a look at what is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// The scene of a run.
pub(crate) struct Scene {
    pub(crate) clock: Clock,
    pub(crate) peers: Peers,
    /// What calls came to.
    pub(crate) census: RefCell<Census>,
    /// Devices of each user.
    pub(crate) devices: u16,
    asker: Asker,
    link: RefCell<Link>,
    board: RefCell<Board>,
    ending: Cell<bool>,
    meter: RefCell<Meter>,
    server: RefCell<Option<Server>>,
    /// The process that is measured, if it is on this machine.
    pid: Option<u32>,
}

impl Scene {
    /// A server that runs or is started, and `users` callers and users; nobody is registered yet. After `give_up` a request
    /// without an answer has failed.
    pub(crate) async fn open(
        scenario: &Scenario,
        setting: &Setting,
        users: u32,
        give_up: Duration,
        report: &mut Report,
    ) -> Result<Rc<Self>, Trouble> {
        let traffic = &scenario.traffic;
        if traffic.body_bytes < body_bytes_min() {
            return Err(Trouble::usage(format!(
                "--body {}: at least {} bytes, for the marks that are checked",
                traffic.body_bytes,
                body_bytes_min()
            )));
        }
        if let Some(core) = setting.own_core() {
            pin::this_thread(core)?;
        }
        let clock = Clock::start();
        let mut server = None;
        let sip = match &setting.target {
            Target::Running(sip) => {
                report.target = format!("sip:{sip}");
                *sip
            }
            Target::Spawned(options) => {
                report.target = options.command.clone();
                server.insert(Server::start(options, clock).await?).sip
            }
            Target::Forwarder(_) | Target::Relay(_) | Target::Direct | Target::Kamailio(_) => {
                return Err(Trouble::usage(format!(
                    "{} is about sessions' lives: it needs --target or --spawn",
                    scenario.name
                )));
            }
        };
        let link = Link::start(
            Settings {
                body_bytes: traffic.body_bytes,
                devices: traffic.devices,
                chunking: None,
                seed: setting.seed,
                run: setting.run,
                grain: setting.grain,
            },
            clock,
            ua::listen_for(match server {
                Some(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
                None => sip,
            })?,
            setting.own_core(),
        )?;
        // On a core of its own; elsewhere it would take whatever core others work on, the server's too.
        let realtime = setting.own_core().is_some() && link.put_first().await;
        report.field("realtime", json!(realtime));
        let peers = Peers::start(
            PeersOptions {
                server: sip,
                style: scenario.signalling,
                sessions: users,
                devices: traffic.devices,
                first_user: 0,
                seed: setting.seed,
                msrp: link.listens(),
                give_up: Some(give_up),
                arrivals: true,
            },
            clock,
            link.asker()?,
        )?;
        report.field("devices", json!(traffic.devices));
        report.field("users", json!(users));
        report.field("body_bytes", json!(traffic.body_bytes));
        report.field("seed", json!(setting.seed));
        let bell = link.bell()?;
        let scene = Rc::new(Self {
            clock,
            peers,
            census: RefCell::new(Census::new()),
            devices: traffic.devices,
            asker: link.asker()?,
            link: RefCell::new(link),
            board: RefCell::default(),
            ending: Cell::new(false),
            meter: RefCell::new(Meter::start(clock, setting.cores_used()?, setting.hiccup)?),
            pid: server.as_ref().map(|s| s.process.pid()).or(setting.pid),
            server: RefCell::new(server),
        });
        let here = Rc::downgrade(&scene);
        scene.peers.listen(Rc::new(move |call, device, news| {
            if let Some(scene) = here.upgrade() {
                scene.learn(call, device, news);
            }
        }));
        tokio_uring::spawn(Rc::clone(&scene).pump(bell));
        Ok(scene)
    }

    /// A device has learned something of its call.
    fn learn(&self, call: u32, device: u16, news: News) {
        match news {
            News::Acked => self.board.borrow_mut().acked(call),
            News::HungUp(bye) => {
                self.board.borrow_mut().hung_up(call, device, bye);
                // If the data plane has gone, its end is told elsewhere.
                let _ = self.act(Act {
                    at: bye.at + PARTING,
                    session: call,
                    deed: Deed::Part(device),
                });
            }
        }
    }

    /// Brings events to the board each time the bell rings.
    async fn pump(self: Rc<Self>, bell: Hearer) {
        while !self.ending.get() && bell.hear().await.is_ok() {
            if self.drain().is_err() {
                break;
            }
        }
    }

    fn drain(&self) -> Result<(), Trouble> {
        while let Some(event) = self.link.borrow_mut().event()? {
            self.board.borrow_mut().take(event, self.clock.now());
        }
        Ok(())
    }

    /// Asks the data plane.
    pub(crate) fn ask(&self, command: Command) -> Result<(), Trouble> {
        self.asker.ask(command)
    }

    /// Asks for a deed.
    pub(crate) fn act(&self, act: Act) -> Result<(), Trouble> {
        self.ask(Command::Act(act))
    }

    /// Waits until `at`, by the data plane's timer.
    pub(crate) async fn until(&self, at: Nanos) -> Result<(), Trouble> {
        if at <= self.clock.now() {
            return Ok(());
        }
        let alarm = self.board.borrow_mut().alarm(at);
        self.act(Act {
            at,
            session: NOBODY,
            deed: Deed::Ring,
        })?;
        alarm.take().await;
        Ok(())
    }

    /// Waits until about `at`, to the millisecond, and costs the data plane nothing.
    pub(crate) async fn doze_until(&self, at: Nanos) {
        let left = at.saturating_sub(self.clock.now());
        if left > 0 {
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
    }

    /// Begins to write down what happens to a call.
    pub(crate) fn watch_call(&self, call: u32) {
        self.board.borrow_mut().begin(call);
    }

    /// What is known of a call.
    pub(crate) fn entry<T>(&self, call: u32, of: impl FnOnce(&Entry) -> T) -> Option<T> {
        self.board.borrow().call(call).map(of)
    }

    /// Forgets a call everywhere.
    pub(crate) fn forget(&self, call: u32) -> Result<(), Trouble> {
        self.peers.forget(call);
        self.board.borrow_mut().forget(call);
        self.ask(Command::Leave(call))
    }

    /// Forgets a call whose connections were cut.
    pub(crate) fn forget_cut(&self, call: u32) {
        self.peers.forget(call);
        self.board.borrow_mut().forget(call);
    }

    /// Waits until `is` holds of a call; false if it does not within `patience`.
    pub(crate) async fn when(
        &self,
        call: u32,
        patience: Duration,
        is: impl Fn(&Entry) -> bool,
    ) -> bool {
        let until = self.clock.now() + nanos(patience);
        loop {
            let Some((holds, changed)) = self.entry(call, |e| (is(e), e.changed())) else {
                return false;
            };
            if holds {
                return true;
            }
            let now = self.clock.now();
            if now >= until {
                return false;
            }
            let left = Duration::from_nanos(until - now);
            // Waiting for a slot drops no operation.
            let _ = tokio::time::timeout(left, changed.take()).await;
        }
    }

    /// Begins a scripted round; its steady state begins after the warm-up, counted from now.
    pub(crate) fn begin(&self, scenario: &Scenario, load: Load) -> Result<(), Trouble> {
        let traffic = &scenario.traffic;
        self.meter.borrow_mut().begin();
        self.ask(Command::Run(Box::new(Plan {
            sessions: 0..NOBODY,
            load,
            warmup: traffic.warmup,
            steady: traffic.steady,
            patience: traffic.patience,
            server: self.pid,
            apart: None,
            at_once: 1,
        })))
    }

    /// Ends the round: nothing more is asked for. Waits for what is under way.
    pub(crate) async fn finish(&self) -> Result<Tally, Trouble> {
        self.ask(Command::Finish)?;
        let mut tally = self.told(Board::take_done).await?;
        tally.hiccup = Some(self.meter.borrow_mut().end());
        self.link.borrow_mut().end_progress();
        Ok(tally)
    }

    /// Waits until `at`, and shows how the round goes meanwhile.
    pub(crate) async fn watch_until(&self, at: Nanos) {
        const OFTEN: Duration = Duration::from_millis(100);
        while self.clock.now() < at {
            let left = Duration::from_nanos(at.saturating_sub(self.clock.now()));
            tokio::time::sleep(left.min(OFTEN)).await;
            self.link.borrow_mut().show_progress();
        }
    }

    /// Resets all connections of these calls at once; returns when that began.
    pub(crate) async fn cut(&self, calls: Vec<u32>) -> Result<Nanos, Trouble> {
        self.ask(Command::Cut(calls))?;
        self.told(Board::take_cut).await
    }

    async fn told<T>(&self, mut what: impl FnMut(&mut Board) -> Option<T>) -> Result<T, Trouble> {
        loop {
            if let Some(it) = what(&mut self.board.borrow_mut()) {
                return Ok(it);
            }
            // The pump stops where the data plane has gone: then this says so.
            self.drain()?;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the server's `/metrics` say, if we started it.
    pub(crate) fn metrics(&self) -> Option<String> {
        let admin = self.server.borrow().as_ref()?.admin;
        match crate::spawn::get(admin, "/metrics") {
            Ok((200, text)) => Some(text),
            Ok(_) | Err(_) => None,
        }
    }

    /// Takes registrations back and ends the server; what is left behind is a check.
    pub(crate) async fn close(self: Rc<Self>, report: &mut Report) -> Result<(), Trouble> {
        if let Some(memory) = self.pid.and_then(|pid| proc::memory(pid).ok()) {
            report.rss = Some(memory.rss);
        }
        self.peers.deregister().await;
        self.ask(Command::Close)?;
        self.told(|b| b.take_closed().then_some(())).await?;
        self.ending.set(true);
        // Rings the bell once more, which ends the pump.
        self.ask(Command::Close)?;
        report.checks.extend(self.peers.checks());
        let server = self.server.borrow_mut().take();
        if let Some(mut server) = server {
            let left = leftovers::check(server.admin, self.clock).await;
            report.checks.extend(left);
            report
                .checks
                .extend(server.process.end_well(self.clock).await);
        }
        self.peers.stop().await;
        Ok(())
    }
}
