//! The outbox against a model: random frames of several owners, sockets that take what they like, aborts at any moment.

use std::rc::Rc;

use proptest::prelude::*;
use slotmap::SlotMap;

use super::*;
use crate::ids::ConnId;

#[derive(Clone, Debug)]
enum Op {
    Begin(u8),
    /// A whole frame in one go; its body shared, in two pieces where asked.
    Frame(u8, usize, bool),
    Body(usize, bool),
    End,
    Whole,
    Abort(u8),
    /// Ends the turn; the socket takes this share (of 256) of each offer.
    Turn(u8),
    Writable,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..3u8).prop_map(Op::Begin),
        4 => (0..3u8, 0..40usize, any::<bool>()).prop_map(|(o, n, two)| Op::Frame(o, n, two)),
        5 => (1..40usize, any::<bool>()).prop_map(|(n, s)| Op::Body(n, s)),
        4 => Just(Op::End),
        1 => Just(Op::Whole),
        1 => (0..3u8).prop_map(Op::Abort),
        4 => any::<u8>().prop_map(Op::Turn),
        2 => Just(Op::Writable),
    ];
    prop::collection::vec(op, 1..120)
}

/// A frame as the writer wrote it, and what the wire must show.
#[derive(Debug)]
struct Frame {
    owner: u8,
    tid: Tid,
    body: Vec<u8>,
    ended: bool,
    /// At abort: how much of the body was out, or `None` if not a byte of the frame was.
    aborted: Option<Option<usize>>,
}

fn tid(n: usize) -> Tid {
    let mut t = *b"tid-000000000000";
    t[4..].copy_from_slice(format!("{n:012}").as_bytes());
    t
}

/// `MSRP `, transaction id, `{}`.
const HEAD_LEN: usize = 5 + TID_LEN + 2;

/// What the wire shows of one frame: head seen, body, flag.
#[derive(Debug, PartialEq)]
struct Seen {
    tid: Tid,
    body: Vec<u8>,
    flag: Option<u8>,
}

/// Parses a wire of `MSRP tid{}` heads, lower-case bodies, end-lines and `W`s. Incomplete last frame allowed.
fn parse(mut wire: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(first) = wire.first() {
        if *first == b'W' {
            wire = &wire[1..];
            continue;
        }
        assert_eq!(
            *first,
            b'M',
            "a frame begins with its head: {:?}",
            String::from_utf8_lossy(wire)
        );
        if wire.len() < HEAD_LEN {
            return seen;
        }
        let id: Tid = wire[5..5 + TID_LEN].try_into().unwrap();
        assert_eq!(&wire[5 + TID_LEN..HEAD_LEN], b"{}");
        wire = &wire[HEAD_LEN..];
        let body = wire.iter().take_while(|b| b.is_ascii_lowercase()).count();
        let mut frame = Seen {
            tid: id,
            body: wire[..body].to_vec(),
            flag: None,
        };
        wire = &wire[body..];
        let end = end_line(&id, b'$');
        if wire.len() >= end.len() {
            assert_eq!(
                wire[..9 + TID_LEN],
                end[..9 + TID_LEN],
                "its own end-line closes a frame"
            );
            frame.flag = Some(wire[9 + TID_LEN]);
            wire = &wire[end.len()..];
            seen.push(frame);
        } else {
            assert_eq!(wire, &end[..wire.len()]);
            seen.push(frame);
            return seen;
        }
    }
    seen
}

fn run(ops: Vec<Op>) {
    let mut conns: SlotMap<ConnId, ()> = SlotMap::with_key();
    let conn = conns.insert(());
    let mut out = Outbox::new(1 << 20);
    out.add(conn);
    let (mut wire, mut frames): (Vec<u8>, Vec<Frame>) = (Vec::new(), Vec::new());
    let flush = |out: &mut Outbox, wire: &mut Vec<u8>, share: u8| {
        while let Some(c) = out.next_dirty() {
            let offer: Vec<u8> = out.gather(c).flatten().copied().collect();
            let taken = offer.len() * usize::from(share) / 255;
            wire.extend(&offer[..taken]);
            out.sent(c, offer.len(), taken);
        }
        out.end_turn();
    };
    for op in ops {
        match op {
            Op::Begin(owner) if out.open(conn).is_none() => {
                let tid = tid(frames.len());
                out.begin(conn, u64::from(owner), tid, &[b"MSRP ", &tid, b"{"]);
                out.own(conn, b"}");
                out.body(conn);
                frames.push(Frame {
                    owner,
                    tid,
                    body: Vec::new(),
                    ended: false,
                    aborted: None,
                });
            }
            Op::Frame(owner, n, two) if out.open(conn).is_none() => {
                let tid = tid(frames.len());
                let body: Vec<u8> = (b'a'..=b'z').cycle().take(n).collect();
                let rest = [&b"}"[..], &body].concat();
                let at = if two { 1 + n / 2 } else { 1 + n };
                let shared = [Slice::copied(&rest[..at]), Slice::copied(&rest[at..])];
                let frame = super::Frame {
                    owner: u64::from(owner),
                    tid,
                    head: &Ready::new(&[b"{"]),
                    received: Received::new(&shared),
                    body_at: 1,
                    flag: b'$',
                };
                let stand = out.frame(conn, &frame).unwrap();
                assert_eq!(
                    (stand.put, stand.backlog),
                    (out.put(conn), out.backlog(conn))
                );
                frames.push(Frame {
                    owner,
                    tid,
                    body,
                    ended: true,
                    aborted: None,
                });
            }
            Op::Body(n, shared) if out.open(conn).is_some() => {
                let bytes: Vec<u8> = (b'a'..=b'z').cycle().take(n).collect();
                if shared {
                    let region: Rc<dyn Region> = Rc::new(bytes.clone().into_boxed_slice());
                    out.shared(conn, Slice::new(region, 0, u32::try_from(n).unwrap()));
                } else {
                    out.own(conn, &bytes);
                }
                frames.last_mut().unwrap().body.extend(bytes);
            }
            Op::End if out.open(conn).is_some() => {
                out.end(conn, b'$');
                frames.last_mut().unwrap().ended = true;
            }
            Op::Whole if out.open(conn).is_none() => out.whole(conn, b"W").unwrap(),
            Op::Abort(owner) => {
                let on_wire = parse_prefix(&wire);
                let standing = frames.iter_mut().filter(|f| f.aborted != Some(None));
                for (i, frame) in standing.enumerate() {
                    if frame.owner != owner || frame.aborted.is_some() {
                        continue;
                    }
                    frame.aborted = match on_wire.get(i) {
                        // Its end-line has begun: too late.
                        Some((_, true)) => None,
                        Some((body, false)) => Some(Some(*body)),
                        None => Some(None),
                    };
                }
                out.abort(conn, u64::from(owner));
            }
            Op::Turn(share) => flush(&mut out, &mut wire, share),
            Op::Writable => out.writable(conn),
            Op::Begin(_) | Op::Frame(..) | Op::Body(..) | Op::End | Op::Whole => {}
        }
    }
    if out.open(conn).is_some() {
        out.end(conn, b'+');
        frames.last_mut().unwrap().ended = true;
    }
    out.writable(conn);
    flush(&mut out, &mut wire, 255);
    assert_eq!(out.backlog(conn), 0);
    assert_eq!(out.spilled(), 0);
    assert_eq!(out.put(conn), out.left(conn));

    let seen = parse(&wire);
    let expected: Vec<&Frame> = frames.iter().filter(|f| f.aborted != Some(None)).collect();
    assert_eq!(
        seen.iter().map(|s| s.tid).collect::<Vec<_>>(),
        expected.iter().map(|f| f.tid).collect::<Vec<_>>()
    );
    for (s, f) in seen.iter().zip(expected) {
        match f.aborted {
            None => {
                assert_eq!(s.body, f.body, "a frame that stays arrives whole");
                assert!(f.ended && matches!(s.flag, Some(b'$' | b'+')));
            }
            Some(Some(out)) => {
                assert_eq!(s.body, f.body[..out], "no body byte follows an abort");
                assert_eq!(s.flag, Some(b'#'));
            }
            Some(None) => unreachable!("filtered"),
        }
    }
}

/// Frames on the wire so far, in order: body bytes out, whether the end-line has begun.
fn parse_prefix(mut wire: &[u8]) -> Vec<(usize, bool)> {
    let mut seen = Vec::new();
    while let Some(first) = wire.first() {
        if *first == b'W' {
            wire = &wire[1..];
            continue;
        }
        wire = wire.get(HEAD_LEN..).unwrap_or(&[]);
        let body = wire.iter().take_while(|b| b.is_ascii_lowercase()).count();
        wire = &wire[body..];
        seen.push((body, !wire.is_empty()));
        wire = wire.get(TID_LEN + 12..).unwrap_or(&[]);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_arrive_whole_or_properly_aborted(ops in ops()) {
        run(ops);
    }
}

#[test]
fn an_answer_is_written_to_a_slow_peer_as_to_any_other_up_to_the_bound() {
    let answer = Answer::new(b" 200 OK\r\n-------", 4);
    let mut conns: SlotMap<ConnId, ()> = SlotMap::with_key();
    let (conn, stranger) = (conns.insert(()), conns.insert(()));
    let mut out = Outbox::new(100);
    out.add(conn);
    out.whole(conn, b"before").unwrap();
    assert_eq!(out.next_dirty(), Some(conn));
    out.sent(conn, 6, 2);
    assert!(out.slow(conn));
    // Four bytes wait, and each answer has 32.
    for _ in 0..3 {
        assert_eq!(out.answer(conn, &answer, b"abcd"), Ok(()));
    }
    assert_eq!(out.answer(conn, &answer, b"abcd"), Err(NotNow::Full));
    assert_eq!(out.answer(stranger, &answer, b"abcd"), Err(NotNow::Gone));
    assert_eq!((out.backlog(conn), out.spilled()), (100, 100));
    let text = String::from_utf8(out.take(conn)).unwrap();
    let one = "MSRP abcd 200 OK\r\n-------abcd$\r\n";
    assert_eq!(text, format!("fore{one}{one}{one}"));
    assert_eq!((out.backlog(conn), out.spilled()), (0, 0));
    out.begin(conn, 1, *b"0123456789abcdef", &[b"x"]);
    assert_eq!(out.answer(conn, &answer, b"abcd"), Err(NotNow::Open));
}
