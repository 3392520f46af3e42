//! The sockets of one side: of all callers, or of all devices.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    rc::Rc,
};

use super::{Side, World};
use crate::{
    sip_net::{Handler, Listener, Reply, Tcp, Udp},
    sip_text::{Here, Transport},
    trouble::Trouble,
};

/// Sockets of one side, and the way to the server.
pub(super) struct Place {
    pub(super) here: Here,
    pub(super) to_server: Reply,
    udp: Option<Udp>,
    tcp: Option<(Listener, Tcp)>,
}

impl Place {
    pub(super) fn open(world: &Rc<World>, side: Side) -> Result<Self, Trouble> {
        let server = world.options.server;
        let any_port = SocketAddr::new(local_ip_towards(server)?, 0);
        let w = Rc::clone(world);
        let handler: Handler = Rc::new(move |bytes, at, reply| w.take(side, bytes, at, reply));
        let (clock, arrivals) = (world.clock, world.options.arrivals);
        let transport = world.options.style.transport;
        Ok(match transport {
            Transport::Udp => {
                let udp = Udp::bind(any_port, clock, arrivals, handler)?;
                Self {
                    here: Here {
                        transport,
                        at: udp.local(),
                    },
                    to_server: udp.towards(server),
                    udp: Some(udp),
                    tcp: None,
                }
            }
            Transport::Tcp => {
                let listener = Listener::bind(any_port, clock, Rc::clone(&handler))?;
                let tcp = Tcp::connect(server, clock, handler)?;
                Self {
                    here: Here {
                        transport,
                        at: listener.local(),
                    },
                    to_server: tcp.reply.clone(),
                    udp: None,
                    tcp: Some((listener, tcp)),
                }
            }
        })
    }

    pub(super) async fn stop(&self) {
        if let Some(udp) = &self.udp {
            udp.stop();
        }
        if let Some((listener, tcp)) = &self.tcp {
            listener.stop();
            tcp.stop();
        }
    }
}

/// Where to listen for a server's connections: everywhere on loopback, so that each leg can have an address of its own.
pub(crate) fn listen_for(server: SocketAddr) -> Result<SocketAddr, Trouble> {
    let ip = local_ip_towards(server)?;
    let any = IpAddr::from([0, 0, 0, 0]);
    Ok(SocketAddr::new(
        if ip.is_loopback() && ip.is_ipv4() {
            any
        } else {
            ip
        },
        0,
    ))
}

/// Our address as the server sees it.
fn local_ip_towards(server: SocketAddr) -> Result<IpAddr, Trouble> {
    let any: SocketAddr = if server.is_ipv4() {
        SocketAddr::from(([0, 0, 0, 0], 0))
    } else {
        SocketAddr::from(([0_u16; 8], 0))
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}
