//! Legs come up: we connect, or the peer does and names its session in its first message.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
};

use ringfork::wire::msrp::{self, Parse};
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};

use super::{CONNECT, Conn, Event, Plane, Session, Settings, Who, bodies};
use crate::{
    body::{Bodies, BodyReader},
    chunks::Chunker,
    device::Device,
    epoll::Interest,
    leg::{How, LegSpec, Role},
    life::talk::Talk,
    out::Out,
    sender::Sender,
};

impl Plane {
    pub(super) fn set_up(&mut self, spec: LegSpec) {
        let (session, role) = (spec.session, spec.role);
        if let Err(e) = self.try_set_up(spec) {
            self.tell(Event::Down(session, role, e.to_string()));
        }
    }

    fn try_set_up(&mut self, spec: LegSpec) -> io::Result<()> {
        match spec.how {
            How::Active { to, bind } => {
                let tcp = match bind {
                    true => connecting(to)?,
                    false => connected(to)?,
                };
                let mut who = self.who(&spec)?;
                let mut out = Out::default();
                if bind {
                    spec.bind_request(out.tail());
                } else {
                    match &mut who {
                        Who::Sender(_, s) => s.bind(),
                        Who::Device(_, _, d) => d.bind(),
                        Who::Unclaimed(_) => {}
                    }
                }
                let id = self.open(tcp, who, out)?;
                self.enter(id);
                self.flush(id);
                if !bind {
                    self.tell(Event::Up(spec.session));
                }
                Ok(())
            }
            How::Passive => {
                let early = self.conns.iter().position(|c| match c {
                    Some(Conn {
                        who: Who::Unclaimed(said),
                        ..
                    }) => to_path(said).is_some_and(|p| p == spec.own_path.as_bytes()),
                    _ => false,
                });
                self.awaited.insert(spec.own_path.clone(), spec);
                if let Some(id) = early {
                    self.claim(id)?;
                }
                Ok(())
            }
        }
    }

    fn who(&self, spec: &LegSpec) -> io::Result<Who> {
        let bodies = bodies(spec.session, spec.user, self.settings.body_bytes)?;
        Ok(match spec.role {
            Role::Sender => Who::Sender(spec.session, Box::new(self.sender(spec, bodies)?)),
            Role::Device(device) => Who::Device(
                spec.session,
                device,
                Box::new(Device::new(spec, BodyReader::new(&bodies))),
            ),
        })
    }

    fn sender(&self, spec: &LegSpec, bodies: Bodies) -> io::Result<Sender> {
        let Settings {
            run,
            chunking,
            body_bytes,
            ..
        } = self.settings;
        let sender = Sender::new(spec, bodies, run);
        Ok(match chunking {
            Some(chunking) => {
                let bodies = super::bodies(spec.session, spec.user, body_bytes)?;
                sender.cut(Chunker::new(chunking, spec, bodies, run))
            }
            None => sender,
        })
    }

    fn open(&mut self, tcp: TcpStream, who: Who, out: Out) -> io::Result<usize> {
        tcp.set_nodelay(true)?;
        let id = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        self.poller.add(&tcp, id as u64, Interest::READ)?;
        self.conns[id] = Some(Conn {
            tcp,
            out,
            interest: Interest::READ,
            reads: true,
            who,
        });
        Ok(id)
    }

    /// Writes a connection into its session.
    fn enter(&mut self, id: usize) {
        let Some((session, role)) = self.conns[id].as_ref().and_then(|c| c.who.leg()) else {
            return;
        };
        let at = session as usize;
        if self.sessions.len() <= at {
            self.sessions.resize(at + 1, Session::default());
        }
        if self.sessions[at].is_new() {
            self.sessions[at].talk = Talk::new(self.settings.devices);
        }
        match role {
            Role::Sender => self.sessions[at].sender = Some(id),
            Role::Device(_) => self.sessions[at].devices.push(id),
        }
    }

    pub(super) fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((tcp, _)) => {
                    tcp.set_nonblocking(true)?;
                    self.open(tcp, Who::Unclaimed(Vec::new()), Out::default())?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Gives a connection that has named its session to its leg, if that is known by now.
    pub(super) fn claim(&mut self, id: usize) -> io::Result<()> {
        let Some(Some(Conn {
            who: Who::Unclaimed(said),
            ..
        })) = self.conns.get_mut(id)
        else {
            return Ok(());
        };
        let Some(spec) = to_path(said)
            .and_then(|p| std::str::from_utf8(p).ok())
            .and_then(|p| self.awaited.remove(p))
        else {
            return Ok(());
        };
        let said = std::mem::take(said);
        let who = self.who(&spec)?;
        if let Some(conn) = &mut self.conns[id] {
            conn.who = who;
        }
        self.enter(id);
        self.receive(id, &said);
        Ok(())
    }
}

/// A connection on its way: what is written before it is there waits, and so does nobody. Who binds learns by the answer that
/// it came up, and by its end that it did not.
fn connecting(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(e) => Err(e.into()),
    }
}

/// A connection that is there.
fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&to, CONNECT)?;
    tcp.set_nonblocking(true)?;
    Ok(tcp)
}

/// To-Path of the first message, once its head is there.
fn to_path(said: &[u8]) -> Option<&[u8]> {
    match msrp::parse(said, 0) {
        Ok(Parse::Complete { head, .. }) => Some(head.to_path),
        Ok(Parse::Partial { .. }) | Err(_) => None,
    }
}
