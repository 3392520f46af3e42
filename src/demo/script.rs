//! What is played: three devices of Bob, Alice who writes to him, one device that answers first.

use std::net::SocketAddr;

use super::{
    Outcome, Seen, Stage,
    phone::{PATIENCE, Phone, SILENCE, cpim, text},
};
use crate::wire::sip::Method;

/// RFC 3994 §3.2: Bob has begun to type.
const COMPOSING: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\"><state>active</state><contenttype>text/plain</contenttype></isComposing>";

/// How each of Bob's devices sets its media up.
const DEVICES: [(&str, &str); 3] = [
    ("Bob's phone", "passive"),
    ("Bob's tablet", "active"),
    ("Bob's laptop", "passive"),
];

/// Plays all of it; whether every step was seen.
pub(super) fn play(stage: &mut Stage, sip: SocketAddr) -> bool {
    let mut devices = Vec::new();
    let mut alice = None;
    stage.step("Bob's three devices register", |o| {
        register(o, &mut devices, sip)
    }) && stage.step(
        "Alice invites Bob: each of his devices rings and answers",
        |o| invite(o, &mut alice, &mut devices, sip),
    ) && {
        let Some(alice) = &mut alice else {
            return false;
        };
        stage.step("Alice writes: the message reaches every device", |o| {
            everywhere(o, alice, &mut devices)
        }) && stage.step(
            "A delivery notification from the laptop is no activity",
            |_| notified(alice, &mut devices),
        ) && stage.step(
            "Bob types on his tablet: it stays, the others are torn down",
            |o| settle(o, alice, &mut devices),
        ) && stage.step("Alice writes again: the tablet alone gets it", |o| {
            tablet_alone(o, alice, &mut devices)
        }) && stage.step("Bob answers from his tablet: Alice reads it", |_| {
            answered(alice, &mut devices)
        }) && stage.step("Alice hangs up: the tablet's leg ends", |_| {
            hang_up(alice, &mut devices)
        }) && stage.step(
            "Bob's devices leave: Alice is told that he cannot be reached",
            |_| unreachable(alice, &mut devices),
        )
    }
}

fn register(o: &mut Outcome, devices: &mut Vec<Phone>, sip: SocketAddr) -> Seen {
    for (name, _) in DEVICES {
        let mut phone = Phone::new(name, "bob", sip)?;
        phone.register(3600)?;
        devices.push(phone);
        o.devices += 1;
    }
    Ok("REGISTER 200 three times, one +sip.instance each".to_owned())
}

fn invite(
    o: &mut Outcome,
    slot: &mut Option<Phone>,
    devices: &mut [Phone],
    sip: SocketAddr,
) -> Seen {
    let mut alice = Phone::new("Alice", "alice", sip)?;
    alice.send_invite("bob")?;
    let mut seen = Vec::new();
    let mut invites = Vec::new();
    for phone in devices.iter() {
        invites.push(phone.expect_request(Method::Invite)?);
        seen.push(format!("INVITE -> {}", phone.name));
    }
    for (i, (phone, invite)) in devices.iter_mut().zip(&invites).enumerate() {
        phone.accept(invite, DEVICES[i].1)?;
        seen.push(format!(
            "{} answered 200, is {}: MSRP is up",
            phone.name, DEVICES[i].1
        ));
        if i == 0 {
            // The first 200 is Alice's 200 (TERM-RSP-01); later ones make no second.
            alice.invited()?;
            seen.push("Alice has her 200 with the first of them".to_owned());
        }
    }
    *slot = Some(alice);
    o.sessions += 1;
    Ok(seen.join("\n"))
}

fn everywhere(o: &mut Outcome, alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    let words = "Hi Bob, are you there?";
    alice.post(
        "message/cpim",
        &cpim("alice@example.net", "bob@example.com", words),
    )?;
    o.messages_sent += 1;
    let mut seen = Vec::new();
    for phone in devices.iter_mut() {
        seen.push(heard(phone, words)?);
        o.deliveries += 1;
    }
    alice.acknowledged()?;
    seen.push("Alice has her 200".to_owned());
    Ok(seen.join("\n"))
}

/// A device hears these very words.
fn heard(phone: &mut Phone, words: &str) -> Seen {
    let missing = super::Fault::Missing {
        who: phone.name.clone(),
        what: format!("{words:?}"),
    };
    let m = phone.hear(PATIENCE)?.ok_or(missing)?;
    let got = text(&m.body);
    if got != words {
        return Err(super::Fault::Other {
            who: phone.name.clone(),
            what: words.to_owned(),
            got,
        });
    }
    Ok(format!("SEND -> {}: {words:?}", phone.name))
}

/// A device hears nothing.
fn silent(phone: &mut Phone) -> Seen {
    match phone.hear(SILENCE)? {
        None => Ok(format!("{} got nothing", phone.name)),
        Some(m) => Err(super::Fault::Other {
            who: phone.name.clone(),
            what: "silence".to_owned(),
            got: text(&m.body),
        }),
    }
}

fn notified(alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    let imdn = b"From: <sip:bob@example.com>\r\nTo: <sip:alice@example.net>\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n\
        <?xml version=\"1.0\"?><imdn xmlns=\"urn:ietf:params:xml:ns:imdn\"><message-id>1</message-id>\
        <datetime>2026-01-01T00:00:00Z</datetime><delivery-notification><status><delivered/></status></delivery-notification></imdn>";
    devices[2].say("message/cpim", imdn)?;
    let Some(m) = alice.hear(PATIENCE)? else {
        return Err(super::Fault::Missing {
            who: alice.name.clone(),
            what: "the notification".to_owned(),
        });
    };
    for phone in devices.iter() {
        if phone.next_sip(SILENCE)?.is_some() {
            return Err(super::Fault::Other {
                who: phone.name.clone(),
                what: "no BYE".to_owned(),
                got: "a request".to_owned(),
            });
        }
    }
    Ok(format!(
        "Alice has it ({}), all three legs stand",
        m.content_type
    ))
}

fn settle(o: &mut Outcome, alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    devices[1].say("application/im-iscomposing+xml", COMPOSING.as_bytes())?;
    let mut seen = Vec::new();
    for n in [0, 2] {
        let reason = devices[n].torn_down()?;
        seen.push(format!("BYE -> {} (Reason: {reason})", devices[n].name));
        o.torn_down += 1;
    }
    alice.hear(PATIENCE)?.ok_or(super::Fault::Missing {
        who: alice.name.clone(),
        what: "isComposing".to_owned(),
    })?;
    seen.push("Alice sees that Bob is typing".to_owned());
    Ok(seen.join("\n"))
}

fn tablet_alone(o: &mut Outcome, alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    let words = "Shall we meet at eight?";
    alice.post(
        "message/cpim",
        &cpim("alice@example.net", "bob@example.com", words),
    )?;
    o.messages_sent += 1;
    let mut seen = vec![heard(&mut devices[1], words)?];
    o.deliveries += 1;
    alice.acknowledged()?;
    for n in [0, 2] {
        seen.push(silent(&mut devices[n])?);
    }
    Ok(seen.join("\n"))
}

fn answered(alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    let words = "Eight is fine.";
    devices[1].say(
        "message/cpim",
        &cpim("bob@example.com", "alice@example.net", words),
    )?;
    heard(alice, words)
}

fn hang_up(alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    alice.send_bye()?;
    let _ = devices[1].torn_down()?;
    alice.bye_answered()?;
    Ok(format!(
        "BYE -> {}, then the 200 to Alice's own",
        devices[1].name
    ))
}

fn unreachable(alice: &mut Phone, devices: &mut [Phone]) -> Seen {
    for phone in devices.iter_mut() {
        phone.register(0)?;
    }
    alice.send_invite("bob")?;
    alice.expect_code(Method::Invite, 480)?;
    Ok("INVITE -> 480 Temporarily Unavailable: no device of his is registered".to_owned())
}
