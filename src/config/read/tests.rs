use super::*;

/// The keys, lines, and what is said about each, of a configuration that is refused.
fn refused(text: &str) -> Vec<(String, usize, String)> {
    let problems = Config::from_toml("t.toml", text).expect_err("it must be refused");
    problems
        .iter()
        .map(|p| (p.key.clone(), p.line, format!("{}; {}", p.what, p.allowed)))
        .collect()
}

fn one(text: &str) -> (String, usize, String) {
    let mut all = refused(text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// What is written in `interface.md`, with other values than the defaults.
const FULL: &str = r#"
mode    = "standalone"
domains = ["Example.com", "example.net"]
shards  = 2
host    = "PF.example.com"
drain_s = 7
open    = true

[sip]
listen = ["udp:0.0.0.0:5060", "tcp:[::1]:5060"]
next_hop = "sip:scscf.example.com;lr"
t1_ms = 100
session_expires_s = 1_900
min_expires_s = 1
trusted_peers = ["10.0.0.0/8", "127.0.0.1"]
contact_without_tags = "suitable"
follow_redirects = "any"
no_answer_s = 12
registrations_max = 0x10
registrations_per_source = 4
connections_max = 5
requests_per_s = 6

[msrp]
listen  = ["tcp:127.0.0.1:0"]
ack     = "receipt"
cema    = false
legacy_session_match = true
not_activity = ["text/x-ping", "application/vnd.example+xml"]
outbox_bytes = 65536
max_message_bytes = 1024
bind_s  = 3
stall_s = 1
connections_max = 7

[store]
path = "/var/lib/ringfork"
expiry_s = 60
quota_messages = 10
quota_bytes = 11

[admin]
listen = "[::1]:0"

[policy]
unreachable = "reject"
anonymity   = "deny"
required_release = ["2.0", "2.2"]

[io]
spin_us = 5
features_off = ["incremental", "fixed_files"]

[limits]
sessions = 10
connections = 20
receive_bytes = 1048576
kept_bytes = 65536

[log]
level = "debug"
format = "json"

[[user]]
aor = "sip:bob@EXAMPLE.com"
password = "secret"

[[user]]
aor = "sip:+15551234@example.net"
"#;

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::from_toml("t", "").unwrap(), Config::default());
}

#[test]
fn every_key_is_read() {
    let c = Config::from_toml("t", FULL).unwrap();
    assert_eq!(c.domains, ["example.com", "example.net"]);
    assert_eq!((c.shards, c.shard_count(7)), (Some(2), 2));
    assert_eq!(c.host.as_deref(), Some("pf.example.com"));
    assert_eq!(c.drain, Duration::from_secs(7));
    assert!(c.open);
    let s = &c.sip;
    assert_eq!(s.listen[1].to_string(), "tcp:[::1]:5060");
    assert_eq!(s.next_hop.as_deref(), Some("sip:scscf.example.com;lr"));
    assert_eq!(s.t1, Duration::from_millis(100));
    assert_eq!(s.session_expires, Duration::from_secs(1900));
    assert_eq!(s.min_expires, Duration::from_secs(1));
    assert_eq!(s.trusted_peers[0].to_string(), "10.0.0.0/8");
    assert!(s.contact_without_tags_suitable && s.follow_any);
    assert_eq!(s.no_answer, Duration::from_secs(12));
    assert_eq!((s.registrations_max, s.registrations_per_source), (16, 4));
    assert_eq!((s.connections_max, s.requests_per_s), (5, 6));
    let m = &c.msrp;
    assert_eq!(m.listen[0].to_string(), "tcp:127.0.0.1:0");
    assert_eq!(m.ack, Ack::Receipt);
    assert!(!m.cema && m.legacy_session_match);
    assert_eq!(
        m.not_activity,
        ["text/x-ping", "application/vnd.example+xml"]
    );
    assert_eq!((m.outbox_bytes, m.max_message_bytes), (65_536, 1024));
    assert_eq!((m.bind, m.stall), (3 * SECOND, SECOND));
    assert_eq!(m.connections_max, 7);
    assert_eq!(c.store.path.to_str(), Some("/var/lib/ringfork"));
    assert_eq!(c.store.expiry, 60 * SECOND);
    assert_eq!((c.store.quota_messages, c.store.quota_bytes), (10, 11));
    assert!(c.admin.listen.is_ipv6());
    assert_eq!(c.policy.unreachable, Unreachable::Reject);
    assert!(!c.policy.anonymity_allowed);
    assert_eq!(c.policy.required_release, ["2.0", "2.2"]);
    assert_eq!(c.io.spin_us, 5);
    assert_eq!(c.io.features_off, ["incremental", "fixed_files"]);
    assert_eq!((c.limits.sessions, c.limits.connections), (10, 20));
    assert_eq!(
        (c.limits.receive_bytes, c.limits.kept_bytes),
        (1 << 20, 65_536)
    );
    assert_eq!((c.log.level, c.log.format), (Level::Debug, Format::Json));
    assert_eq!(c.users[0].aor, "sip:bob@example.com");
    assert_eq!(c.users[0].password.as_ref().unwrap().reveal(), "secret");
    assert_eq!(c.users[1].password, None);
}

#[test]
fn the_defaults_are_what_the_page_says() {
    let page = r#"
        mode = "standalone"
        domains = ["example.com"]
        drain_s = 5
        open = false
        [sip]
        listen = ["udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"]
        t1_ms = 500
        session_expires_s = 1800
        min_expires_s = 60
        trusted_peers = ["127.0.0.0/8", "::1"]
        contact_without_tags = "unsuitable"
        follow_redirects = "own"
        no_answer_s = 120
        registrations_max = 100000
        connections_max = 0
        requests_per_s = 0
        [msrp]
        listen = ["tcp:127.0.0.1:2855"]
        ack = "held"
        cema = true
        legacy_session_match = false
        not_activity = ["text/x-msrp-heartbeat"]
        outbox_bytes = 1048576
        max_message_bytes = 104857600
        bind_s = 30
        stall_s = 10
        connections_max = 0
        [store]
        path = "./ringfork-data"
        expiry_s = 604800
        quota_messages = 1000
        quota_bytes = 104857600
        [admin]
        listen = "127.0.0.1:9855"
        [policy]
        unreachable = "defer"
        anonymity = "allow"
        required_release = []
        [io]
        spin_us = 20
        features_off = []
    "#;
    assert_eq!(Config::from_toml("t", page).unwrap(), Config::default());
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_their_lines() {
    let all = refused(
        "shards = 65\nmod = \"ims\"\n[sip]\nt1_ms = \"500\"\nlisten = [\"udp:localhost:1\", 7]\n[msrp]\nbind_s = 0\n",
    );
    let keys: Vec<_> = all.iter().map(|(k, l, _)| (k.as_str(), *l)).collect();
    assert_eq!(
        keys,
        [
            ("shards", 1),
            ("mod", 2),
            ("sip.t1_ms", 4),
            ("sip.listen", 5),
            ("sip.listen", 5),
            ("msrp.bind_s", 7)
        ]
    );
    assert!(
        all[0]
            .2
            .contains("65 is out of range; a whole number from 1 to 64")
    );
    assert!(all[1].2.contains("did you mean `mode`?"));
    assert!(
        all[2]
            .2
            .contains("a whole number is expected, a text was found")
    );
}

#[test]
fn an_unknown_key_gets_the_advice_that_fits() {
    for (text, advice) in [
        ("[sip]\nlisen = []", "did you mean `listen`?"),
        ("[msrp]\nt1_ms = 5", "`t1_ms` belongs in [sip]"),
        ("[sip]\nshards = 5", "`shards` belongs at the top"),
        ("[admin]\nzzzzzz = 5", "known here: listen"),
        (
            "[[user]]\naor = \"sip:a@example.com\"\npasword = \"x\"",
            "did you mean `password`?",
        ),
        ("[sips]\nlisten = []", "did you mean `sip`?"),
    ] {
        let (_, _, said) = one(text);
        assert!(said.contains(advice), "{text}: {said}");
    }
}

#[test]
fn bad_syntax_is_told_with_its_line_and_hides_what_follows_from_it() {
    let (key, line, said) = one("shards = 2\n[sip\nlisten = [\"x\"]\n");
    assert_eq!((key.as_str(), line), ("", 2), "{said}");
    let (_, line, said) = one("shards = 2\nshards = 3\n");
    assert_eq!(line, 2, "{said}");
}

#[test]
fn what_is_no_activity_is_named_by_its_media_type() {
    for wrong in [
        "\"text\"",
        "\"text/\"",
        "\"*\"",
        "\"text/*\"",
        "\"text/plain; charset=utf-8\"",
        "\"text/x text/y\"",
        "7",
    ] {
        let page = format!("[msrp]\nnot_activity = [\"text/x-ok\", {wrong}]\n");
        assert!(Config::from_toml("t", &page).is_err(), "{wrong}");
    }
    let none = Config::from_toml("t", "[msrp]\nnot_activity = []\n").unwrap();
    assert!(none.msrp.not_activity.is_empty());
}

#[test]
fn a_section_must_be_a_table_and_users_a_list() {
    assert!(one("sip = 5").2.contains("[sip]"));
    assert!(one("[[sip]]\nt1_ms = 5").2.contains("[sip]"));
    assert!(one("[user]\naor = \"x\"").2.contains("[[user]]"));
    assert!(one("user = [1]").2.contains("[[user]]"));
}

#[test]
fn what_is_not_built_is_refused() {
    let tls = one("[msrp]\nlisten = [\"tls:127.0.0.1:2856\"]");
    assert!(tls.2.contains("not built yet"), "{tls:?}");
    assert!(
        one("mode = \"ims\"\n[sip]\nnext_hop = \"sip:x\"")
            .2
            .contains("not built yet")
    );
    assert_eq!(refused("mode = \"ims\"").len(), 2);
    assert!(
        one("[policy]\nunreachable = \"interwork\"")
            .2
            .contains("not built yet")
    );
}

#[test]
fn a_listener_off_loopback_wants_a_reason() {
    let sip = "[sip]\nlisten = [\"udp:0.0.0.0:5060\"]\n";
    assert_eq!(one(sip).0, "sip.listen");
    let msrp = "[msrp]\nlisten = [\"tcp:192.0.2.1:2855\"]\n";
    assert_eq!(one(msrp).0, "msrp.listen");
    let ok = |text: &str| Config::from_toml("t", text).unwrap();
    ok(&format!("open = true\n{sip}"));
    ok(&format!("{sip}trusted_peers = [\"10.0.0.0/8\"]"));
    ok(&format!(
        "{sip}[[user]]\naor = \"sip:a@example.com\"\npassword = \"x\""
    ));
    // Neither a user without a password nor trust in ourselves keeps a stranger out.
    refused(&format!("{sip}trusted_peers = [\"127.0.0.2\"]"));
    refused(&format!("{sip}[[user]]\naor = \"sip:a@example.com\""));
    // The admin interface knows no users, so they do not help it.
    let admin = "[admin]\nlisten = \"0.0.0.0:9855\"\n";
    assert_eq!(one(admin).0, "admin.listen");
    refused(&format!("{admin}[sip]\ntrusted_peers = [\"10.0.0.0/8\"]"));
    ok(&format!("open = true\n{admin}"));
    ok("[sip]\nlisten = [\"udp:[::ffff:127.0.0.1]:5060\"]");
}

// What stands in a path and in c= is a place (settled.md 6).
#[test]
fn an_msrp_listener_on_every_address_wants_a_host() {
    for every in ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]"] {
        let msrp = format!("[msrp]\nlisten = [\"tcp:{every}:2855\"]\n");
        let (key, line, text) = one(&format!("open = true\n{msrp}"));
        assert!(
            key == "msrp.listen" && line == 3 && text.contains("host"),
            "{text}"
        );
        for host in ["pf.example.com", "192.0.2.1", "[2001:db8::1]"] {
            Config::from_toml("t", &format!("open = true\nhost = \"{host}\"\n{msrp}")).unwrap();
        }
        let nowhere = format!("open = true\nhost = \"[::]\"\n{msrp}");
        assert_eq!(one(&nowhere).0, "host");
    }
    assert_eq!(one("host = \"0.0.0.0\"").0, "host");
    // SIP answers where requests come from.
    Config::from_toml("t", "open = true\n[sip]\nlisten = [\"udp:0.0.0.0:5060\"]").unwrap();
}

#[test]
fn users_are_ours_and_different() {
    let user = |aor: &str| format!("[[user]]\naor = \"{aor}\"\n");
    assert!(
        one(&user("sip:bob@example.org"))
            .2
            .contains("no domain of ours")
    );
    let twice = one(&(user("sip:bob@example.com") + &user("sip:bob@Example.COM")));
    assert!(twice.2.contains("twice") && twice.1 == 3, "{twice:?}");
    assert!(
        one("[[user]]\npassword = \"x\"")
            .2
            .contains("without its address")
    );
    for bad in [
        "bob@example.com",
        "sip:example.com",
        "sip:@example.com",
        "sip:b ob@example.com",
        "sip:a:b@example.com",
    ] {
        assert_eq!(one(&user(bad)).0, "user.aor", "{bad}");
    }
}

#[test]
fn a_list_may_be_wrong_in_its_form_or_in_one_element() {
    assert!(
        one("[sip]\nlisten = \"udp:127.0.0.1:1\"")
            .2
            .contains("a list")
    );
    assert!(one("[sip]\nlisten = []").2.contains("nothing can reach us"));
    let many: Vec<_> = (1..=17).map(|n| format!("\"tcp:127.0.0.1:{n}\"")).collect();
    let many = format!("[msrp]\nlisten = [{}]", many.join(", "));
    assert!(one(&many).2.contains("16 at most"));
    assert!(one("domains = []").2.contains("nobody is served"));
    assert!(one("domains = [\"a_b\"]").2.contains("not allowed"));
    assert!(
        one("[msrp]\nlisten = [\"udp:127.0.0.1:1\"]")
            .2
            .contains("not allowed")
    );
    assert!(
        one("[sip]\nlisten = [\"udp:127.0.0.1:1\", \"udp:127.0.0.1:1\"]")
            .2
            .contains("twice")
    );
    assert!(
        one("[sip]\ntrusted_peers = [\"10.1.0.0/8\"]")
            .2
            .contains("behind the prefix")
    );
    assert!(
        one("[io]\nfeatures_off = [\"Incremental\"]")
            .2
            .contains("\"incremental\"")
    );
    assert!(
        one("[policy]\nrequired_release = [\"2\"]")
            .2
            .contains("2.2")
    );
}

#[test]
fn numbers_beyond_every_type_are_out_of_range() {
    for n in [
        "-1",
        "99999999999999999999999999999999999999999",
        "0xffff_ffff_ffff_ffff_ffff",
        "9223372036854775807",
    ] {
        let said = one(&format!("[limits]\nsessions = {n}")).2;
        assert!(said.contains("out of range"), "{n}: {said}");
    }
    assert!(
        one("drain_s = 1.5")
            .2
            .contains("a number with a fraction was found")
    );
}

#[test]
fn no_text_makes_it_panic() {
    // Every prefix, and every byte replaced by one that means something in TOML.
    for (i, _) in FULL.char_indices() {
        let _ = Config::from_toml("t", &FULL[..i]).map_err(|p| p.to_string());
    }
    for i in (0..FULL.len()).step_by(3) {
        for b in ["[", "\"", "\n", "=", "é", "\0"] {
            let mut text = FULL.to_owned();
            text.replace_range(i..=i, b);
            let _ = Config::from_toml("t", &text).map_err(|p| p.to_string());
        }
    }
}

#[test]
fn a_problem_is_shown_in_its_line() {
    let shown = Config::from_toml("pf.toml", "shards = 2\n[sip]\nt1_ms = 9\n")
        .expect_err("9 ms is too short")
        .to_string();
    for part in [
        "`sip.t1_ms`: 9 is out of range",
        "pf.toml:3:9",
        "t1_ms = 9",
        "from 10 to 5000",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "no colour unless asked");
}

#[test]
fn a_password_is_not_in_debug_output() {
    let c = Config::from_toml("t", FULL).unwrap();
    assert!(!format!("{c:?}").contains("secret"));
}

#[test]
fn a_running_server_takes_the_drain_time_and_the_log_level_and_nothing_else() {
    let now = Config::default();
    let mut new = now.clone();
    new.drain = SECOND;
    new.log.level = Level::Debug;
    assert!(now.restart_needed(&new).is_empty());
    new.shards = Some(3);
    new.sip.t1 = SECOND;
    new.log.format = Format::Json;
    assert_eq!(now.restart_needed(&new), ["shards", "sip", "log.format"]);
    let other = Config::from_toml("t", FULL).unwrap();
    assert_eq!(now.restart_needed(&other).len(), 13, "all but the mode");
}

#[test]
fn an_ephemeral_configuration_has_no_port_of_its_own() {
    let c = Config::ephemeral();
    let all = c.sip.listen.iter().chain(&c.msrp.listen);
    assert!(
        all.map(|l| l.addr)
            .chain([c.admin.listen])
            .all(|a| a.port() == 0 && a.ip().is_loopback())
    );
}
