//! How a device registers, at first and in the middle of whatever it does.

use super::{Device, State};
use crate::{
    net::Net,
    peer::{Again, Todo},
};

impl Device {
    /// Registers in the middle of whatever it does.
    pub(super) fn again(&mut self, net: &mut Net, how: Again) {
        match self.state {
            State::Ringing => net.saw("device registers again while it rings"),
            State::Answered => net.saw("device registers again in a session"),
            State::Idle | State::Refused | State::Ended => {}
        }
        let stands = self.state == State::Answered;
        match how {
            Again::Refresh => {}
            Again::Elsewhere => {
                if stands {
                    net.saw("device changes its contact in a session");
                }
                self.moved += 1;
            }
            Again::Gone(back) => {
                if stands {
                    net.saw("device unregisters in a session");
                }
                self.expires = 0;
                self.c.later(net, back, Todo::Register);
            }
        }
        self.register(net);
    }

    pub(super) fn contact(&self) -> String {
        let moved = (0..self.moved).map(|_| '-').collect::<String>();
        format!(
            "<sip:user{}{moved}@{};transport={}>",
            self.user,
            self.c.addr,
            self.c.transport().to_lowercase()
        )
    }

    pub(super) fn register(&mut self, net: &mut Net) {
        let (user, me, expires) = (self.user, self.c.me, self.expires);
        let branch = self.c.id("z9hG4bKreg");
        self.cseq += 1;
        let message = format!(
            "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/{} {};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:user{user}@example.com>;tag=r{me}\r\nTo: <sip:user{user}@example.com>\r\nCall-ID: reg{me}\r\n\
             CSeq: {} REGISTER\r\nContact: {};+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-{me:012}>\"\
             ;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session\"\r\nExpires: {expires}\r\n\
             Content-Length: 0\r\n\r\n",
            self.c.transport(),
            self.c.addr,
            self.cseq,
            self.contact(),
        );
        self.c.send_until(net, branch, message.into_bytes(), false);
    }
}
