//! Mail between shards, and questions from the services: bounded lock-free queues, one for each pair.
//!
//! A shard empties its inbox every turn and never waits to send. Places are of two kinds: any letter may take an open
//! place; letters inside dialogs, answers and bytes of running connections may also take the reserved ones, so a flood of
//! initial requests cannot stop what has begun (design §2). Bytes are copied into a letter: receive buffers never leave
//! their shard, so nothing has to come home.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crossbeam::{queue::ArrayQueue, utils::CachePadded};

use super::report::{Answer, Question};
use crate::{
    ids::{ConnId, ShardId, SocketId},
    limits::mail_bytes,
    sip::Flow,
};

/// What one shard writes to another.
#[derive(Debug)]
pub enum Letter {
    /// A SIP datagram for a user of the addressee, unparsed beyond the key.
    Datagram {
        /// The socket that it came to; each shard has its own on the same address.
        socket: SocketId,
        /// Who sent it.
        from: SocketAddr,
        /// The whole datagram.
        bytes: Box<[u8]>,
    },
    /// A SIP message that came over a stream connection of the writer.
    Message {
        /// The connection, in the writer's names.
        flow: Flow,
        /// The whole message.
        bytes: Box<[u8]>,
    },
    /// A SIP message to send over a stream connection of the addressee.
    Stream {
        /// The connection, in the addressee's names.
        conn: ConnId,
        /// The whole message.
        bytes: Box<[u8]>,
    },
    /// A message for a SIP stream connection of the writer that is over: back to whose it is.
    Unsent {
        /// The connection, in the writer's names.
        conn: ConnId,
        /// The whole message.
        bytes: Box<[u8]>,
    },
    /// The writer is about to close a SIP stream connection of its own: what the addressee has to say on it now comes before
    /// its [`Letter::Parted`].
    Part {
        /// The connection, in the writer's names.
        conn: ConnId,
    },
    /// The answer to [`Letter::Part`].
    Parted {
        /// The connection, in the addressee's names.
        conn: ConnId,
    },
    /// A SIP stream connection of the writer is gone.
    StreamGone {
        /// The connection, in the writer's names.
        conn: ConnId,
    },
    /// Bytes of MSRP frames for a session of the addressee, from a connection that stays with the writer.
    Frames {
        /// The connection, in the writer's names.
        conn: ConnId,
        /// Its other side.
        peer: SocketAddr,
        /// The next bytes, whole frames one after the other.
        bytes: Box<[u8]>,
    },
    /// Whole MSRP frames to send over a connection of the addressee.
    Reply {
        /// The connection, in the addressee's names.
        conn: ConnId,
        /// Whole frames.
        bytes: Box<[u8]>,
    },
    /// No session of the writer uses this MSRP connection of the addressee any more.
    FramesDone {
        /// The connection, in the addressee's names.
        conn: ConnId,
    },
    /// An MSRP connection of the writer that carried frames for the addressee is gone.
    FramesGone {
        /// The connection, in the writer's names.
        conn: ConnId,
    },
}

impl Letter {
    /// Bytes that it brings.
    fn bytes(&self) -> usize {
        match self {
            Self::Datagram { bytes, .. }
            | Self::Message { bytes, .. }
            | Self::Stream { bytes, .. }
            | Self::Frames { bytes, .. }
            | Self::Unsent { bytes, .. }
            | Self::Reply { bytes, .. } => bytes.len(),
            Self::StreamGone { .. }
            | Self::Part { .. }
            | Self::Parted { .. }
            | Self::FramesDone { .. }
            | Self::FramesGone { .. } => 0,
        }
    }

    /// Whether it may take a reserved place.
    fn reserved(&self) -> bool {
        match self {
            Self::Datagram { .. } => false,
            // The writer asks for it where the request is inside a dialog.
            Self::Message { .. } => false,
            Self::Stream { .. }
            | Self::Unsent { .. }
            | Self::Part { .. }
            | Self::Parted { .. }
            | Self::StreamGone { .. }
            | Self::Frames { .. }
            | Self::Reply { .. }
            | Self::FramesDone { .. }
            | Self::FramesGone { .. } => true,
        }
    }
}

/// A question of the services, with the way back. The answer is called on the shard's thread and must not wait.
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Where the answer goes.
    pub reply: Box<dyn FnOnce(Answer) + Send>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ask({:?})", self.question)
    }
}

/// The letters from one shard to another.
#[derive(Debug)]
struct Letterbox {
    letters: ArrayQueue<Letter>,
    /// Their bytes: the writer adds before, the reader takes away after.
    bytes: AtomicUsize,
}

type Channel = Arc<CachePadded<Letterbox>>;

/// How many letters wait at most from one shard to another.
#[derive(Clone, Copy, Debug)]
pub struct Places {
    /// For any letter.
    pub open: usize,
    /// On top, for letters of what has begun.
    pub reserved: usize,
}

/// One shard's end of the mail.
#[derive(Debug)]
pub struct Post {
    places: Places,
    /// Bytes that open places of one box hold; reserved ones as much again.
    bytes_max: usize,
    /// To each shard, from each shard; one's own stays empty.
    out: Vec<Channel>,
    inn: Vec<Channel>,
    asks: Arc<ArrayQueue<Ask>>,
    wakes: u64,
    /// Letters sent to each shard, and refused for want of a place.
    pub sent: Vec<u64>,
    /// Letters that found no place.
    pub refused: u64,
}

/// The services' end of one shard's mail.
#[derive(Clone, Debug)]
pub struct Desk {
    asks: Arc<ArrayQueue<Ask>>,
}

/// Questions that wait for one shard.
const ASKS_MAX: usize = 64;

impl Desk {
    /// Leaves a question; the caller wakes the shard. `Err`: too many wait.
    ///
    /// # Errors
    /// The question itself, when 64 wait already.
    pub fn ask(&self, ask: Ask) -> Result<(), Ask> {
        self.asks.push(ask)
    }
}

/// The ends of the mail between `shards` shards.
#[must_use]
pub fn exchange(shards: u8, places: Places) -> Vec<(Post, Desk)> {
    let n = usize::from(shards);
    let grid: Vec<Vec<Channel>> = (0..n)
        .map(|_| {
            (0..n)
                .map(|_| {
                    Arc::new(CachePadded::new(Letterbox {
                        letters: ArrayQueue::new(places.open + places.reserved),
                        bytes: AtomicUsize::new(0),
                    }))
                })
                .collect()
        })
        .collect();
    (0..n)
        .map(|me| {
            let asks = Arc::new(ArrayQueue::new(ASKS_MAX));
            let post = Post {
                places,
                bytes_max: mail_bytes(shards),
                out: grid[me].clone(),
                inn: grid.iter().map(|row| Arc::clone(&row[me])).collect(),
                asks: Arc::clone(&asks),
                wakes: 0,
                sent: vec![0; n],
                refused: 0,
            };
            (post, Desk { asks })
        })
        .collect()
}

impl Post {
    /// Shards that take part.
    #[must_use]
    pub fn shards(&self) -> u8 {
        u8::try_from(self.out.len()).unwrap_or(u8::MAX)
    }

    /// Sends a letter; the addressee is woken once at the end of the turn.
    ///
    /// # Errors
    /// The letter itself, when there is no place for it.
    pub fn send(&mut self, to: ShardId, letter: Letter) -> Result<(), Letter> {
        let reserved = letter.reserved();
        self.deliver(to, letter, reserved)
    }

    /// As [`Post::send`], for a letter that belongs to something that has begun.
    ///
    /// # Errors
    /// The letter itself, when not even a reserved place is left.
    pub fn send_reserved(&mut self, to: ShardId, letter: Letter) -> Result<(), Letter> {
        self.deliver(to, letter, true)
    }

    fn deliver(&mut self, to: ShardId, letter: Letter, reserved: bool) -> Result<(), Letter> {
        let n = usize::from(to.0);
        let Some(letterbox) = self.out.get(n) else {
            return Err(letter);
        };
        let (len, held) = (letterbox.letters.len(), letterbox.bytes.load(Relaxed));
        let full = if reserved {
            held >= 2 * self.bytes_max
        } else {
            len >= self.places.open || held >= self.bytes_max
        };
        if full {
            self.refused += 1;
            return Err(letter);
        }
        let bytes = letter.bytes();
        letterbox.bytes.fetch_add(bytes, Relaxed);
        if let Err(letter) = letterbox.letters.push(letter) {
            letterbox.bytes.fetch_sub(bytes, Relaxed);
            self.refused += 1;
            return Err(letter);
        }
        self.sent[n] += 1;
        self.wakes |= 1 << to.0;
        Ok(())
    }

    /// Whether there is a place for a letter of what has begun.
    #[must_use]
    pub fn has_place(&self, to: ShardId) -> bool {
        let letterbox = self.out.get(usize::from(to.0));
        letterbox
            .is_some_and(|b| !b.letters.is_full() && b.bytes.load(Relaxed) < 2 * self.bytes_max)
    }

    /// The next letter that waits from `from`.
    pub fn receive(&self, from: ShardId) -> Option<Letter> {
        let letterbox = self.inn.get(usize::from(from.0))?;
        let letter = letterbox.letters.pop()?;
        letterbox.bytes.fetch_sub(letter.bytes(), Relaxed);
        Some(letter)
    }

    /// Whether letters wait from `from`.
    #[must_use]
    pub fn waits(&self, from: ShardId) -> bool {
        let letterbox = self.inn.get(usize::from(from.0));
        letterbox.is_some_and(|b| !b.letters.is_empty())
    }

    /// The next question that waits.
    pub fn question(&self) -> Option<Ask> {
        self.asks.pop()
    }

    /// Whether a question waits.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.asks.is_empty()
    }

    /// The shards that got mail since the last call, one bit each.
    pub fn take_wakes(&mut self) -> u64 {
        std::mem::take(&mut self.wakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(n: u8) -> Letter {
        Letter::Datagram {
            socket: SocketId(0),
            from: ([127, 0, 0, 1], 5060).into(),
            bytes: Box::new([n]),
        }
    }

    #[test]
    fn letters_arrive_in_order_and_wake_once() {
        let mut ends = exchange(
            3,
            Places {
                open: 8,
                reserved: 2,
            },
        );
        let (mut zero, _) = ends.remove(0);
        for n in 0..3 {
            zero.send(ShardId(2), datagram(n)).unwrap();
        }
        assert_eq!(zero.take_wakes(), 0b100);
        assert_eq!(zero.take_wakes(), 0);
        let (two, _) = &ends[1];
        for n in 0..3 {
            let Some(Letter::Datagram { bytes, .. }) = two.receive(ShardId(0)) else {
                panic!("a datagram")
            };
            assert_eq!(*bytes, [n]);
        }
        assert!(two.receive(ShardId(0)).is_none());
        assert!(
            ends[0].0.receive(ShardId(0)).is_none(),
            "others got nothing"
        );
    }

    #[test]
    fn letters_are_bounded_in_bytes_and_what_has_begun_has_as_many_again() {
        let places = Places {
            open: 10_000,
            reserved: 10_000,
        };
        let mut ends = exchange(2, places);
        let long = || Letter::Datagram {
            socket: SocketId(0),
            from: ([127, 0, 0, 1], 5060).into(),
            bytes: vec![0; 60_000].into(),
        };
        let fits = mail_bytes(2).div_ceil(60_000);
        let post = &mut ends[0].0;
        let sent = (0..10_000)
            .take_while(|_| post.send(ShardId(1), long()).is_ok())
            .count();
        assert_eq!(sent, fits);
        assert!(post.has_place(ShardId(1)));
        let begun = (0..10_000)
            .take_while(|_| post.send_reserved(ShardId(1), long()).is_ok())
            .count();
        assert!((fits - 1..=fits).contains(&begun), "{begun}");
        assert!(!post.has_place(ShardId(1)));
        while ends[1].0.receive(ShardId(0)).is_some() {}
        let post = &mut ends[0].0;
        assert!(post.has_place(ShardId(1)) && post.send(ShardId(1), long()).is_ok());
    }

    #[test]
    fn reserved_places_are_kept_for_what_has_begun() {
        let mut ends = exchange(
            2,
            Places {
                open: 2,
                reserved: 1,
            },
        );
        let post = &mut ends[0].0;
        assert!(post.send(ShardId(1), datagram(0)).is_ok());
        assert!(post.send(ShardId(1), datagram(1)).is_ok());
        assert!(post.send(ShardId(1), datagram(2)).is_err());
        assert!(
            post.send(
                ShardId(1),
                Letter::StreamGone {
                    conn: ConnId::default()
                }
            )
            .is_ok()
        );
        assert!(
            post.send(
                ShardId(1),
                Letter::StreamGone {
                    conn: ConnId::default()
                }
            )
            .is_err()
        );
        assert_eq!(post.refused, 2);
        assert!(
            post.send(ShardId(7), datagram(3)).is_err(),
            "there is no such shard"
        );
    }
}
