//! The admin interface as an operator's tools meet it: real HTTP over loopback, against shards that are made up.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a process is waited for by the wall clock"
)]

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ringfork::{
    ids::{SessionId, ShardId},
    services::{Control, Exit, Setup, Shards, Stop, control, run},
    shard::report::{Answer, LegView, Question, Report, SessionView, session_name},
};
use slotmap::KeyData;

/// Shards that answer at once on the asking thread, each with as many sessions as it is told.
#[derive(Clone, Default)]
struct Fake(Arc<State>);

#[derive(Default)]
struct State {
    shards: usize,
    sessions: AtomicUsize,
    /// The shard of this number does not answer: it keeps the question.
    stuck: AtomicUsize,
    full: AtomicBool,
    ended: AtomicUsize,
}

impl Fake {
    fn new(shards: usize, sessions: usize) -> Self {
        Self(Arc::new(State {
            shards,
            sessions: sessions.into(),
            stuck: usize::MAX.into(),
            ..State::default()
        }))
    }
}

fn session(place: usize) -> SessionId {
    KeyData::from_ffi(1 << 32 | place as u64).into()
}

fn place(id: SessionId) -> usize {
    use slotmap::Key as _;
    (id.data().as_ffi() & 0xffff_ffff) as usize
}

fn view(shard: ShardId, place: usize) -> SessionView {
    SessionView {
        id: session_name(shard, session(place)),
        user: "sip:bob@example.com".into(),
        originator: "sip:alice@example.com".into(),
        state: "established",
        legs: vec![LegView {
            leg: 1,
            who: "sip:bob@127.0.0.1:5070".into(),
            state: "active",
            ..LegView::default()
        }],
        ..SessionView::default()
    }
}

impl Shards for Fake {
    fn count(&self) -> usize {
        self.0.shards
    }

    fn ask(
        &self,
        shard: ShardId,
        question: Question,
        reply: Box<dyn FnOnce(Answer) + Send>,
    ) -> bool {
        if self.0.full.load(SeqCst) {
            return false;
        }
        if self.0.stuck.load(SeqCst) == usize::from(shard.0) {
            std::mem::forget(reply);
            return true;
        }
        let sessions = self.0.sessions.load(SeqCst);
        let here = |id: SessionId| (1..=sessions).contains(&place(id));
        reply(match question {
            Question::Counters => Answer::Counters(Box::new(Report {
                sessions: sessions as u64,
                ..Report::default()
            })),
            Question::Sessions { after, max } => {
                let page: Vec<_> = (after.map_or(1, |a| place(a) + 1)..=sessions)
                    .take(max)
                    .map(|n| view(shard, n))
                    .collect();
                Answer::Sessions { page, next: None }
            }
            Question::Session(id) => {
                Answer::Session(here(id).then(|| Box::new(view(shard, place(id)))))
            }
            Question::EndedSessions => {
                let ended = |n: usize| SessionView {
                    state: "ended",
                    why: "the originator left".into(),
                    ended_s: Some(n as u64),
                    ..view(shard, 1000 + n)
                };
                let page = (0..2).map(|n| ended(2 * n + usize::from(shard.0)));
                Answer::Sessions {
                    page: page.collect(),
                    next: None,
                }
            }
            Question::Drain { end } => {
                if end {
                    self.0.ended.fetch_add(1, SeqCst);
                    self.0.sessions.store(0, SeqCst);
                }
                Answer::Draining {
                    sessions: self.0.sessions.load(SeqCst),
                }
            }
            Question::End(id) => {
                let known = here(id);
                if known {
                    self.0.sessions.fetch_sub(1, SeqCst);
                }
                Answer::Ended(known)
            }
        });
        true
    }
}

/// A running admin interface.
struct Server {
    addr: SocketAddr,
    control: Control,
    thread: Option<JoinHandle<Exit>>,
}

impl Server {
    fn start(fake: Fake) -> Self {
        Self::with_drain(fake, Duration::from_millis(400))
    }

    fn with_drain(fake: Fake, drain: Duration) -> Self {
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = admin.local_addr().unwrap();
        let (control, wishes) = control();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (shards, handle) = (Box::new(fake), control.clone());
        let thread = std::thread::spawn(move || {
            run(Setup {
                admin,
                shards,
                drain,
                control: handle,
                wishes,
                signals: false,
                logging: None,
                reload: None,
                ready: Box::new(move || ready.send(()).unwrap()),
            })
            .unwrap()
        });
        is_ready.recv_timeout(Duration::from_secs(5)).unwrap();
        Self {
            addr,
            control,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .unwrap();
        stream
    }

    /// Everything that comes back for these bytes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_all(stream)
    }

    /// Status and body.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        split(
            &self.raw(
                format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:9855\r\n\r\n").as_bytes(),
            ),
        )
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    fn join(mut self) -> Exit {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.control.stop(Stop::Now);
            thread.join().unwrap();
        }
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    // A reset after the answer is no loss of it.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8(text).unwrap()
}

fn split(response: &str) -> (u16, String) {
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{response:?}"));
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn health_readiness_and_metrics() {
    let server = Server::start(Fake::new(2, 3));
    assert_eq!(server.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".into()));
    let (code, text) = server.get("/metrics");
    assert_eq!(code, 200);
    assert!(
        text.contains("\nringfork_sessions 6\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
    let head = server.raw(b"HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
}

#[test]
fn a_shard_that_is_stuck_or_full_is_named() {
    let fake = Fake::new(2, 1);
    let server = Server::start(fake.clone());
    fake.0.stuck.store(1, SeqCst);
    assert_eq!(
        server.get("/readyz"),
        (503, "shard 1 does not answer\n".into())
    );
    let (code, text) = server.get("/metrics");
    assert_eq!(
        code, 200,
        "the other shard's figures are still worth having"
    );
    assert!(
        text.contains("ringfork_shard_up{shard=\"1\"} 0\n")
            && text.contains("ringfork_sessions 1\n")
    );
    assert_eq!(server.get("/v1/sessions").0, 503);
    assert_eq!(server.get("/healthz").0, 200, "the process itself lives");
    fake.0.stuck.store(usize::MAX, SeqCst);
    fake.0.full.store(true, SeqCst);
    assert_eq!(server.get("/readyz").0, 503);
    fake.0.full.store(false, SeqCst);
    assert_eq!(server.get("/readyz").0, 200);
}

#[test]
fn sessions_come_page_by_page_over_all_shards() {
    let server = Server::start(Fake::new(3, 4));
    let (mut names, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let (code, body) = server.get(&format!("/v1/sessions?limit=5{after}"));
        assert_eq!(code, 200, "{body}");
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let list = page["sessions"].as_array().unwrap();
        assert!(list.len() <= 5);
        names.extend(list.iter().map(|s| s["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..3)
        .flat_map(|s| (1..=4).map(move |n| session_name(ShardId(s), session(n))))
        .collect();
    assert_eq!(names, expected);
    assert_eq!(pages, 3);
    for bad in ["limit=0", "limit=x", "after=zz", "x=1", "limit"] {
        assert_eq!(server.get(&format!("/v1/sessions?{bad}")).0, 400, "{bad}");
    }
}

#[test]
fn the_sessions_that_have_ended_are_listed_with_why_the_youngest_first() {
    let server = Server::start(Fake::new(2, 2));
    let (code, body) = server.get("/v1/sessions?ended");
    let list: serde_json::Value = serde_json::from_str(&body).unwrap();
    let list = list["sessions"].as_array().unwrap();
    let ago: Vec<_> = list
        .iter()
        .map(|s| s["ended_s"].as_u64().unwrap())
        .collect();
    assert_eq!((code, ago), (200, vec![0, 1, 2, 3]), "{body}");
    for s in list {
        assert_eq!(
            (&s["state"], &s["why"]),
            (&"ended".into(), &"the originator left".into())
        );
        assert!(s["legs"][0]["who"].is_string(), "its legs too");
    }
    // One that lives has neither.
    let (_, body) = server.get("/v1/sessions?limit=1");
    assert!(!body.contains("ended_s") && !body.contains("why"), "{body}");
    for bad in ["ended=1", "ended&limit=5", "limit=5&ended"] {
        assert_eq!(server.get(&format!("/v1/sessions?{bad}")).0, 400, "{bad}");
    }
}

#[test]
fn a_session_is_shown_and_ended_by_its_name() {
    let server = Server::start(Fake::new(2, 2));
    let name = session_name(ShardId(1), session(2));
    let (code, body) = server.get(&format!("/v1/sessions/{name}"));
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, shown["id"].as_str()), (200, Some(name.as_str())));
    assert_eq!(
        shown["legs"][0]["who"], "sip:bob@127.0.0.1:5070",
        "an operator sees whom"
    );
    assert!(
        shown["legs"][0].get("peer").is_none(),
        "what is not there is absent"
    );
    for unknown in ["1-x", "9-100000001", "", "1-1000000ff", "..%2f"] {
        assert_eq!(
            server.get(&format!("/v1/sessions/{unknown}")).0,
            404,
            "{unknown}"
        );
        assert_eq!(
            server.ask("DELETE", &format!("/v1/sessions/{unknown}")).0,
            404,
            "{unknown}"
        );
    }
    assert_eq!(server.ask("DELETE", &format!("/v1/sessions/{name}")).0, 200);
    assert_eq!(server.get(&format!("/v1/sessions/{name}")).0, 404);
}

#[test]
fn the_wrong_method_is_told_the_right_one() {
    let server = Server::start(Fake::new(1, 0));
    for (method, path, allow) in [
        ("POST", "/metrics", "allow: GET, HEAD"),
        ("GET", "/v1/drain", "allow: POST"),
        ("PUT", "/v1/sessions/0-1", "allow: GET, HEAD, DELETE"),
    ] {
        let reply =
            server.raw(format!("{method} {path} HTTP/1.1\r\nHost: [::1]:1\r\n\r\n").as_bytes());
        assert!(
            reply.starts_with("HTTP/1.1 405") && reply.contains(allow),
            "{reply}"
        );
    }
    assert_eq!(server.get("/nothing").0, 404);
    assert_eq!(server.ask("POST", "/v1/drain?soon").0, 400);
    assert_eq!(server.get("/readyz").0, 200, "none of these stopped it");
}

#[test]
fn a_web_page_can_neither_stop_us_nor_read_us_by_another_name() {
    let server = Server::start(Fake::new(1, 0));
    let page = server.raw(
        b"POST /v1/drain HTTP/1.1\r\nHost: localhost:9855\r\nOrigin: http://evil.example\r\n\r\n",
    );
    assert!(page.starts_with("HTTP/1.1 403"), "{page}");
    let rebound = server.raw(b"GET /v1/sessions HTTP/1.1\r\nHost: evil.example:9855\r\n\r\n");
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    assert_eq!(server.get("/readyz").0, 200);
}

#[test]
fn what_is_no_http_is_refused_and_harms_nobody() {
    let server = Server::start(Fake::new(1, 0));
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"INVITE sip:bob@example.com SIP/2.0\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n",
        b"POST /v1/drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
    ] {
        let reply = server.raw(bytes);
        assert!(
            reply.is_empty() || reply.starts_with("HTTP/1.1 4") || reply.starts_with("HTTP/1.0 4"),
            "{reply}"
        );
    }
    // An endless head: cut off with 431 or by closing, not kept.
    let mut stream = server.connect();
    let line = [b"X-Endless: ", [b'a'; 1000].as_slice(), b"\r\n"].concat();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
    let wrote = (0..1000)
        .take_while(|_| stream.write_all(&line).is_ok())
        .count();
    let reply = read_all(stream);
    assert!(
        wrote < 1000 || reply.starts_with("HTTP/1.1 431"),
        "{wrote} {reply}"
    );
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert!(server.raw(many.as_bytes()).starts_with("HTTP/1.1 431"));
    assert_eq!(server.get("/readyz").0, 200);
}

#[test]
fn a_head_in_pieces_and_a_half_closed_sender_are_served() {
    let server = Server::start(Fake::new(1, 0));
    let mut stream = server.connect();
    stream.set_nodelay(true).unwrap();
    for byte in b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(split(&read_all(stream)), (200, "ok\n".into()));
    // A body that nobody reads does not lose the answer.
    let mut stream = server.connect();
    stream
        .write_all(b"POST /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 30000\r\n\r\n")
        .unwrap();
    stream.write_all(&[b'x'; 30_000]).unwrap();
    assert_eq!(split(&read_all(stream)).0, 405);
}

#[test]
fn a_slow_client_is_cut_off_and_the_others_are_served_meanwhile() {
    let server = Server::start(Fake::new(1, 0));
    let begun = Instant::now();
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HT").unwrap();
    let silent = server.connect();
    // One that asks for much and reads nothing is bounded by the deadline, not by its own mercy.
    assert_eq!(server.get("/readyz").0, 200);
    assert!(begun.elapsed() < Duration::from_secs(3));
    let reply = read_all(slow);
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 408"),
        "{reply}"
    );
    assert!(read_all(silent).is_empty());
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(14), "{waited:?}");
}

#[test]
fn the_newest_above_the_bound_is_closed_and_room_comes_back() {
    let server = Server::start(Fake::new(1, 0));
    let idle: Vec<_> = (0..ringfork::limits::ADMIN_CONNECTIONS_MAX)
        .map(|_| server.connect())
        .collect();
    // The last of them was accepted before this one is: accepts are in order.
    let refused = server.raw(b"");
    assert_eq!(refused, "");
    drop(idle);
    let by = Instant::now() + Duration::from_secs(5);
    loop {
        let mut stream = server.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        if read_all(stream).starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(
            Instant::now() < by,
            "closed connections give their room back"
        );
    }
}

#[test]
fn a_thousand_connections_one_after_the_other_leave_nothing_behind() {
    let server = Server::start(Fake::new(1, 0));
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert_eq!(server.get("/healthz").0, 200);
    let before = open();
    for n in 0..1000 {
        if n % 2 == 0 {
            assert_eq!(server.get("/healthz").0, 200);
        } else {
            drop(server.connect());
        }
    }
    // Other tests of this binary run beside; each holds a hundred at most.
    let by = Instant::now() + Duration::from_secs(20);
    while open() > before + 250 {
        assert!(
            Instant::now() < by,
            "{} descriptors, {before} before",
            open()
        );
        std::thread::yield_now();
    }
}

#[test]
fn drain_waits_for_sessions_and_then_ends_them() {
    let fake = Fake::new(2, 1);
    let server = Server::with_drain(fake.clone(), Duration::from_secs(2));
    let begun = Instant::now();
    assert_eq!(server.ask("POST", "/v1/drain").0, 202);
    let by = begun + Duration::from_secs(1);
    while server.get("/readyz") != (503, "draining\n".into()) {
        assert!(Instant::now() < by);
    }
    assert_eq!(
        fake.0.ended.load(SeqCst),
        0,
        "they may end by themselves first"
    );
    assert_eq!(server.join(), Exit::Empty);
    let took = begun.elapsed();
    assert!(fake.0.ended.load(SeqCst) >= 1, "then they are ended");
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[test]
fn a_drain_with_nothing_to_wait_for_is_over_at_once() {
    let server = Server::with_drain(Fake::new(1, 0), Duration::from_secs(60));
    let begun = Instant::now();
    server.control.stop(Stop::Drain);
    assert_eq!(server.join(), Exit::Empty);
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn until_empty_waits_and_now_cuts_it_short() {
    let fake = Fake::new(1, 1);
    let server = Server::with_drain(fake.clone(), Duration::from_millis(100));
    assert_eq!(server.ask("POST", "/v1/drain?until-empty").0, 202);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(600) {
        assert_ne!(server.get("/healthz").1, "", "it is still there");
    }
    assert_eq!(fake.0.ended.load(SeqCst), 0, "nobody was cut off");
    assert_eq!(server.ask("POST", "/v1/drain?now").0, 202);
    assert_eq!(server.join(), Exit::Empty);
    assert!(fake.0.ended.load(SeqCst) >= 1);
}

#[test]
fn a_stuck_shard_does_not_hold_up_the_end() {
    let fake = Fake::new(2, 1);
    let server = Server::start(fake.clone());
    fake.0.stuck.store(0, SeqCst);
    let begun = Instant::now();
    server.control.stop(Stop::Drain);
    assert!(matches!(server.join(), Exit::CutShort(_)));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn a_shard_that_ends_by_itself_ends_the_process() {
    let server = Server::start(Fake::new(2, 1));
    server.control.failed(ShardId(1));
    assert_eq!(server.join(), Exit::Failed(ShardId(1)));
}
