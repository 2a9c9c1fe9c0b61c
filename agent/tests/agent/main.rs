//! The agent against a control plane over real sockets and its own directory.

#[cfg(test)]
mod control_plane;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod session;
#[cfg(test)]
mod tcp;
