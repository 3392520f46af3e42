//! `wire::sip`: messages read, checked, framed and written.

use std::hint::black_box;

use ringfork::wire::sip::{Bounds, Frame, Framer, Message, Name, Start, Writer};

use super::{
    case::{Case, whole},
    corpus,
};

const INVITE: &[u8] = include_bytes!("../../tests/corpus/sip/cpm/invite-chat.sip");
const OK: &[u8] = include_bytes!("../../tests/corpus/sip/cpm/ok-invite.sip");

pub(crate) fn cases() -> Vec<Case> {
    vec![
        message("sip/read INVITE", INVITE),
        message("sip/read 200", OK),
        folder("sip/read cpm corpus", "sip/cpm", true),
        folder("sip/read torture corpus", "sip/rfc4475", false),
        stream(),
        write("sip/write INVITE", INVITE),
        write("sip/write 200", OK),
    ]
}

/// What nearly everything that happens to a message asks of it; whether it was all there.
fn read(bytes: &[u8]) -> bool {
    let Ok(message) = Message::parse(black_box(bytes)) else {
        return false;
    };
    message.check().is_ok()
        && message.via().is_ok()
        && message.from().is_ok()
        && message.to().is_ok()
        && message.call_id().is_ok()
        && message.cseq().is_ok()
}

fn message(name: &str, bytes: &'static [u8]) -> Case {
    Case::new(name, "message", bytes.len(), move || {
        assert!(read(bytes));
        whole(move || read(bytes))
    })
}

fn folder(name: &str, at: &str, all_good: bool) -> Case {
    let files = corpus::folder(at);
    let good = files.iter().filter(|f| read(f)).count();
    Case::new(name, "message", corpus::len(&files), {
        let files = files.clone();
        move || {
            assert!(good > 0 && (good == files.len()) == all_good);
            whole(move || files.iter().filter(|f| read(f)).count() == good)
        }
    })
    .units(files.len())
}

/// The messages of a folder on one stream, with what keeps a connection alive between two.
fn stream() -> Case {
    let files = corpus::folder("sip/cpm");
    // On a stream a message says how long it is.
    let framed: Vec<_> = files
        .iter()
        .filter(|f| Message::parse(f).is_ok_and(|m| m.header(Name::ContentLength).is_some()))
        .collect();
    let n = framed.len();
    let stream: Vec<u8> = framed
        .iter()
        .flat_map(|f| [f.as_slice(), b"\r\n\r\n"].concat())
        .collect();
    let count = |mut rest: &[u8]| {
        let mut framer = Framer::new(Bounds::default());
        let mut messages = 0;
        loop {
            let len = match framer.frame(black_box(rest)) {
                Frame::Message { len, .. } => {
                    messages += 1;
                    len
                }
                Frame::KeepAlive { len, .. } => len,
                Frame::More => return messages,
                Frame::Error(_) => return 0,
            };
            rest = &rest[len..];
        }
    };
    Case::new("sip/frame", "message", stream.len(), move || {
        assert_eq!(count(&stream), n);
        whole(move || count(&stream) == n)
    })
    .units(n)
}

/// A message written anew from what was read of it.
fn write(name: &str, bytes: &'static [u8]) -> Case {
    Case::new(name, "message", bytes.len(), move || {
        let message = Message::parse(bytes).unwrap();
        let mut out = Vec::with_capacity(4096);
        copy(&mut out, &message);
        let first = Message::parse(&out).unwrap();
        assert_eq!(first.check(), Ok(()));
        assert_eq!(first.body(), message.body());
        assert_eq!(first.all().count(), message.all().count());
        let expected = out.clone();
        whole(move || {
            out.clear();
            copy(&mut out, black_box(&message));
            out == expected
        })
    })
}

fn copy(out: &mut Vec<u8>, message: &Message<'_>) {
    let mut writer = match message.start() {
        Start::Request { method, uri } => Writer::request(out, method, uri),
        Start::Response { code, reason } => Writer::status(out, code, reason),
    };
    for (name, value) in message.named() {
        if !matches!(name, Name::ContentType | Name::ContentLength) {
            writer = writer.header(name, value);
        }
    }
    let content_type = message.header(Name::ContentType).unwrap_or_default();
    let written = writer.body(content_type, message.body());
    assert_eq!(written, Ok(()));
}
