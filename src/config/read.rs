//! From the text of a file to a [`Config`]: every key by its own rule, then what must hold between them.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Ack, Admin, Config, FEATURES, Format, Level, Listen, Mode, Network, Problems, SHARDS_MAX,
    Secret, Transport, Unreachable, User,
    section::{Section, Walk},
    value,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// The longest text that is read: a configuration with a hundred thousand users is below it.
const TEXT_BYTES_MAX: usize = 16 << 20;

/// Addresses of one protocol; a shard's sockets have names of one byte.
const LISTENERS_MAX: usize = 16;

/// What an operator may write, and where we only later can do as told.
const NOT_BUILT: &str = "is not built yet";

pub(super) fn read(name: &str, text: &str) -> Result<Config, Problems> {
    let mut walk = Walk::default();
    if text.len() > TEXT_BYTES_MAX {
        walk.problem("", 0..0, "the file is too long", "16 MiB at most");
        return Err(Problems::new(name, "", walk.problems));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for e in &errors {
        let span = e.span().unwrap_or(0..0);
        walk.problem("", span, e.message(), "");
    }
    let mut config = Config::default();
    let places = top(&mut walk, document.get_ref(), &mut config);
    // A table that was cut short by bad syntax would only seem to have wrong or missing keys.
    if errors.is_empty() {
        walk.settle_unknown();
        together(&mut walk, &config, &places);
    } else {
        walk.problems.truncate(errors.len());
    }
    if walk.problems.is_empty() {
        Ok(config)
    } else {
        Err(Problems::new(name, text, walk.problems))
    }
}

/// Where the values stand that must go together with others.
#[derive(Default)]
struct Places {
    mode: Range<usize>,
    host: Option<Range<usize>>,
    sip: Vec<(Listen, Range<usize>)>,
    msrp: Vec<(Listen, Range<usize>)>,
    admin: Option<Range<usize>>,
    users: Vec<(User, Range<usize>)>,
}

fn top(walk: &mut Walk, table: &DeTable<'_>, config: &mut Config) -> Places {
    let mut places = Places::default();
    let mut s = Section::new(walk, "", table);
    s.choice(
        "mode",
        &[("standalone", Mode::Standalone), ("ims", Mode::Ims)],
        &mut config.mode,
    );
    places.mode = s.span("mode").unwrap_or(0..0);
    if let Some(list) = s.list("domains", "host names, as [\"example.com\"]", value::host) {
        if list.is_empty() && s.walk.problems.is_empty() {
            let span = s.span("domains").unwrap_or(0..0);
            s.problem("domains", span, "nobody is served", "one domain or more");
        }
        config.domains = list.into_iter().map(|(d, _)| d).collect();
    }
    let mut shards = 0_u8;
    s.number("shards", 1..=SHARDS_MAX.into(), &mut shards);
    config.shards = (shards > 0).then_some(shards);
    let allowed = "a host name or an address";
    s.text("host", allowed, &mut config.host, |t| {
        value::host(t).map(Some)
    });
    places.host = s.span("host");
    s.time("drain_s", SECOND, 0..=3600, &mut config.drain);
    s.flag("open", &mut config.open);

    let tables = [
        "sip", "msrp", "store", "admin", "policy", "io", "limits", "log",
    ]
    .map(|name| (name, table_of(&mut s, name)));
    let users = users_of(&mut s);
    s.close();

    let empty = DeTable::new();
    for (name, table) in tables {
        // An absent section is read as an empty one, so that all its keys are known.
        let mut s = Section::new(walk, name, table.unwrap_or(&empty));
        match name {
            "sip" => places.sip = sip(&mut s, config),
            "msrp" => places.msrp = msrp(&mut s, config),
            "store" => store(&mut s, config),
            "admin" => places.admin = admin(&mut s, &mut config.admin),
            "policy" => policy(&mut s, config),
            "io" => io(&mut s, config),
            "limits" => limits(&mut s, config),
            _ => log(&mut s, config),
        }
        s.close();
    }
    if users.is_empty() {
        user(Section::new(walk, "user", &empty), None);
    }
    for (table, span) in users {
        if let Some(u) = user(Section::new(walk, "user", table), Some(span.clone())) {
            places.users.push((u.clone(), span));
            config.users.push(u);
        }
    }
    places
}

fn table_of<'a>(s: &mut Section<'_, 'a>, name: &'static str) -> Option<&'a DeTable<'a>> {
    let value = s.take(name)?;
    let table = value.get_ref().as_table();
    if table.is_none() {
        let allowed = format!("a section: [{name}]");
        s.problem(name, value.span(), "this is a section's name", allowed);
    }
    table
}

fn users_of<'a>(s: &mut Section<'_, 'a>) -> Vec<(&'a DeTable<'a>, Range<usize>)> {
    let Some(value) = s.take("user") else {
        return Vec::new();
    };
    let one = |v: &'a Spanned<DeValue<'a>>| v.get_ref().as_table().map(|t| (t, v.span()));
    let list: Option<Vec<_>> = value
        .get_ref()
        .as_array()
        .and_then(|a| a.iter().map(one).collect());
    if list.is_none() {
        s.problem(
            "user",
            value.span(),
            "users are a list of tables",
            "[[user]] for each of them",
        );
    }
    list.unwrap_or_default()
}

fn listeners(
    s: &mut Section<'_, '_>,
    udp: bool,
    slot: &mut Vec<Listen>,
) -> Vec<(Listen, Range<usize>)> {
    let allowed = if udp {
        "\"udp:ADDRESS:PORT\" or \"tcp:ADDRESS:PORT\", an IPv6 address in brackets"
    } else {
        "\"tcp:ADDRESS:PORT\", an IPv6 address in brackets"
    };
    let list = s.list("listen", allowed, |t| {
        let listen: Listen = t.parse().ok()?;
        (udp || listen.transport != Transport::Udp).then_some(listen)
    });
    let Some(list) = list else {
        return slot.iter().map(|l| (*l, 0..0)).collect();
    };
    let span = s.span("listen").unwrap_or(0..0);
    let wrong = s.walk.problems.iter().any(|p| {
        span.contains(&p.span.start) // an element was wrong, so that the list may only seem empty
    });
    if list.is_empty() && !wrong {
        s.problem("listen", span.clone(), "nothing can reach us", allowed);
    }
    if list.len() > LISTENERS_MAX {
        let what = format!("{} addresses", list.len());
        let most = format!("{LISTENERS_MAX} at most: each is a socket in every shard");
        s.problem("listen", span, what, most);
    }
    for (i, (listen, span)) in list.iter().enumerate() {
        let twice = listen.addr.port() != 0 && list[..i].iter().any(|(l, _)| l == listen);
        if twice {
            let what = format!("{listen} is there twice");
            s.problem("listen", span.clone(), what, "each address once");
        }
        if listen.transport == Transport::Tls {
            let what = format!("a listener with TLS {NOT_BUILT}");
            s.problem("listen", span.clone(), what, allowed);
        }
    }
    *slot = list.iter().map(|(l, _)| *l).collect();
    list
}

fn sip(s: &mut Section<'_, '_>, config: &mut Config) -> Vec<(Listen, Range<usize>)> {
    let sip = &mut config.sip;
    let places = listeners(s, true, &mut sip.listen);
    let allowed = "a SIP URI, as \"sip:scscf.example.com;lr\"";
    s.text("next_hop", allowed, &mut sip.next_hop, |t| {
        let rest = t.strip_prefix("sip:").or_else(|| t.strip_prefix("sips:"))?;
        let clean = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'>');
        clean.then(|| Some(t.to_owned()))
    });
    s.time("t1_ms", MILLI, 10..=5000, &mut sip.t1);
    // RFC 4028 §4: no session timer below 90 s.
    s.time(
        "session_expires_s",
        SECOND,
        90..=86_400,
        &mut sip.session_expires,
    );
    s.time("min_expires_s", SECOND, 0..=3600, &mut sip.min_expires);
    let allowed = "networks as \"10.0.0.0/8\", no bit set behind the prefix";
    if let Some(list) = s.list("trusted_peers", allowed, |t| t.parse::<Network>().ok()) {
        sip.trusted_peers = list.into_iter().map(|(n, _)| n).collect();
    }
    s.choice(
        "contact_without_tags",
        &[("unsuitable", false), ("suitable", true)],
        &mut sip.contact_without_tags_suitable,
    );
    s.choice(
        "follow_redirects",
        &[("own", false), ("any", true)],
        &mut sip.follow_any,
    );
    s.time("no_answer_s", SECOND, 1..=3600, &mut sip.no_answer);
    s.number(
        "registrations_max",
        1..=10_000_000,
        &mut sip.registrations_max,
    );
    let any = 0..=u32::MAX.into();
    s.number(
        "registrations_per_source",
        any.clone(),
        &mut sip.registrations_per_source,
    );
    s.number("connections_max", any.clone(), &mut sip.connections_max);
    s.number("requests_per_s", any, &mut sip.requests_per_s);
    places
}

fn msrp(s: &mut Section<'_, '_>, config: &mut Config) -> Vec<(Listen, Range<usize>)> {
    let msrp = &mut config.msrp;
    let places = listeners(s, false, &mut msrp.listen);
    s.choice(
        "ack",
        &[("held", Ack::Held), ("receipt", Ack::Receipt)],
        &mut msrp.ack,
    );
    s.flag("cema", &mut msrp.cema);
    s.flag("legacy_session_match", &mut msrp.legacy_session_match);
    let types = "media types, as \"text/x-msrp-heartbeat\"";
    if let Some(list) = s.list("not_activity", types, media_type) {
        msrp.not_activity = list.into_iter().map(|(t, _)| t).collect();
    }
    // Below 64 KiB a single kept message would already be too much (settled.md R2).
    s.number("outbox_bytes", 64 << 10..=1 << 30, &mut msrp.outbox_bytes);
    s.number(
        "max_message_bytes",
        1 << 10..=1 << 40,
        &mut msrp.max_message_bytes,
    );
    s.time("bind_s", SECOND, 1..=300, &mut msrp.bind);
    s.time("stall_s", SECOND, 1..=60, &mut msrp.stall);
    let any = 0..=u32::MAX.into();
    s.number("connections_max", any, &mut msrp.connections_max);
    places
}

/// `type/subtype`, each a token (RFC 2045 §5.1); no parameters and no wildcard.
fn media_type(text: &str) -> Option<String> {
    let (kind, sub) = text.split_once('/')?;
    let is_token = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b);
        !part.is_empty() && part.bytes().all(plain)
    };
    (is_token(kind) && is_token(sub)).then(|| text.to_owned())
}

fn store(s: &mut Section<'_, '_>, config: &mut Config) {
    let store = &mut config.store;
    s.text("path", "a directory", &mut store.path, |t| {
        (!t.is_empty() && !t.contains('\0')).then(|| t.into())
    });
    s.time("expiry_s", SECOND, 60..=31_536_000, &mut store.expiry);
    s.number("quota_messages", 0..=10_000_000, &mut store.quota_messages);
    s.number("quota_bytes", 0..=1 << 40, &mut store.quota_bytes);
}

fn admin(s: &mut Section<'_, '_>, admin: &mut Admin) -> Option<Range<usize>> {
    let allowed = "\"ADDRESS:PORT\", an IPv6 address in brackets";
    s.text("listen", allowed, &mut admin.listen, |t| t.parse().ok());
    s.span("listen")
}

fn policy(s: &mut Section<'_, '_>, config: &mut Config) {
    let policy = &mut config.policy;
    s.choice(
        "unreachable",
        &[
            ("defer", Unreachable::Defer),
            ("reject", Unreachable::Reject),
            ("interwork", Unreachable::Interwork),
        ],
        &mut policy.unreachable,
    );
    if policy.unreachable == Unreachable::Interwork {
        let span = s.span("unreachable").unwrap_or(0..0);
        let what = format!("interworking {NOT_BUILT}");
        s.problem("unreachable", span, what, "\"defer\" or \"reject\"");
    }
    s.choice(
        "anonymity",
        &[("allow", true), ("deny", false)],
        &mut policy.anonymity_allowed,
    );
    let release = |t: &str| {
        let number =
            |n: &str| !n.is_empty() && n.len() <= 3 && n.bytes().all(|b| b.is_ascii_digit());
        let (major, minor) = t.split_once('.')?;
        (number(major) && number(minor)).then(|| t.to_owned())
    };
    if let Some(list) = s.list("required_release", "CPM releases, as \"2.2\"", release) {
        policy.required_release = list.into_iter().map(|(r, _)| r).collect();
    }
}

fn io(s: &mut Section<'_, '_>, config: &mut Config) {
    let names = FEATURES.map(|f| format!("{f:?}")).join(", ");
    let feature = |t: &str| FEATURES.into_iter().find(|f| *f == t);
    if let Some(list) = s.list("features_off", &names, feature) {
        config.io.features_off = list.into_iter().map(|(f, _)| f).collect();
    }
    s.number("spin_us", 0..=1000, &mut config.io.spin_us);
}

fn limits(s: &mut Section<'_, '_>, config: &mut Config) {
    let sizes = &mut config.limits;
    s.number("sessions", 1..=1_000_000, &mut sizes.sessions);
    s.number("connections", 2..=4_000_000, &mut sizes.connections);
    s.number(
        "receive_bytes",
        1 << 20..=16 << 30,
        &mut sizes.receive_bytes,
    );
    s.number("kept_bytes", 64 << 10..=64 << 30, &mut sizes.kept_bytes);
}

fn log(s: &mut Section<'_, '_>, config: &mut Config) {
    s.choice(
        "level",
        &[
            ("error", Level::Error),
            ("warn", Level::Warn),
            ("info", Level::Info),
            ("debug", Level::Debug),
            ("trace", Level::Trace),
        ],
        &mut config.log.level,
    );
    s.choice(
        "format",
        &[
            ("auto", Format::Auto),
            ("json", Format::Json),
            ("human", Format::Human),
        ],
        &mut config.log.format,
    );
}

/// One user; `at` is `None` where there is none and its keys are only made known.
fn user(mut s: Section<'_, '_>, at: Option<Range<usize>>) -> Option<User> {
    let mut aor = None;
    let allowed = "an address of record, as \"sip:bob@example.com\"";
    s.text("aor", allowed, &mut aor, |t| address_of_record(t).map(Some));
    let mut password = None;
    s.text("password", "a text, not empty", &mut password, |t| {
        (!t.is_empty()).then(|| Some(Secret::new(t.to_owned())))
    });
    if let Some(span) = at
        && s.span("aor").is_none()
    {
        s.problem("aor", span, "a user without its address", allowed);
    }
    s.close();
    aor.map(|aor| User { aor, password })
}

/// `sip:user@domain` with the domain in lower case, and nothing behind it.
fn address_of_record(text: &str) -> Option<String> {
    let (user, domain) = text.strip_prefix("sip:")?.split_once('@')?;
    // RFC 3261 §25.1: unreserved, escaped and user-unreserved; a password has no place in an address of record.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()%&=+$,;?/".contains(&b);
    let domain = value::host(domain)?;
    (!user.is_empty() && user.bytes().all(allowed)).then(|| format!("sip:{user}@{domain}"))
}

/// What must hold between values.
fn together(walk: &mut Walk, config: &Config, places: &Places) {
    if config.mode == Mode::Ims {
        let what = format!("ims mode {NOT_BUILT}");
        walk.problem("mode", places.mode.clone(), what, "\"standalone\"");
        if config.sip.next_hop.is_none() {
            let what = "ims mode needs sip.next_hop";
            let allowed = "where what we send goes, as \"sip:scscf.example.com;lr\"";
            walk.problem("sip.next_hop", places.mode.clone(), what, allowed);
        }
    }
    for (i, (user, span)) in places.users.iter().enumerate() {
        let domain = user.aor.split_once('@').map_or("", |(_, d)| d);
        if !config.domains.iter().any(|d| d == domain) {
            let what = format!("{domain:?} is no domain of ours");
            let allowed = format!("one of domains = {:?}", config.domains);
            walk.problem("user.aor", span.clone(), what, allowed);
        }
        if places.users[..i].iter().any(|(u, _)| u.aor == user.aor) {
            let what = format!("{} is there twice", user.aor);
            walk.problem("user.aor", span.clone(), what, "each user once");
        }
    }
    unnamed(walk, config, places);
    exposed(walk, config, places);
}

/// An MSRP listener on every address of the machine: none of them is what a path and c= could say (0.0.0.0 in c= is a call on
/// hold).
fn unnamed(walk: &mut Walk, config: &Config, places: &Places) {
    let nowhere = |host: &str| ["0.0.0.0", "[::]"].contains(&host);
    if let Some(host) = config.host.as_deref().filter(|host| nowhere(host)) {
        let span = places.host.clone().unwrap_or(0..0);
        walk.problem(
            "host",
            span,
            format!("{host} is no place"),
            "the name or address that peers reach us by",
        );
        return;
    }
    let first = places.msrp.first();
    if let Some((listen, span)) = first.filter(|(l, _)| l.addr.ip().to_canonical().is_unspecified())
        && config.host.is_none()
    {
        let what = format!("peers cannot be told to connect to {listen}");
        let allowed = "the address that they reach us by; or host, as \"192.0.2.1\" or \"pf.example.com\", beside it";
        walk.problem("msrp.listen", span.clone(), what, allowed);
    }
}

/// A listener that strangers can reach wants something that tells them from friends, or a word that it is meant.
fn exposed(walk: &mut Walk, config: &Config, places: &Places) {
    if config.open {
        return;
    }
    let digest = config.users.iter().any(|u| u.password.is_some());
    let peers = config.sip.trusted_peers.iter().any(|n| !n.is_loopback());
    let off = |l: &Listen| !l.addr.ip().to_canonical().is_loopback();
    for (key, list) in [("sip.listen", &places.sip), ("msrp.listen", &places.msrp)] {
        for (listen, span) in list.iter().filter(|(l, _)| off(l)) {
            if !digest && !peers {
                let what = format!("anybody who reaches {listen} could use it");
                let allowed = "users with a password, or sip.trusted_peers beyond loopback, or open = true if it is meant";
                walk.problem(key, span.clone(), what, allowed);
            }
        }
    }
    if !config.admin.listen.ip().to_canonical().is_loopback() {
        let span = places.admin.clone().unwrap_or(0..0);
        let what = format!("anybody who reaches {} could stop us", config.admin.listen);
        let allowed = "a loopback address (the admin interface knows no users), or open = true if it is meant";
        walk.problem("admin.listen", span, what, allowed);
    }
}

#[cfg(test)]
mod tests;
