//! The corpus as streams: whole, byte by byte, cut at every place; pipelined; bounded.

use crate::corpus::{self, Outcome, all, bytes};
use ringfork::wire::sip::{Bounds, Frame, Framer, Message, Rule};

/// Runs a stream through a framer as a connection does: `pieces` arrive one by one.
fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut framer = Framer::default();
    let (mut buffer, mut taken, mut out) = (Vec::new(), 0, Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match framer.frame(&buffer[taken..]) {
                Frame::More => break,
                frame @ Frame::Error(_) => {
                    out.push(frame);
                    return out;
                }
                frame @ (Frame::Message { len, .. } | Frame::KeepAlive { len, .. }) => {
                    taken += len;
                    out.push(frame);
                }
            }
        }
    }
    out
}

fn messages(frames: &[Frame]) -> usize {
    frames
        .iter()
        .filter(|f| matches!(f, Frame::Message { .. }))
        .count()
}

#[test]
fn any_cut_of_a_stream_gives_the_same_frames() {
    for entry in all() {
        let whole = frames([&entry.bytes[..]]);
        assert_eq!(
            whole,
            frames(entry.bytes.chunks(1)),
            "{} byte by byte",
            entry.file
        );
        for cut in 0..entry.bytes.len() {
            let (a, b) = entry.bytes.split_at(cut);
            assert_eq!(whole, frames([a, b]), "{} cut at {cut}", entry.file);
        }
    }
}

#[test]
fn a_stream_is_framed_by_content_length() {
    // RFC 3261 §18.3: what the index says of each message as a stream. [SIP-MSG-03]
    for entry in all() {
        let found = frames([&entry.bytes[..]]);
        let outcome = match found.last() {
            Some(Frame::Error(error)) => corpus::outcome(Err(*error)),
            None => Outcome::Word("more".into()),
            Some(_) => Outcome::Number(u16::try_from(messages(&found)).unwrap()),
        };
        assert_eq!(
            outcome,
            entry.stream.clone().unwrap_or(Outcome::Number(1)),
            "{}",
            entry.file
        );
    }
}

#[test]
fn a_datagram_that_is_cut_is_never_taken_for_another_message() {
    // A body that ends too early: 400. A head that ends too early: 400. [SIP-MSG-03]
    for entry in corpus::good() {
        let message = corpus::read(&entry.bytes).unwrap();
        let counted = message
            .header(ringfork::wire::sip::Name::ContentLength)
            .is_some();
        let len = message.as_bytes().len();
        let head = message.head().len();
        for cut in 0..len {
            let result = Message::parse(&entry.bytes[..cut]);
            if cut < head {
                assert!(result.is_err(), "{} cut at {cut}", entry.file);
            } else if counted {
                assert_eq!(
                    result.err().map(|e| (e.rule, e.at)),
                    Some((Rule::BodyShort, cut)),
                    "{}",
                    entry.file
                );
            } else {
                assert_eq!(result.unwrap().body().len(), cut - head);
            }
        }
        // Surplus is dropped. [SIP-MSG-03]
        if counted {
            let longer = [message.as_bytes(), b"surplus"].concat();
            assert_eq!(
                corpus::read(&longer).unwrap().as_bytes(),
                message.as_bytes(),
                "{}",
                entry.file
            );
        }
    }
}

#[test]
fn pipelined_messages_and_keep_alives() {
    // RFC 3261 §7.5, §18.3, RFC 5626 §3.5.1. [SIP-MSG-03]
    let (a, b) = (bytes("cpm/invite-chat"), bytes("cpm/ok-invite"));
    let stream = [
        b"\r\n\r\n",
        &a[..],
        b"\r\n",
        &b[..],
        &a[..],
        b"\r\n\r\n\r\n\r\n",
    ]
    .concat();
    let ping = Frame::KeepAlive { len: 4, ping: true };
    let found = frames([&stream[..]]);
    let lens: Vec<usize> = found
        .iter()
        .map(|f| match f {
            Frame::Message { len, .. } | Frame::KeepAlive { len, .. } => *len,
            Frame::More | Frame::Error(_) => 0,
        })
        .collect();
    assert_eq!(lens, [4, a.len(), 2, b.len(), a.len(), 4, 4]);
    assert_eq!((found[0], found[5], found[6]), (ping, ping, ping));
    assert_eq!(
        found[2],
        Frame::KeepAlive {
            len: 2,
            ping: false
        }
    );
    assert_eq!(found, frames(stream.chunks(1)));
    assert_eq!(found, frames(stream.chunks(7)));
}

#[test]
fn no_byte_is_searched_twice() {
    let mut framer = Framer::default();
    let mut buffer = b"INVITE sip:a@b SIP/2.0\r\nX: xxxx".to_vec();
    assert_eq!(framer.frame(&buffer), Frame::More);
    // A blank line where it has looked already: only a second look would find it.
    buffer[24..28].copy_from_slice(b"\r\n\r\n");
    buffer.extend_from_slice(b"\r\nl: 0\r\n");
    assert_eq!(framer.frame(&buffer), Frame::More);
    buffer[24..28].copy_from_slice(b"X: y");
    buffer.extend_from_slice(b"\r\n");
    assert_eq!(
        framer.frame(&buffer),
        Frame::Message {
            head_len: buffer.len(),
            len: buffer.len()
        }
    );
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let mut framer = Framer::default();
    let mut buffer = b"INVITE sip:a@b SIP/2.0\r\nX: ".to_vec();
    let bound = Bounds::default().head_bytes;
    while buffer.len() < bound - 1 {
        buffer.push(b'x');
        assert_eq!(framer.frame(&buffer), Frame::More);
    }
    buffer.push(b'x');
    let Frame::Error(error) = framer.frame(&buffer) else {
        panic!("bounded")
    };
    assert_eq!(
        (error.rule, error.at, error.status()),
        (Rule::HeadTooLarge, bound, Some(513))
    );
}

#[test]
fn bounds_hold_at_their_last_byte() {
    let message = |head: usize, body: usize| {
        let mut bytes = format!("MESSAGE sip:a@b SIP/2.0\r\nl: {body}\r\nX: ").into_bytes();
        bytes.resize(head - 4, b'x');
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.resize(head + body, b'y');
        bytes
    };
    let bounds = Bounds {
        head_bytes: 100,
        body_bytes: 10,
    };
    let frame = |bytes: &[u8]| Framer::new(bounds).frame(bytes);
    assert_eq!(
        frame(&message(100, 10)),
        Frame::Message {
            head_len: 100,
            len: 110
        }
    );
    assert!(matches!(frame(&message(101, 10)), Frame::Error(e) if e.rule == Rule::HeadTooLarge));
    assert!(
        matches!(frame(&message(100, 11)), Frame::Error(e) if e.rule == Rule::BodyTooLarge && e.status() == Some(413))
    );
    // The largest head that a message may have is read too, and the next is not.
    let largest = message(Bounds::default().head_bytes, 3);
    assert_eq!(Message::parse(&largest).unwrap().body(), b"yyy");
    assert!(
        matches!(Message::parse(&message(Bounds::default().head_bytes + 1, 0)), Err(e) if e.rule == Rule::HeadTooLarge)
    );
}
