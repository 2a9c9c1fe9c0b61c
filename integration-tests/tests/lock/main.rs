//! zen-lock as a process of its own, between real components: who has what, who has nothing, what
//! its absence costs, and how its keys change under load.

#[cfg(test)]
mod audit;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod denied;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod plane;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod traffic;
