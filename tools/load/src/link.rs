//! Between control and data plane: two queues, an eventfd and a pipe. Control asks, the data plane answers.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, TryRecvError},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::setpriority_process;

use crate::{
    bell::{self, Bell, Hearer},
    clock::{Clock, nanos},
    leg::LegSpec,
    pin,
    plane::{self, Command, Due, Ended, Event, Orders, Plane, Settings, Wake},
    post::Post,
    progress::{Progress, Pulse},
    realtime,
    round::Plan,
    tally::Tally,
    trouble::Trouble,
};

/// How often control looks for an answer: often while sessions are set up, rarely while the data plane measures on the same
/// core.
const LOOK: Duration = Duration::from_millis(1);
const LOOK_RARELY: Duration = Duration::from_millis(20);

/// Priority of the data plane's thread (`setpriority(2)`).
const PRIORITY: i32 = -10;

/// Asks the data plane, from tasks of signalling's runtime. Clones are the same.
#[derive(Clone)]
pub(crate) struct Asker {
    orders: Arc<Orders>,
    wake: Arc<Wake>,
    clock: Clock,
    /// A task that wakes it is on its way.
    waking: Rc<Cell<bool>>,
}

impl Asker {
    /// Asks for anything.
    pub(crate) fn ask(&self, command: Command) -> Result<(), Trouble> {
        let gone = |Ended| Trouble::failed("the data plane has ended");
        let due = command.due();
        self.orders.put(command).map_err(gone)?;
        match due {
            Due::At(at) => self.wake.ring_for(at)?,
            Due::Within(span) => self.wake.ring_for(self.clock.now() + span)?,
            Due::Soon => self.wake_soon(),
        }
        Ok(())
    }

    /// Wakes the data plane once this task and those behind it have had their turn.
    fn wake_soon(&self) {
        if self.waking.replace(true) {
            return;
        }
        let (wake, waking) = (Arc::clone(&self.wake), Rc::clone(&self.waking));
        tokio_uring::spawn(async move {
            waking.set(false);
            // An eventfd that is open takes a one.
            let _ = wake.ring_for(0);
        });
    }

    /// Sets up a leg. The answer comes as an event.
    pub(crate) fn leg(&self, spec: LegSpec) -> Result<(), Trouble> {
        self.ask(Command::Leg(Box::new(spec)))
    }

    /// Lets a request leave at its time. A call has one at a time.
    pub(crate) fn post(&self, call: u32, post: Post) -> Result<(), Trouble> {
        self.ask(Command::Post(call, Box::new(post)))
    }
}

/// The data plane's thread, from outside.
pub(crate) struct Link {
    asker: Option<Asker>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<io::Result<()>>>,
    listens: SocketAddr,
    clock: Clock,
    progress: Progress,
    bell: Bell,
    /// The thread's number in the kernel; 0 before it has begun.
    tid: Arc<AtomicU32>,
}

impl Link {
    /// Starts the data plane; `listen` is where peers may connect to it, `core` where it stays.
    pub(crate) fn start(
        settings: Settings,
        clock: Clock,
        listen: SocketAddr,
        core: Option<usize>,
    ) -> Result<Self, Trouble> {
        let listener = plane::listen(listen)?;
        let listens = listener.local_addr()?;
        let wake = Arc::new(Wake::new()?);
        let theirs = Arc::clone(&wake);
        let (ringer, bell) = bell::bell()?;
        let (orders, taker) = plane::orders();
        let (answers, events) = mpsc::channel();
        let pulse = Arc::new(Pulse::default());
        let theirs_too = Arc::clone(&pulse);
        let tid = Arc::new(AtomicU32::new(0));
        let own_tid = Arc::clone(&tid);
        let thread = std::thread::Builder::new()
            .name("data".to_owned())
            .spawn(move || {
                if let Some(core) = core {
                    pin::this_thread(core)?;
                }
                let number = rustix::thread::gettid().as_raw_nonzero().get();
                own_tid.store(number.unsigned_abs(), Ordering::Release);
                // Beside signalling on the same core, what is due comes first. Without the privilege the kernel's slices decide.
                let _ = setpriority_process(None, PRIORITY);
                // Made here: what the kernel fills with events stays on one thread.
                let plane = Plane::new(
                    settings,
                    clock,
                    theirs_too,
                    listener,
                    (theirs, taker),
                    (ringer, answers),
                )?;
                plane.run()
            })?;
        Ok(Self {
            asker: Some(Asker {
                orders,
                wake,
                clock,
                waking: Rc::default(),
            }),
            events,
            thread: Some(thread),
            listens,
            clock,
            progress: Progress::new(pulse, clock),
            bell,
            tid,
        })
    }

    /// Makes the data plane's thread a real-time task: what is due waits for no slice of another's time to end. Says whether that
    /// was allowed.
    pub(crate) async fn put_first(&self) -> bool {
        loop {
            match self.tid.load(Ordering::Acquire) {
                0 => tokio::time::sleep(LOOK).await,
                tid => return realtime::thread(tid),
            }
        }
    }

    /// Rings when there are events.
    pub(crate) fn bell(&self) -> io::Result<Hearer> {
        self.bell.listen()
    }

    /// Where peers connect to.
    pub(crate) fn listens(&self) -> SocketAddr {
        self.listens
    }

    /// Sets up a leg. The answer comes as an event.
    pub(crate) fn leg(&self, spec: LegSpec) -> Result<(), Trouble> {
        self.ask(Command::Leg(Box::new(spec)))
    }

    /// Asks for anything.
    pub(crate) fn ask(&self, command: Command) -> Result<(), Trouble> {
        match &self.asker {
            Some(a) => a.ask(command),
            None => Err(Trouble::failed("the data plane has ended")),
        }
    }

    /// What the data plane has said, if anything.
    pub(crate) fn event(&mut self) -> Result<Option<Event>, Trouble> {
        match self.events.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                self.asker = None;
                let why = match self.thread.take().map(JoinHandle::join) {
                    Some(Ok(Err(e))) => e.to_string(),
                    Some(Err(_)) => "it panicked".to_owned(),
                    Some(Ok(Ok(()))) | None => "it ended".to_owned(),
                };
                Err(Trouble::failed(format!("data plane: {why}")))
            }
        }
    }

    /// Waits until `legs` legs have come up; the first that does not is an error.
    pub(crate) async fn legs_up(&mut self, legs: usize, within: Duration) -> Result<(), Trouble> {
        let end = self.clock.now() + nanos(within);
        let mut up = 0;
        while up < legs {
            match self.event()? {
                Some(Event::Up(..)) => up += 1,
                Some(Event::Down(session, role, why)) => {
                    return Err(Trouble::unreachable(format!(
                        "session {session}, {role:?}: no MSRP connection: {why}"
                    )));
                }
                Some(
                    Event::Done(_)
                    | Event::Closed
                    | Event::Active(..)
                    | Event::Rang(_)
                    | Event::Quiet(_)
                    | Event::Cut(_),
                ) => {}
                None if self.clock.now() > end => {
                    return Err(Trouble::unreachable(format!(
                        "only {up} of {legs} MSRP connections were bound within {within:?}"
                    )));
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
        Ok(())
    }

    /// For who awaits a round by its events: shows how it goes.
    pub(crate) fn show_progress(&mut self) {
        self.progress.tick();
    }

    /// Ends what [`Link::show_progress`] showed.
    pub(crate) fn end_progress(&mut self) {
        self.progress.end();
    }

    /// Carries out a round.
    pub(crate) async fn run(&mut self, plan: Plan) -> Result<Tally, Trouble> {
        self.ask(Command::Run(Box::new(plan)))?;
        loop {
            match self.event()? {
                Some(Event::Done(tally)) => {
                    self.progress.end();
                    return Ok(*tally);
                }
                // The round's tally has it.
                Some(
                    Event::Up(..)
                    | Event::Down(..)
                    | Event::Closed
                    | Event::Active(..)
                    | Event::Rang(_)
                    | Event::Quiet(_)
                    | Event::Cut(_),
                ) => {}
                None => {
                    self.progress.tick();
                    tokio::time::sleep(LOOK_RARELY).await;
                }
            }
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&mut self) -> Result<(), Trouble> {
        self.ask(Command::Close)?;
        loop {
            match self.event()? {
                Some(Event::Closed) => return Ok(()),
                Some(
                    Event::Up(..)
                    | Event::Down(..)
                    | Event::Done(_)
                    | Event::Active(..)
                    | Event::Rang(_)
                    | Event::Quiet(_)
                    | Event::Cut(_),
                ) => {}
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// A second way to ask, for who answers INVITEs.
    pub(crate) fn asker(&self) -> Result<Asker, Trouble> {
        match &self.asker {
            Some(asker) => Ok(asker.clone()),
            None => Err(Trouble::failed("the data plane has ended")),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(asker) = self.asker.take() {
            drop(asker.orders);
            // With nobody left to ask, waking it ends it. A clone of the asker that is still alive would keep it: then the
            // end of the process does.
            let _ = asker.wake.ring();
        }
    }
}
