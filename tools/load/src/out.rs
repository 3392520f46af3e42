//! What waits to be written on one connection. Order is kept; a short write keeps the rest.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    net::TcpStream,
};

/// Bytes that a socket did not take yet, oldest first. In pieces: beyond saturation tens of megabytes wait, and neither
/// growing nor what has gone from the front may move them.
#[derive(Default)]
pub(crate) struct Out {
    /// Pieces that are full, oldest first; none is empty.
    full: VecDeque<Vec<u8>>,
    /// Bytes in `full`.
    full_bytes: usize,
    /// Where is appended.
    last: Vec<u8>,
    /// So many bytes of the oldest piece have gone.
    taken: usize,
}

impl Out {
    /// From here on a piece is full. A message begins and ends in the same one, however long it is.
    const PIECE: usize = 256 * 1024;
    /// Memory that an idle connection may keep.
    const KEEP: usize = 64 * 1024;

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.full_bytes + self.last.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a writer appends; [`Out::flush`] sends it.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.last.len() >= Self::PIECE {
            self.full_bytes += self.last.len();
            self.full.push_back(std::mem::take(&mut self.last));
        }
        &mut self.last
    }

    /// Writes `bytes` behind what waits: at once if nothing does, so that the usual case copies nothing.
    pub(crate) fn write(&mut self, stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            while !bytes.is_empty() {
                match write_some(stream, bytes, WRITE_BYTES)? {
                    0 => break,
                    n => bytes = &bytes[n..],
                }
            }
        }
        self.tail().extend_from_slice(bytes);
        Ok(())
    }

    /// Writes `grain` bytes at a time until nothing waits, the socket is full, or `most` bytes and the rest of a write have gone.
    pub(crate) fn flush(
        &mut self,
        stream: &TcpStream,
        grain: usize,
        most: usize,
    ) -> io::Result<()> {
        let mut gone = 0;
        while !self.is_empty() {
            let oldest = self.full.front().unwrap_or(&self.last);
            match write_some(stream, &oldest[self.taken..], grain)? {
                0 => return Ok(()),
                n => {
                    self.taken += n;
                    gone += n;
                }
            }
            if self.taken == oldest.len() {
                self.taken = 0;
                match self.full.pop_front() {
                    Some(piece) => self.full_bytes -= piece.len(),
                    None => self.last.clear(),
                }
            }
            if gone >= most && !self.is_empty() {
                return Ok(());
            }
        }
        if self.last.capacity() > Self::KEEP {
            self.last = Vec::new();
        }
        Ok(())
    }
}

/// What one write may hand over. On loopback the kernel delivers it in the same call, which nothing interrupts.
pub(crate) const WRITE_BYTES: usize = 256 * 1024;

/// Bytes taken by the socket, `grain` at most; 0 if it is full.
fn write_some(mut stream: &TcpStream, bytes: &[u8], grain: usize) -> io::Result<usize> {
    let bytes = &bytes[..bytes.len().min(grain)];
    loop {
        return match stream.write(bytes) {
            Ok(n) => Ok(n),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_full_socket_keeps_the_rest_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut peer, _) = listener.accept().unwrap();

        let sent: Vec<u8> = (0..24_000_000_u32)
            .map(|i| i.to_le_bytes()[i as usize % 3])
            .collect();
        let mut out = Out::default();
        for piece in sent.chunks(1_000_000) {
            out.write(&stream, piece).unwrap();
        }
        assert!(
            !out.is_empty(),
            "24 MB fit into a socket: the test shows nothing"
        );

        let mut got = Vec::new();
        let mut piece = vec![0; 300_000];
        while got.len() < sent.len() {
            let n = peer.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
            out.flush(&stream, WRITE_BYTES, 1 << 20).unwrap();
        }
        assert!(got == sent, "bytes lost or out of order");
        assert!(out.is_empty());
    }
}
