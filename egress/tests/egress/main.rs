//! The egress over real sockets and files: an ingester, an agent, a bridge and targets around it
//! are small servers with behaviour.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod bridge;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod policy;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod target;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod trials;
#[cfg(test)]
mod world;
