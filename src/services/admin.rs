//! The admin interface: what is asked for by path, answered from what the shards say. One request a connection, so that
//! one deadline bounds it.
//!
//! It knows no users: it listens on loopback, or where the operator says `open = true`. A web page in the operator's own
//! browser is a stranger that reaches loopback, so what changes something is refused to pages ([`origin`]), and what is
//! read is refused under foreign names ([`host`]).

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

use super::{
    ask::Asker,
    json, metrics,
    phase::{Control, Phase, Stop},
    rt::Serve,
    voice,
};
use crate::{
    ids::SessionId,
    limits::ADMIN_REQUEST_BYTES,
    shard::{
        Kind,
        report::{Answer, Question, session_of},
    },
};

/// How long a connection may last, from accept to close: an answer takes milliseconds, a shard's patience is 2 s.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Sessions on one page, at most and by default.
const PAGE_MAX: usize = 500;

/// Headers of a request: what scrapers and browsers send, doubled.
const HEADERS_MAX: usize = 64;

/// The admin interface over what it reads from.
pub(super) struct Admin {
    pub(super) asker: Asker,
    pub(super) phase: Rc<Phase>,
    pub(super) control: Control,
    pub(super) process: metrics::Process,
    /// Whether only this machine reaches us.
    pub(super) loopback: bool,
}

type Reply = Response<Full<Bytes>>;

impl Serve for Admin {
    async fn serve(self: Rc<Self>, pipe: DuplexStream) {
        let service = service_fn(move |request| {
            let this = Rc::clone(&self);
            async move { Ok::<_, Infallible>(this.answer(&request).await) }
        });
        let served = http1::Builder::new()
            .keep_alive(false)
            .half_close(true)
            .timer(TokioTimer::new())
            .header_read_timeout(DEADLINE / 2)
            .max_buf_size(ADMIN_REQUEST_BYTES)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(pipe), service)
            .await;
        // hyper has answered what could be answered (400, 431); the peer's fault is nothing to wake someone for.
        if let Err(e) = served
            && tracing::enabled!(tracing::Level::DEBUG)
            && voice::may(Kind::AdminDetail)
        {
            tracing::debug!(error = %e, "admin: a connection ended early");
        }
    }
}

impl Admin {
    async fn answer(&self, request: &Request<Incoming>) -> Reply {
        if let Some(refusal) = host(request, self.loopback).or_else(|| origin(request)) {
            return refusal;
        }
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or("");
        let session = path.strip_prefix("/v1/sessions/");
        let allowed: &[Method] = match (path, session) {
            ("/healthz" | "/readyz" | "/metrics" | "/v1/sessions", _) => {
                &[Method::GET, Method::HEAD]
            }
            ("/v1/drain", _) => &[Method::POST],
            (_, Some(_)) => &[Method::GET, Method::HEAD, Method::DELETE],
            _ => return problem(StatusCode::NOT_FOUND, "there is nothing of this name"),
        };
        if !allowed.contains(request.method()) {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
            if let Ok(value) = header::HeaderValue::from_str(&names.join(", ")) {
                refusal.headers_mut().insert(header::ALLOW, value);
            }
            return refusal;
        }
        match (path, session) {
            ("/healthz", _) => plain(StatusCode::OK, "ok\n"),
            ("/readyz", _) => self.ready().await,
            ("/metrics", _) => self.metrics().await,
            ("/v1/sessions", _) if query == "ended" => self.ended().await,
            ("/v1/sessions", _) => self.sessions(query).await,
            ("/v1/drain", _) => self.drain(query),
            (_, Some(name)) if request.method() == Method::DELETE => self.end(name).await,
            (_, name) => self.session(name.unwrap_or("")).await,
        }
    }

    /// Ready: every shard answers, and new sessions are taken.
    async fn ready(&self) -> Reply {
        if let Some(why) = self.phase.not_ready() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        for (_, answer) in self.asker.all(&Question::Counters).await {
            if let Err(silent) = answer {
                return plain(StatusCode::SERVICE_UNAVAILABLE, format!("{silent}\n"));
            }
        }
        plain(StatusCode::OK, "ready\n")
    }

    async fn metrics(&self) -> Reply {
        let answers = self.asker.all(&Question::Counters).await;
        let reports = answers
            .into_iter()
            .map(|(shard, answer)| match answer {
                Ok(Answer::Counters(report)) => (shard, Some(*report)),
                _ => (shard, None),
            })
            .collect();
        let text = metrics::encode(reports, self.process.clone());
        let mut reply = Response::new(Full::new(Bytes::from(text)));
        reply.headers_mut().insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static(metrics::CONTENT_TYPE),
        );
        reply
    }

    /// A page of sessions: `?limit=` at most, behind `?after=`.
    async fn sessions(&self, query: &str) -> Reply {
        let mut limit = PAGE_MAX;
        let mut after = None;
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let understood = match pair.split_once('=') {
                Some(("limit", n)) => n.parse().map(|n: usize| limit = n).is_ok() && limit > 0,
                Some(("after", name)) => {
                    after = session_of(name);
                    after.is_some()
                }
                _ => false,
            };
            if !understood {
                return problem(
                    StatusCode::BAD_REQUEST,
                    "limit=NUMBER and after=SESSION are understood, or ended alone",
                );
            }
        }
        let limit = limit.min(PAGE_MAX);
        let mut page = Vec::new();
        let mut next = None;
        let first = after.map_or(0, |(shard, _)| shard.0);
        for shard in self.asker.shards().filter(|s| s.0 >= first) {
            let behind: Option<SessionId> = after.filter(|(s, _)| *s == shard).map(|(_, id)| id);
            let question = Question::Sessions {
                after: behind,
                max: limit - page.len(),
            };
            match self.asker.one(shard, question).await {
                Ok(Answer::Sessions { page: some, .. }) => page.extend(some),
                Ok(_) => return wrong_answer(),
                Err(silent) => return problem(StatusCode::SERVICE_UNAVAILABLE, silent),
            }
            if page.len() >= limit {
                // There may be none behind it; then the next page is empty and says so.
                next = page.last().map(|s| s.id.clone());
                break;
            }
        }
        let sessions: Vec<Value> = page.iter().map(json::session).collect();
        found(json!({ "sessions": sessions, "next": next }))
    }

    /// The sessions that have ended last, of all shards, the youngest first.
    async fn ended(&self) -> Reply {
        let mut all = Vec::new();
        for shard in self.asker.shards() {
            match self.asker.one(shard, Question::EndedSessions).await {
                Ok(Answer::Sessions { page, .. }) => all.extend(page),
                Ok(_) => return wrong_answer(),
                Err(silent) => return problem(StatusCode::SERVICE_UNAVAILABLE, silent),
            }
        }
        all.sort_by_key(|view| view.ended_s);
        let sessions: Vec<Value> = all.iter().map(json::session).collect();
        found(json!({ "sessions": sessions, "next": null }))
    }

    async fn session(&self, name: &str) -> Reply {
        let Some((shard, session)) = self.known(name) else {
            return problem(StatusCode::NOT_FOUND, "there is no session of this name");
        };
        match self.asker.one(shard, Question::Session(session)).await {
            Ok(Answer::Session(Some(view))) => found(json::session(&view)),
            Ok(Answer::Session(None)) => {
                problem(StatusCode::NOT_FOUND, "there is no session of this name")
            }
            Ok(_) => wrong_answer(),
            Err(silent) => problem(StatusCode::SERVICE_UNAVAILABLE, silent),
        }
    }

    async fn end(&self, name: &str) -> Reply {
        let Some((shard, session)) = self.known(name) else {
            return problem(StatusCode::NOT_FOUND, "there is no session of this name");
        };
        match self.asker.one(shard, Question::End(session)).await {
            Ok(Answer::Ended(true)) => found(json!({ "ended": name })),
            Ok(Answer::Ended(false)) => {
                problem(StatusCode::NOT_FOUND, "there is no session of this name")
            }
            Ok(_) => wrong_answer(),
            Err(silent) => problem(StatusCode::SERVICE_UNAVAILABLE, silent),
        }
    }

    /// The session and shard that a name stands for, if there is such a shard.
    fn known(&self, name: &str) -> Option<(crate::ids::ShardId, SessionId)> {
        session_of(name).filter(|(shard, _)| self.asker.shards().any(|s| s == *shard))
    }

    /// Stops the server: sessions may end by themselves for `drain_s`, without bound, or not at all.
    fn drain(&self, query: &str) -> Reply {
        let how = match query {
            "" => Stop::Drain,
            "now" => Stop::Now,
            "until-empty" => Stop::UntilEmpty,
            _ => {
                return problem(
                    StatusCode::BAD_REQUEST,
                    "drain, drain?now and drain?until-empty are understood",
                );
            }
        };
        self.control.stop(how);
        let mut reply = found(json!({ "draining": true, "how": how.name() }));
        *reply.status_mut() = StatusCode::ACCEPTED;
        reply
    }
}

/// Refuses a request that a page under a foreign name makes its browser send us (DNS rebinding): such a name is registered
/// somewhere, so it has a dot; on loopback we are asked by address, or by a name of this machine's own.
fn host(request: &Request<Incoming>, loopback: bool) -> Option<Reply> {
    if !loopback {
        return None;
    }
    let mut said = request.headers().get_all(header::HOST).iter();
    // None: HTTP/1.0, or a tool; a browser always says it. RFC 9112 §3.2: several, or one that is none, is answered 400.
    let value = said.next()?;
    let named = if said.next().is_some() {
        Named::Nothing
    } else {
        value.to_str().map_or(Named::Nothing, named)
    };
    // A whole URI in the request line counts more than Host (RFC 9112 §3.2.2).
    let named = match (named, request.uri().authority()) {
        (Named::Us, Some(authority)) => self::named(authority.as_str()),
        (named, _) => named,
    };
    match named {
        Named::Us => None,
        Named::Foreign => {
            let why = "this is the admin interface of a loopback address: ask by that address";
            Some(problem(StatusCode::MISDIRECTED_REQUEST, why))
        }
        Named::Nothing => Some(problem(StatusCode::BAD_REQUEST, "this is no Host")),
    }
}

/// What a Host names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// An address, or a name that nobody can register: one without a dot.
    Us,
    /// A name that somebody may have registered.
    Foreign,
    /// It is no `uri-host [":" port]` (RFC 9110 §7.2).
    Nothing,
}

/// What `host`, all of it, names.
fn named(host: &str) -> Named {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((v6, port)) = rest.split_once(']') else {
            return Named::Nothing;
        };
        if v6.parse::<Ipv6Addr>().is_err() {
            return Named::Nothing;
        }
        ("", port)
    } else {
        let at = host.find(':').unwrap_or(host.len());
        let (name, port) = host.split_at(at);
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        if name.is_empty() || !name.bytes().all(fine) {
            return Named::Nothing;
        }
        (name, port)
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let number = digits.is_empty() || digits.parse::<u16>().is_ok();
    if !number || (!port.is_empty() && !port.starts_with(':')) || digits.starts_with('+') {
        return Named::Nothing;
    }
    // A dot at its end makes a name absolute, and is one that can be registered all the same.
    if !name.contains('.') || name.parse::<Ipv4Addr>().is_ok() {
        Named::Us
    } else {
        Named::Foreign
    }
}

/// Refuses what changes something when a web page asks for it: browsers say where such a request comes from, tools do not.
fn origin(request: &Request<Incoming>) -> Option<Reply> {
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    if reads || !request.headers().contains_key(header::ORIGIN) {
        None
    } else {
        Some(problem(StatusCode::FORBIDDEN, "not from a web page"))
    }
}

fn wrong_answer() -> Reply {
    if voice::may(Kind::Admin) {
        tracing::error!("admin: a shard answered another question than it was asked");
    }
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the shard misunderstood")
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(text.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    reply
}

fn found(value: Value) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    reply.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    reply
}

fn problem(status: StatusCode, why: impl ToString) -> Reply {
    let mut reply = found(json!({ "error": why.to_string() }));
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_a_name_of_this_machine_a_foreign_name_or_none() {
        for us in [
            "localhost",
            "localhost:9855",
            "LOCALHOST",
            "127.0.0.1",
            "127.0.0.1:9855",
            "10.1.2.3",
            "127.0.0.1:",
            "[::1]",
            "[::1]:9855",
            "[::ffff:127.0.0.1]:9855",
            "[::ffff:7f00:1]",
            "build-7:1",
        ] {
            assert_eq!(named(us), Named::Us, "{us}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9855",
            "localhost.evil",
            "localhost.",
            "localhost.:9855",
            "127.0.0.1.evil.example",
            "127.0.0.1.",
            "127.1.",
            "127.0.0.256",
            "0x7f.0.0.1",
            ".",
            "a..b",
        ] {
            assert_eq!(named(foreign), Named::Foreign, "{foreign}");
        }
        for nothing in [
            "",
            ":",
            ":9855",
            "[::1].evil.example",
            "[::1].evil.example:9855",
            "[::1]evil",
            "[::1",
            "::1",
            "[]",
            "[127.0.0.1]",
            "[evil.example]",
            "[::1%25lo]",
            "[v1.evil]",
            "localhost:9855:1",
            "localhost:+1",
            "localhost:65536",
            "localhost:9855.evil.example",
            "evil.example@localhost",
            "localhost@evil.example",
            "localhost/evil.example",
            "localhost evil.example",
            "localhost,evil.example",
            "ev\u{131}l",
        ] {
            assert_eq!(named(nothing), Named::Nothing, "{nothing}");
        }
    }
}
