//! Floods of SIP, and what strangers can make us do to others: bytes stay bounded, who is there is served, nobody is hit by more than
//! he has asked for (settled.md 42).

use std::time::Duration;

use ringfork::{config::Config, limits::Limits};

use crate::{
    lab::{Lab, TAG},
    memory,
    people::{Alice, Device, cpim, hang_up, session},
};

/// Who has nothing to do with it.
const VICTIM: &str = "10.0.66.66";
const STRANGER: &str = "10.0.9.9:5060";

fn limits(with: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::new(&Config::default(), 1);
    with(&mut limits);
    limits
}

fn trusting(net: &str) -> Lab {
    let mut config = Config::default();
    config.sip.trusted_peers = vec![net.parse().expect("a network")];
    Lab::with(&config)
}

/// A request from `from` with these header lines.
fn request(
    lab: &mut Lab,
    (method, uri): (&str, &str),
    from: &str,
    to: &str,
    more: &str,
) -> Vec<u8> {
    let (branch, call) = (lab.fresh("z9hG4bKf"), lab.fresh("fcall"));
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch={branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:x@other.example>;tag=f\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n{more}"
    )
    .into_bytes()
}

fn register(lab: &mut Lab, from: &str, user: &str, more: &str) -> u16 {
    let to = format!("<sip:{user}@example.com>");
    let more = format!("{more}Expires: 3600\r\nContent-Length: 0\r\n\r\n");
    let m = request(lab, ("REGISTER", "sip:example.com"), from, &to, &more);
    lab.datagram(from, &m);
    lab.response_to(from, "REGISTER").code().expect("a code")
}

fn contact(uri: &str) -> String {
    format!("Contact: <{uri}>;{TAG}\r\n")
}

/// settled.md 42: a stranger's Contact (or the first hop of his Path) at another host is kept byte for byte, and requests go where he
/// registered from.
#[test]
fn a_stranger_s_contact_of_another_host_is_reached_where_he_is() {
    let victim_contact = contact(&format!("sip:bob@{VICTIM}:5060"));
    let own = contact("sip:bob@10.0.1.1:5060");
    for headers in [
        victim_contact.clone(),
        contact(&format!("sip:bob@{VICTIM};transport=tcp")),
        contact(&format!("sip:bob@10.0.1.1:5060;maddr={VICTIM}")),
        format!("{victim_contact}Path: <sip:{VICTIM};lr>\r\n"),
        format!("{own}Path: <sip:edge@{VICTIM}:5070;lr>\r\n"),
    ] {
        let mut lab = Lab::new();
        assert_eq!(register(&mut lab, "10.0.1.1:5060", "bob", &headers), 200);
        Alice::new().invite(&mut lab);
        let invite = lab.request_to("10.0.1.1:5060", "INVITE");
        assert!(
            headers.contains(invite.start.split(' ').nth(1).unwrap()),
            "{}",
            invite.start
        );
        lab.pass(Duration::from_secs(200));
        assert!(lab.connects.is_empty(), "{headers}");
        assert!(
            lab.sent.iter().all(|(to, _)| to.ip().to_string() != VICTIM),
            "{headers}"
        );
    }
    // From whom we trust it is taken as it is written.
    let mut lab = trusting("10.0.1.0/24");
    assert_eq!(
        register(&mut lab, "10.0.1.1:5060", "bob", &victim_contact),
        200
    );
    Alice::new().invite(&mut lab);
    lab.request_to(&format!("{VICTIM}:5060"), "INVITE");
    // And from a stranger, behind a Path that is his own.
    let mut lab = Lab::new();
    let behind = format!("{victim_contact}Path: <sip:10.0.1.1:5070;lr>\r\n");
    assert_eq!(register(&mut lab, "10.0.1.1:5060", "bob", &behind), 200);
    Alice::new().invite(&mut lab);
    lab.request_to("10.0.1.1:5070", "INVITE");
}

/// The same in dialogs: what a stranger writes in Contact or Record-Route of an INVITE or its answers sends nothing to others.
#[test]
fn a_stranger_s_contact_in_a_dialog_sends_nothing_to_others() {
    let forged = format!("Contact: <sip:bob@{VICTIM}>\r\n");
    let routed = format!("Contact: <sip:bob@10.0.1.1>\r\nRecord-Route: <sip:{VICTIM};lr>\r\n");
    for headers in [forged, routed] {
        let mut lab = Lab::new();
        let mut device = Device::register(&mut lab, 1);
        let mut alice = Alice::new();
        alice.invite_with(&mut lab, &format!("Record-Route: <sip:{VICTIM};lr>\r\n"));
        device.invited(&mut lab);
        let sdp = device.sdp("active", "");
        let more = format!("{headers}Content-Type: application/sdp\r\n");
        device.respond(
            &mut lab,
            183,
            &format!("Require: 100rel\r\nRSeq: 1\r\n{headers}"),
            "",
        );
        lab.request_to(&device.sip, "PRACK");
        device.respond(&mut lab, 200, &more, &sdp);
        lab.request_to(&device.sip, "ACK");
        alice.up(&mut lab);
        // The media never comes up: both are told.
        lab.pass(Duration::from_secs(200));
        lab.request_to(&device.sip, "BYE");
        lab.request_to(&alice.sip, "BYE");
        assert!(
            lab.connects
                .iter()
                .all(|(_, to)| to.ip().to_string() != VICTIM)
        );
        assert!(lab.sent.iter().all(|(to, _)| to.ip().to_string() != VICTIM));
    }
}

/// settled.md 2: `trusted_peers` replaces the default, loopback too.
#[test]
fn loopback_is_believed_only_where_it_is_written() {
    for (net, believed) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let mut lab = trusting(net);
        let device = Device::register(&mut lab, 1);
        let mut alice = Alice::new();
        alice.sip = "127.0.0.1:5060".to_owned();
        alice.invite_with(
            &mut lab,
            "P-Asserted-Identity: <sip:alice@other.example>\r\n",
        );
        let invite = lab.request_to(&device.sip, "INVITE");
        assert_eq!(
            !invite.get("P-Asserted-Identity").is_empty(),
            believed,
            "{net}"
        );
    }
}

/// A session and a registered user while everybody else's REGISTERs come faster than transactions end: each has its real answer.
fn canary(flood_from: &str) {
    let mut lab = Lab::limited(
        &Config::default(),
        &limits(|l| {
            l.server_transactions = 200;
            l.server_bytes = 200 << 10;
        }),
    );
    let (mut alice, devices) = session(&mut lab, 2);
    let mut users = 0;
    for tick in 0..30 {
        for _ in 0..100 {
            users += 1;
            let from = format!("{flood_from}:{}", 10_000 + users % 50_000);
            let own = contact(&format!("sip:u@{from}"));
            assert_eq!(
                register(&mut lab, &from, &format!("user{users}"), &own),
                200
            );
        }
        lab.sent.retain(|(to, _)| to.ip().to_string() != flood_from);
        alice.say(&mut lab, &format!("msg-{tick}"), &cpim("canary"));
        for d in &devices {
            let sends = lab.sends(d.conn());
            assert_eq!(sends.len(), 1, "tick {tick}");
            d.ok(&mut lab, &sends[0], 200);
        }
        if tick % 5 == 0 {
            let again = String::from_utf8(devices[0].registration(&mut lab, TAG)).unwrap();
            let again = again.replace("CSeq: 1 ", &format!("CSeq: {} ", tick + 2));
            lab.datagram(&devices[0].sip, again.as_bytes());
            assert_eq!(
                lab.response_to(&devices[0].sip, "REGISTER").code(),
                Some(200)
            );
        }
        // What nobody asked for takes no place from dialogs either.
        let bye = request(
            &mut lab,
            ("BYE", "sip:bob@example.com"),
            STRANGER,
            "<sip:b@h>;tag=x",
            "Content-Length: 0\r\n\r\n",
        );
        lab.datagram(STRANGER, &bye);
        assert_eq!(lab.response_to(STRANGER, "BYE").code(), Some(481));
        lab.pass(Duration::from_millis(100));
    }
    assert!(lab.sum(|r| r.sip_passed) > 2_000);
    assert_eq!(lab.reached("server_transactions"), 0, "nobody was refused");
    assert!(lab.sum(|r| r.transactions) < 270);
    alice.bye(&mut lab);
    for d in &devices {
        let bye = lab.request_to(&d.sip, "BYE");
        let ok = bye.answer(200, "OK", "", "", "");
        lab.datagram(&d.sip, &ok);
    }
    assert_eq!(lab.response_to(&alice.sip, "BYE").code(), Some(200));
    hang_up(&mut lab, &mut alice, &devices);
    assert!(lab.is_idle(), "{}", lab.shards[0].what_is_left());
}

/// A flood of REGISTERs from one stranger, and from a peer whom we trust: source or user, each is answered, and who is there is served.
#[test]
fn a_flood_of_registers_locks_nobody_out() {
    canary("10.0.9.9");
}

#[test]
fn a_flood_of_registers_from_loopback_locks_nobody_out() {
    canary("127.0.0.1");
}

/// A user whom many invite leaves others room for sessions, in bytes.
#[test]
fn a_user_s_sessions_leave_others_room() {
    for trusted in ["10.0.0.0/8", "192.0.2.0/24"] {
        let mut config = Config::default();
        config.sip.trusted_peers = vec![trusted.parse().unwrap()];
        let mut lab = Lab::limited(&config, &limits(|l| l.session_bytes = 1 << 20));
        for user in ["bob", "carol"] {
            for n in 1..=2 {
                Device::register_for(&mut lab, user, n, TAG);
            }
        }
        let invite = |lab: &mut Lab, user: &str, from: &str| {
            let more = format!(
                "Contact: <sip:a@{from}>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\n"
            );
            let sdp = Alice::new().sdp();
            let uri = format!("sip:{user}@example.com");
            let body = format!("{more}Content-Length: {}\r\n\r\n{sdp}", sdp.len());
            let m = request(lab, ("INVITE", &uri), from, &format!("<{uri}>"), &body);
            lab.datagram(from, &m);
        };
        for _ in 0..200 {
            invite(&mut lab, "bob", STRANGER);
        }
        assert!(
            lab.reached("session_bytes") > 100,
            "{}",
            lab.reached("session_bytes")
        );
        let before = lab.sum(|r| r.sessions);
        assert!(before > 5, "{before}");
        invite(&mut lab, "carol", "10.0.2.1:5060");
        assert_eq!(lab.sum(|r| r.sessions), before + 1);
    }
}

/// What each kind of flood of the longest messages makes a shard hold is within what `limits` says of it.
#[test]
fn floods_of_long_messages_are_bounded_in_bytes() {
    let fill = |n: usize| "x".repeat(n);
    let body = format!(
        "Content-Type: text/plain\r\nContent-Length: 55000\r\n\r\n{}",
        fill(55_000)
    );
    let head = format!("Subject: {}\r\nContent-Length: 0\r\n\r\n", fill(55_000));
    let far = format!(
        "Contact: <sip:a@10.0.9.9>\r\nRecord-Route: <sip:{};lr>\r\nContent-Length: 0\r\n\r\n",
        fill(50_000)
    );
    let sdp = Alice::new().sdp();
    let offer = format!(
        "Contact: <sip:a@10.0.9.9>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}a=x:{}\r\n",
        sdp.len() + 50_006,
        fill(50_000)
    );
    let via = format!(
        "Via: SIP/2.0/UDP h;x={}\r\nContent-Length: 0\r\n\r\n",
        fill(55_000)
    );
    let long_contact = format!(
        "Contact: <sip:{}@h>\r\nContent-Length: 0\r\n\r\n",
        fill(55_000)
    );
    let two_kib = format!(
        "Contact: <sip:a@10.0.9.9>;{TAG};p={}\r\nContent-Length: 0\r\n\r\n",
        fill(1_500)
    );
    let kinds: [(&str, &str, &str); 10] = [
        ("REGISTER", "sip:other.example", &head),
        ("REGISTER", "sip:example.com", &long_contact),
        ("REGISTER", "sip:example.com", &two_kib),
        ("OPTIONS", "sip:example.com", &via),
        ("OPTIONS", "sip:bob@example.com", &head),
        ("INVITE", "sip:bob@example.com", &offer),
        ("INVITE", "sip:bob@example.com", &far),
        ("INVITE", "sip:nobody@example.com", &body),
        ("BYE", "sip:bob@example.com", &body),
        ("CANCEL", "sip:bob@example.com", &body),
    ];
    for (method, uri, rest) in kinds {
        for from in [STRANGER, "127.0.0.1:7000"] {
            let limits = limits(|l| {
                l.server_bytes = 512 << 10;
                l.client_bytes = 512 << 10;
                l.session_bytes = 1 << 20;
                l.registration_bytes = 512 << 10;
            });
            let mut lab = Lab::limited(&Config::default(), &limits);
            for n in 1..=4 {
                Device::register(&mut lab, n);
            }
            let before = memory::live();
            let mut answered = 0;
            for n in 0..150 {
                let to = match method {
                    "BYE" => "<sip:b@h>;tag=x".to_owned(),
                    "REGISTER" => format!("<sip:u{n}@example.com>"),
                    _ => format!("<{uri}>"),
                };
                let m = request(&mut lab, (method, uri), from, &to, rest);
                lab.datagram(from, &m);
                answered += lab
                    .sent
                    .drain(..)
                    .filter(|(_, m)| m.code().is_some())
                    .count();
            }
            lab.sent.shrink_to_fit();
            let pools = limits.server_bytes
                + limits.client_bytes
                + limits.session_bytes
                + limits.registration_bytes;
            // Beside the pools: places of tables, which grow with their number.
            let held = memory::live() - before;
            let most = pools.cast_signed() + (1 << 19);
            assert!(held < most, "{method} {uri} from {from}: {held} of {most}");
            assert!(
                answered > 75 || method == "INVITE",
                "{method} {uri} from {from}: {answered}"
            );
        }
    }
}

/// What one request of a place that never answers (its address may be forged) makes us send, over all its timers: `perf/budget.md`
/// has the table. To nobody but that place; and to devices, which have registered, five at most each.
#[test]
fn no_kind_of_request_is_much_amplified() {
    let sdp = Alice::new().sdp();
    let invite = format!(
        "Contact: <sip:a@10.0.9.9>\r\nAccept-Contact: *;{TAG};require;explicit\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    let none = "Content-Length: 0\r\n\r\n";
    let forged = format!("Contact: <sip:a@{VICTIM}>;{TAG}\r\nExpires: 600\r\n{none}");
    // Method, Request-URI, To, the rest, most packets and most bytes for a byte.
    let kinds: [(&str, &str, &str, &str, &str, usize, usize); 12] = [
        (
            "OPTIONS to us",
            "OPTIONS",
            "sip:example.com",
            "<sip:example.com>",
            none,
            1,
            3,
        ),
        (
            "OPTIONS to a user",
            "OPTIONS",
            "sip:bob@example.com",
            "<sip:bob@example.com>",
            none,
            2 + 5,
            20,
        ),
        (
            "REGISTER",
            "REGISTER",
            "sip:example.com",
            "<sip:new@example.com>",
            &forged,
            1,
            2,
        ),
        (
            "REGISTER, fetch",
            "REGISTER",
            "sip:example.com",
            "<sip:full@example.com>",
            none,
            1,
            40,
        ),
        (
            "REGISTER, refused",
            "REGISTER",
            "sip:other.example",
            "<sip:a@other.example>",
            &forged,
            1,
            2,
        ),
        (
            "INVITE, nobody",
            "INVITE",
            "sip:nobody@example.com",
            "<sip:nobody@example.com>",
            &invite,
            5,
            5,
        ),
        (
            "INVITE, one device",
            "INVITE",
            "sip:one@example.com",
            "<sip:one@example.com>",
            &invite,
            2 + 5 + 5,
            12,
        ),
        (
            "INVITE, 16 devices",
            "INVITE",
            "sip:bob@example.com",
            "<sip:bob@example.com>",
            &invite,
            2 + 5 + 16 * 5,
            150,
        ),
        (
            "BYE",
            "BYE",
            "sip:bob@example.com",
            "<sip:b@h>;tag=x",
            none,
            1,
            2,
        ),
        (
            "CANCEL",
            "CANCEL",
            "sip:bob@example.com",
            "<sip:b@h>",
            none,
            1,
            2,
        ),
        (
            "ACK",
            "ACK",
            "sip:bob@example.com",
            "<sip:b@h>;tag=x",
            none,
            0,
            0,
        ),
        (
            "unknown",
            "FROB",
            "sip:bob@example.com",
            "<sip:b@h>",
            none,
            1,
            2,
        ),
    ];
    let mut table = String::new();
    for (name, method, uri, to, rest, packets, factor) in kinds {
        let mut lab = Lab::new();
        for n in 1..=16 {
            Device::register(&mut lab, n);
        }
        Device::register_for(&mut lab, "one", 20, TAG);
        for n in 0..5 {
            let long = format!(
                "Contact: <sip:d{n}@10.0.1.99>;{TAG};p={}\r\n",
                "p".repeat(1_400)
            );
            assert_eq!(register(&mut lab, "10.0.1.99:5060", "full", &long), 200);
        }
        lab.sent.clear();
        lab.left = (0, 0);
        let m = request(&mut lab, (method, uri), STRANGER, to, rest);
        lab.datagram(STRANGER, &m);
        lab.pass(Duration::from_secs(400));
        let (n, bytes) = lab.left;
        table += &format!(
            "| {name} | {} | {n} | {bytes} | {:.1} |\n",
            m.len(),
            bytes as f64 / m.len() as f64
        );
        assert!(n <= packets, "{name}: {n} packets");
        assert!(
            bytes <= factor * m.len(),
            "{name}: {bytes} bytes for {}",
            m.len()
        );
        let stranger = STRANGER.split(':').next().unwrap();
        let strange = |ip: &str| ip != stranger && !ip.starts_with("10.0.1.");
        assert!(
            lab.sent
                .iter()
                .all(|(to, _)| !strange(&to.ip().to_string())),
            "{name}"
        );
        assert!(lab.connects.is_empty());
    }
    eprintln!(
        "| request | bytes | packets for it | bytes for it | factor |\n|---|---|---|---|---|\n{table}"
    );
}
