//! Edge Lite as it is installed: what `zen edge install` writes, judged by systemd and compose, and
//! run with exactly the flags that stand in it.

#[cfg(test)]
mod installed;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod syscalls;
#[cfg(test)]
mod unit_file;
