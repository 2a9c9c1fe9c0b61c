//! The way from a component to another of the same plane: a Unix socket, or TCP in mutual TLS.

use tonic::transport::Channel;
use zen_identity::{DialOptions, LiveIdentity, channel};
use zen_proto::component::Component;

use crate::net::{Address, local_channel};

/// A way to a component next door. Clones are the same way.
#[derive(Clone)]
pub struct Way {
    address: Address,
    component: Component,
    identity: LiveIdentity,
    /// The channel of a socket; over TCP each has its own connection.
    socket: Option<Channel>,
}

impl Way {
    pub(super) fn new(
        component: Component,
        address: &Address,
        identity: &LiveIdentity,
    ) -> Result<Self, tonic::transport::Error> {
        let socket = match address {
            Address::Unix(path) => Some(local_channel(path)?),
            Address::Tcp(_) => None,
        };
        Ok(Self {
            address: address.clone(),
            component,
            identity: identity.clone(),
            socket,
        })
    }

    /// Where it leads.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Whether it can be gone: over TCP that takes a certificate.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.socket.is_some() || self.identity.has_leaf()
    }

    /// A channel, connected when it is first used. Over TCP a new connection at each call, shown
    /// the certificate in use then: one that was opened with an older certificate is refused once
    /// that has ended. Whoever answers must be the expected component of this plane.
    #[must_use]
    pub fn channel(&self) -> Channel {
        match (&self.socket, &self.address) {
            (Some(socket), _) => socket.clone(),
            (None, address) => {
                let expect = self.identity.neighbour(self.component);
                let config = self.identity.client_config(expect);
                channel(&address.to_string(), config, DialOptions::default())
            }
        }
    }
}
