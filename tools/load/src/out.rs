//! What waits to be written on one connection. Order is kept; a short write keeps the rest.

use std::{
    io::{self, ErrorKind, Write},
    net::TcpStream,
};

/// Bytes that a socket did not take yet, oldest first.
#[derive(Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    /// `bytes[..taken]` have gone.
    taken: usize,
}

impl Out {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a writer appends; [`Out::flush`] sends it.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Writes `bytes` behind what waits: at once if nothing does, so that the usual case copies nothing.
    pub(crate) fn write(&mut self, stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        if self.is_empty() {
            while !bytes.is_empty() {
                match write_some(stream, bytes)? {
                    0 => break,
                    n => bytes = &bytes[n..],
                }
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes until nothing waits or the socket is full.
    pub(crate) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.is_empty() {
            match write_some(stream, &self.bytes[self.taken..])? {
                0 => break,
                n => self.taken += n,
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
            if self.bytes.capacity() > Self::KEEP {
                self.bytes = Vec::new();
            }
        } else if self.taken > Self::KEEP {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        Ok(())
    }

    /// Memory that an idle connection may keep, and the sent bytes at the front that are not worth moving for.
    const KEEP: usize = 64 * 1024;
}

/// Bytes taken by the socket, 0 if it is full.
fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
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
            out.flush(&stream).unwrap();
        }
        assert!(got == sent, "bytes lost or out of order");
        assert!(out.is_empty());
    }
}
