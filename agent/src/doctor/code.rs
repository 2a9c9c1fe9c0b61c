//! Every code that a check may give, each with the one thing to do about it. Codes are stable:
//! scripts and runbooks rely on them.

use std::fmt;

use zen_proto::codes::RefusalCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $fix:expr;)*) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as people and scripts read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What a person does about it, one sentence.
            #[must_use]
            pub const fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix,)* }
            }
        }
    };
}

codes! {
    /// No control plane is named anywhere.
    AddressMissing = "ADDRESS_MISSING",
        "name the control plane with --control-plane host:port, or give its bundle";
    /// The address is not `host:port`.
    AddressInvalid = "ADDRESS_INVALID",
        "give the control plane's address as host:port";
    /// The name has no address.
    DnsFailed = "DNS_FAILED",
        "make the name resolvable from here (DNS, or an entry in /etc/hosts)";
    /// A machine is there, and nobody listens on the port.
    TcpRefused = "TCP_REFUSED",
        "start the control plane, or correct the port, or let the firewall pass it";
    /// Nothing came back.
    TcpTimeout = "TCP_TIMEOUT",
        "let outbound TCP from here to this address and port pass (firewall, NetworkPolicy)";
    /// There is no way there.
    TcpUnreachable = "TCP_UNREACHABLE",
        "give this host a route to this address";
    /// Only through the proxy, and the agent dials directly.
    ProxyRequired = "PROXY_REQUIRED",
        "set `proxy: http://host:port` in the agent's settings (Edge Lite: `zen edge run --proxy`)";
    /// There is a proxy in the environment that the agent does not use.
    ProxyIgnored = "PROXY_IGNORED",
        "nothing, if the direct way is meant; else set `proxy` in the agent's settings";
    /// The proxy does not lead to the control plane.
    ProxyFailed = "PROXY_FAILED",
        "let the proxy pass CONNECT to the control plane's address, without a password";
    /// Somebody else's certificate.
    TlsIntercepted = "TLS_INTERCEPTED",
        "exempt the control plane's address from TLS inspection; the agent trusts its own roots only";
    /// A handshake that did not come to a certificate.
    TlsFailed = "TLS_FAILED",
        "look for a proxy or load balancer that ends or forbids TLS 1.3 on this address";
    /// There is nothing to judge the certificate by.
    TlsUnverified = "TLS_UNVERIFIED",
        "give --bundle and --identity, or --state-dir of an enrolled plane, to judge by its roots";
    /// The control plane's own certificate is over.
    CertificateExpired = "CERTIFICATE_EXPIRED",
        "renew the control plane's certificate: start it anew, and look at its log";
    /// A control plane, and not the one that is trusted.
    ControlPlaneUntrusted = "CONTROL_PLANE_UNTRUSTED",
        "correct the address, or regenerate the install command if the control plane was rebuilt";
    /// The clocks are too far apart.
    ClockSkew = "CLOCK_SKEW", RefusalCode::ClockSkew.remedy();
    /// Not enrolled, and nothing to enrol with.
    BundleMissing = "BUNDLE_MISSING",
        "run the plane's install command, which brings bundle and identity";
    /// Its time is over.
    BundleExpired = "BUNDLE_EXPIRED", RefusalCode::BundleExpired.remedy();
    /// Wrong key, or damaged.
    BundleUnreadable = "BUNDLE_UNREADABLE", RefusalCode::BundleUnreadable.remedy();
    /// Of another plane than the agent is set up for.
    PlaneMismatch = "PLANE_MISMATCH", RefusalCode::PlaneMismatch.remedy();
    /// What the agent kept of its enrolment cannot be used.
    IdentityUnreadable = "IDENTITY_UNREADABLE",
        "restore the agent's state from a backup, or regenerate the install command and enrol anew";
    /// Nothing can be kept here.
    StorageUnwritable = "STORAGE_UNWRITABLE",
        "give the agent's user a state directory that it may write to, with space left";
    /// What is kept is kept slowly.
    StorageSlow = "STORAGE_SLOW",
        "put the state directory on a faster disk: no webhook is answered before its fdatasync";
    /// The API server is not reached.
    KubernetesUnreachable = "KUBERNETES_API_UNREACHABLE",
        "look at the API server, and at what stands between it and this pod";
    /// The API server does not answer as asked.
    KubernetesRefused = "KUBERNETES_API_REFUSED",
        "look at what the API server says, and at its admission webhooks";
    /// A right is missing.
    RbacDenied = "RBAC_DENIED",
        "upgrade the agent's chart, or grant these verbs to the agent's service account";
    /// Whether there are the rights cannot be asked.
    RbacUnknown = "RBAC_UNKNOWN",
        "allow the service account to create selfsubjectaccessreviews, as Kubernetes does by default";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_one_fix_and_is_documented() {
        let documented = include_str!("../../../docs/doctor.md");
        let mut seen = HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            let line = format!("| `{code}` | {} |", code.fix());
            assert!(documented.contains(&line), "docs/doctor.md lacks:\n{line}");
        }
    }
}
