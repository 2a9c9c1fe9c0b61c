//! What each finding means: a row with its code. Nothing is looked at here, and nothing is asked
//! of a clock: the same finding always gives the same row.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use zen_identity::{Expect, SpiffeId, Trust, Usage, VerifyError, claimed_id, issuer, verify};
use zen_proto::ids::PlaneId;
use zen_proto::limits;

use super::code::Code;
use super::look::cluster::Rights;
use super::look::enrolment::{Held, Kept, Sealed};
use super::look::network::{Looked, ProxyFound, TcpFailure, Way};
use super::look::storage::Disk;
use super::look::tls::Tls;
use super::report::Row;
use crate::identity::unix_time;
use crate::kubernetes::fault::{self, Kind};

const DNS: &str = "dns";
const TCP: &str = "tcp";
const PROXY: &str = "proxy";
const TLS: &str = "tls";
const CLOCK: &str = "clock";
const BUNDLE: &str = "bundle";
const STORAGE: &str = "storage";
const RBAC: &str = "rbac";

/// A disk that syncs slower than this is told.
const SLOW: Duration = Duration::from_millis(50);
/// An HTTP date is of whole seconds, and the answer was on its way.
const SAME_TIME: Duration = Duration::from_secs(2);
/// Missing rights that are spelled out.
const SPELLED_OUT: usize = 5;

/// The rows of one way to the control plane.
pub(crate) struct Judged {
    pub(crate) rows: Vec<Row>,
    /// The control plane's time, if it is to be believed.
    pub(crate) server_time: Option<SystemTime>,
}

/// No address is known: nothing on the way can be looked at.
pub(crate) fn no_address() -> Vec<Row> {
    let why = "neither a bundle nor an identity says where the control plane is";
    let mut rows = vec![Row::warn(DNS, Code::AddressMissing, why)];
    let rest = [TCP, PROXY, TLS, CLOCK];
    rows.extend(rest.map(|check| Row::skipped(check, "no address of a control plane is known")));
    rows
}

/// The way to one address.
pub(crate) fn way(way: &Way, trust: Option<&Trust>, now: SystemTime) -> Judged {
    let looked = match way {
        Way::Looked(looked) => looked,
        Way::Invalid(address) => {
            let what = format!("{address:?} is not host:port");
            let mut rows = vec![Row::fail(DNS, Code::AddressInvalid, &what)];
            let rest = [TCP, PROXY, TLS, CLOCK];
            rows.extend(rest.map(|check| Row::skipped(check, "there is no address")));
            return Judged {
                rows,
                server_time: None,
            };
        }
    };
    let tls = tls(looked, trust, now);
    let mut rows = vec![dns(looked), tcp(looked), proxy(looked)];
    if rows.iter().any(|row| row.code == Some(Code::ProxyRequired)) {
        // There is a way, and it is another: that is the one to mend.
        for row in rows.iter_mut().filter(|row| row.check != PROXY) {
            row.soften();
        }
    }
    rows.extend([tls.row, clock(&tls.date, now)]);
    Judged {
        rows,
        server_time: tls.date.ok(),
    }
}

fn dns(looked: &Looked) -> Row {
    let first = &looked.first;
    match &looked.dns {
        Ok(found) => {
            let all: Vec<_> = found.iter().map(|at| at.ip().to_string()).collect();
            Row::ok(DNS, &format!("{first} is at {}", all.join(", ")))
        }
        Err(error) => Row::fail(DNS, Code::DnsFailed, &format!("{first}: {error}")),
    }
}

fn tcp(looked: &Looked) -> Row {
    let first = &looked.first;
    let failed = |code, what: &str| Row::fail(TCP, code, &format!("{first}: {what}"));
    match &looked.tcp {
        None => Row::skipped(TCP, "the name has no address"),
        Some(Ok(peer)) => Row::ok(TCP, &format!("connected to {peer}")),
        Some(Err(TcpFailure::Refused)) => failed(Code::TcpRefused, "the connection was refused"),
        Some(Err(TcpFailure::TimedOut(limit))) => {
            failed(Code::TcpTimeout, &format!("no answer within {limit:?}"))
        }
        Some(Err(TcpFailure::Other(error))) => failed(Code::TcpUnreachable, error),
    }
}

fn proxy(looked: &Looked) -> Row {
    let direct = matches!(looked.tcp, Some(Ok(_)));
    let address = &looked.address;
    match &looked.proxy {
        ProxyFound::None if direct => Row::ok(PROXY, "none is set, and none is needed"),
        ProxyFound::None => Row::skipped(PROXY, "none is set, here or in the environment"),
        ProxyFound::Set(_, None) => Row::skipped(PROXY, "the proxy is not reached"),
        ProxyFound::Set(proxy, Some(Ok(()))) => {
            Row::ok(PROXY, &format!("{proxy} leads to {address}"))
        }
        ProxyFound::Set(proxy, Some(Err(error))) => {
            let what = format!("{proxy} does not lead to {address}: {error}");
            Row::fail(PROXY, Code::ProxyFailed, &what)
        }
        ProxyFound::Named {
            variable,
            proxy,
            tried,
        } => {
            let named = format!("{variable} names {proxy}");
            match tried {
                None => {
                    let what = format!("{named}; the agent does not read it and dials directly");
                    Row::warn(PROXY, Code::ProxyIgnored, &what)
                }
                Some(Ok(())) => {
                    let what = format!("{named}, which leads to {address}; there is no other way");
                    Row::fail(PROXY, Code::ProxyRequired, &what)
                }
                Some(Err(error)) => {
                    let what = format!("{named}, which does not lead to {address}: {error}");
                    Row::fail(PROXY, Code::ProxyFailed, &what)
                }
            }
        }
    }
}

/// The row, and the server's time or why it says nothing.
struct JudgedTls {
    row: Row,
    date: Result<SystemTime, &'static str>,
}

fn tls(looked: &Looked, trust: Option<&Trust>, now: SystemTime) -> JudgedTls {
    let address = &looked.address;
    let without_time = |row| JudgedTls {
        row,
        date: Err("there is no trusted TLS to ask over"),
    };
    let failed = |what: &str| {
        without_time(Row::fail(
            TLS,
            Code::TlsFailed,
            &format!("{address}: {what}"),
        ))
    };
    match &looked.tls {
        None => without_time(Row::skipped(TLS, "there is no connection")),
        Some(Tls::Plain) => failed("what answers does not speak TLS"),
        Some(Tls::Failed(error)) => failed(error),
        Some(Tls::TimedOut(limit)) => failed(&format!("no handshake within {limit:?}")),
        Some(Tls::Shown { chain, date }) => {
            let row = chain_row(chain, trust, now, *date);
            let believed = match row.code {
                None | Some(Code::TlsUnverified | Code::ClockSkew) => true,
                Some(_) => false,
            };
            if believed {
                let date = date.ok_or("the server did not tell its time");
                JudgedTls { row, date }
            } else {
                without_time(row)
            }
        }
    }
}

fn chain_row(
    chain: &[CertificateDer<'_>],
    trust: Option<&Trust>,
    now: SystemTime,
    date: Option<SystemTime>,
) -> Row {
    let by = last_issuer(chain);
    let claimed = claimed_id(chain);
    if !matches!(claimed, Ok(SpiffeId::ControlPlane { .. })) {
        let who = match claimed {
            Ok(id) => return untrusted(&format!("who answers is {id}")),
            Err(_) => format!("the certificate was issued by {by}, which is no root of the bundle"),
        };
        return Row::fail(TLS, Code::TlsIntercepted, &who);
    }
    let Some(trust) = trust else {
        let what = format!("a control plane answers, its certificate issued by {by}");
        return Row::warn(TLS, Code::TlsUnverified, &what);
    };
    let judge = |at| {
        let expect = Expect::control_plane();
        verify(chain, Usage::Server, trust, &expect, unix_time(at))
    };
    match judge(now) {
        Ok(id) => Row::ok(TLS, &format!("{id}, as expected")),
        Err(VerifyError::Expired { .. } | VerifyError::NotYetValid { .. })
            if date.is_some_and(|date| judge(date).is_ok()) =>
        {
            let what = "the certificate holds by the server's clock, and not by this host's";
            Row::fail(TLS, Code::ClockSkew, what)
        }
        Err(error @ (VerifyError::Expired { .. } | VerifyError::NotYetValid { .. })) => {
            Row::fail(TLS, Code::CertificateExpired, &error.to_string())
        }
        Err(error) => untrusted(&format!("{error} (issued by {by})")),
    }
}

fn untrusted(what: &str) -> Row {
    Row::fail(TLS, Code::ControlPlaneUntrusted, what)
}

/// Who issued the last certificate that was shown: the root, or what hangs below it.
fn last_issuer(chain: &[CertificateDer<'_>]) -> String {
    let named = chain.last().and_then(|last| issuer(last).ok());
    named.map_or_else(|| "nobody".to_owned(), |name| format!("{name:?}"))
}

fn clock(date: &Result<SystemTime, &'static str>, now: SystemTime) -> Row {
    let server = match date {
        Ok(server) => *server,
        Err(why) => return Row::skipped(CLOCK, why),
    };
    let (apart, word) = match now.duration_since(server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= SAME_TIME {
        return Row::ok(CLOCK, "this host and the control plane agree");
    }
    let what = format!(
        "this host is {} s {word} the control plane",
        apart.as_secs()
    );
    if apart > limits::CLOCK_SKEW {
        Row::fail(CLOCK, Code::ClockSkew, &what)
    } else {
        Row::ok(CLOCK, &what)
    }
}

/// Identity and bundle; `time` is the control plane's, where it is known.
pub(crate) fn bundle(kept: &Kept, expected: Option<PlaneId>, time: SystemTime) -> Row {
    let unknown = |why: &str| Row::skipped(BUNDLE, &format!("cannot be looked at: {why}"));
    let mismatch = |what: &str, plane: &PlaneId| {
        let wanted = expected.filter(|wanted| wanted != plane)?;
        let what = format!("{what} is of {plane}, this agent is set up for {wanted}");
        Some(Row::fail(BUNDLE, Code::PlaneMismatch, &what))
    };
    match &kept.held {
        Held::Unknown(error) => return unknown(error),
        Held::Unreadable(error) => return Row::fail(BUNDLE, Code::IdentityUnreadable, error),
        Held::Plane(plane) => {
            let enrolled = || Row::ok(BUNDLE, &format!("{plane} is enrolled, none is needed"));
            return mismatch("the identity", plane).unwrap_or_else(enrolled);
        }
        Held::None => {}
    }
    match &kept.bundle {
        Sealed::Missing(place) => {
            let what = format!("no plane is enrolled, and there is no bundle ({place})");
            Row::warn(BUNDLE, Code::BundleMissing, &what)
        }
        Sealed::ForLock => Row::ok(BUNDLE, "sealed for zen-lock, which the agent has open it"),
        Sealed::Half(place) | Sealed::Keyless(place) => {
            let what = format!("half of it is missing ({place})");
            Row::fail(BUNDLE, Code::BundleMissing, &what)
        }
        Sealed::Unknown(error) => unknown(error),
        Sealed::Unreadable(error) => Row::fail(BUNDLE, Code::BundleUnreadable, error),
        Sealed::Open { plane, expires } => {
            mismatch("the bundle", plane).unwrap_or_else(|| match expires.duration_since(time) {
                Ok(left) => {
                    let left = left.as_secs() / 60;
                    Row::ok(BUNDLE, &format!("for {plane}, good for {left} min"))
                }
                Err(over) => {
                    let over = over.duration().as_secs() / 60;
                    let what = format!("for {plane}, expired {over} min ago");
                    Row::fail(BUNDLE, Code::BundleExpired, &what)
                }
            })
        }
    }
}

/// The disk.
pub(crate) fn storage(disk: &Disk) -> Row {
    match disk {
        Disk::None => Row::skipped(STORAGE, "nothing is kept in a folder"),
        Disk::Unwritable { folder, error } => {
            let what = format!("{}: {error}", folder.display());
            Row::fail(STORAGE, Code::StorageUnwritable, &what)
        }
        Disk::NoEnd { folder, limit } => {
            let what = format!("{}: no end within {limit:?}", folder.display());
            Row::warn(STORAGE, Code::StorageSlow, &what)
        }
        Disk::Measured {
            folder,
            p99,
            writes,
        } => {
            let what = format!(
                "{}: fdatasync p99 {:.1} ms of {writes}",
                folder.display(),
                p99.as_secs_f64() * 1000.0
            );
            if *p99 > SLOW {
                Row::warn(STORAGE, Code::StorageSlow, &what)
            } else {
                Row::ok(STORAGE, &what)
            }
        }
    }
}

/// The service account's rights.
pub(crate) fn rights(rights: &Rights) -> Row {
    match rights {
        Rights::NotHere => Row::skipped(RBAC, "the agent's state is not in a cluster"),
        Rights::NoServer(error) => Row::fail(RBAC, Code::KubernetesUnreachable, error),
        Rights::Fault(fault) if fault.kind == Kind::Status(403) => {
            Row::warn(RBAC, Code::RbacUnknown, &fault.detail)
        }
        Rights::Fault(fault) => {
            let code = match fault.code() {
                fault::Code::Unreachable => Code::KubernetesUnreachable,
                fault::Code::Forbidden | fault::Code::Refused => Code::KubernetesRefused,
            };
            Row::fail(RBAC, code, &fault.detail)
        }
        Rights::Answered { asked, denied } if denied.is_empty() => {
            Row::ok(RBAC, &format!("all {asked} rights are granted"))
        }
        Rights::Answered { denied, .. } => {
            let mut what = denied[..denied.len().min(SPELLED_OUT)].join(", ");
            let more = denied.len().saturating_sub(SPELLED_OUT);
            if more > 0 {
                what.push_str(&format!(", and {more} more"));
            }
            Row::fail(RBAC, Code::RbacDenied, &what)
        }
    }
}
