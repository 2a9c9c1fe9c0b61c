//! Where a webhook may go in: every endpoint with its rules and prepared secrets. Made from a snapshot
//! and the secrets that can be read, never changed; the next one takes its place at once.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use ipnet::IpNet;
use zen_chassis::chain::Chain;
use zen_chassis::secret::SecretStore;
use zen_proto::ids::EndpointId;
use zen_proto::limits;
use zen_proto::purpose::Purpose;
use zen_proto::snapshot::v1::{self as wire, Snapshot};

use crate::counters::{Counters, EndpointCounters};
use crate::verify::{Key, Scheme, Verifier};

/// Every endpoint of this plane.
pub(crate) struct RoutingTable {
    pub(crate) revision: u64,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    missing: Vec<MissingSecret>,
}

/// One endpoint's rules.
pub(crate) struct Endpoint {
    /// Its id as written on the wire.
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    /// Deleted: answers 410.
    pub(crate) removed: bool,
    pub(crate) methods: Vec<Method>,
    /// The methods as the header `allow` lists them.
    pub(crate) allow: HeaderValue,
    /// Bytes.
    pub(crate) max_body: usize,
    pub(crate) verifier: Verifier,
    /// Some of its secrets cannot be read: what matches none of the others may match one of these.
    pub(crate) lacks_secret: bool,
    /// What of its configuration this version cannot follow; it answers 503 until that is mended.
    pub(crate) fault: Option<String>,
    allowed_sources: Vec<IpNet>,
    pub(crate) counters: Arc<EndpointCounters>,
}

/// A secret that an endpoint names and that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MissingSecret {
    pub(crate) endpoint: String,
    /// As configured: a name, never a value.
    pub(crate) reference: String,
    /// Stable code.
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl RoutingTable {
    /// The table of a snapshot. Reads secrets from the disk.
    pub(crate) fn new(snapshot: &Snapshot, secrets: &SecretStore, counters: &Counters) -> Self {
        let mut table = Self {
            revision: snapshot.revision,
            endpoints: HashMap::new(),
            missing: Vec::new(),
        };
        for entry in &snapshot.endpoints {
            match entry.id.parse::<EndpointId>() {
                Ok(id) => {
                    let endpoint =
                        Endpoint::new(entry, secrets, counters.endpoint(id), &mut table.missing);
                    table.endpoints.insert(id, Arc::new(endpoint));
                }
                Err(error) => tracing::error!(%error, "endpoint has no valid id and is left out"),
            }
        }
        table
    }

    /// The endpoint of this id, removed ones included.
    pub(crate) fn endpoint(&self, id: EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(&id)
    }

    /// The ids of all endpoints.
    pub(crate) fn ids(&self) -> HashSet<EndpointId> {
        self.endpoints.keys().copied().collect()
    }

    /// Secrets that could not be used when the table was made.
    pub(crate) fn missing(&self) -> &[MissingSecret] {
        &self.missing
    }

    /// What of the configuration cannot be followed: endpoint and why.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (&str, &str)> {
        self.endpoints
            .values()
            .filter_map(|e| Some((e.id.as_str(), e.fault.as_deref()?)))
    }
}

impl Endpoint {
    fn new(
        entry: &wire::Endpoint,
        secrets: &SecretStore,
        counters: Arc<EndpointCounters>,
        missing: &mut Vec<MissingSecret>,
    ) -> Self {
        let rules = Rules::read(entry);
        let (rules, fault) = match rules {
            Ok(rules) => (rules, None),
            Err(fault) => (Rules::default(), (!entry.removed).then_some(fault)),
        };
        let known = missing.len();
        let verification = entry.verification.clone().unwrap_or_default();
        let keys = if entry.removed {
            Vec::new()
        } else {
            read_keys(
                &entry.id,
                rules.scheme,
                &verification.secrets,
                secrets,
                missing,
            )
        };
        Self {
            id: entry.id.clone(),
            tenant_id: entry.tenant_id.clone(),
            removed: entry.removed,
            allow: rules.allow,
            methods: rules.methods,
            max_body: match usize::try_from(entry.max_body_bytes) {
                Ok(0) => limits::BODY_DEFAULT,
                Ok(bytes) => bytes.min(limits::BODY_HARD_CAP),
                Err(_) => limits::BODY_HARD_CAP,
            },
            verifier: Verifier::new(
                rules.scheme,
                keys,
                tolerance(verification.tolerance_seconds),
            ),
            lacks_secret: missing.len() > known,
            fault,
            allowed_sources: rules.allowed_sources,
            counters,
        }
    }

    /// Whether the endpoint takes webhooks from this address.
    pub(crate) fn admits(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.allowed_sources.is_empty() || self.allowed_sources.iter().any(|n| n.contains(&source))
    }
}

/// What can be wrong with an endpoint's configuration, read.
struct Rules {
    methods: Vec<Method>,
    allow: HeaderValue,
    scheme: Scheme,
    allowed_sources: Vec<IpNet>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            methods: vec![Method::POST],
            allow: HeaderValue::from_static("POST"),
            scheme: Scheme::None,
            allowed_sources: Vec::new(),
        }
    }
}

impl Rules {
    fn read(entry: &wire::Endpoint) -> Result<Self, String> {
        let verification = entry.verification.as_ref();
        let scheme = match verification.map(|v| wire::Scheme::try_from(v.scheme)) {
            Some(Ok(wire::Scheme::None)) => Scheme::None,
            Some(Ok(wire::Scheme::StandardWebhooks)) => Scheme::StandardWebhooks,
            Some(Ok(wire::Scheme::Github)) => Scheme::GitHub,
            Some(Ok(wire::Scheme::Stripe)) => Scheme::Stripe,
            // Never taken for "none": an endpoint without a scheme would be open to everybody.
            None | Some(Ok(wire::Scheme::Unspecified) | Err(_)) => {
                return Err("this version does not know its verification scheme".to_owned());
            }
        };
        let mut rules = Self {
            scheme,
            ..Self::default()
        };
        if !entry.methods.is_empty() {
            let list = entry.methods.join(", ");
            let method = |text: &String| Method::from_bytes(text.as_bytes());
            let methods: Result<_, _> = entry.methods.iter().map(method).collect();
            rules.methods = methods.map_err(|_| format!("{list} are not HTTP methods"))?;
            rules.allow = list
                .parse()
                .map_err(|_| format!("{list} cannot stand in a header"))?;
        }
        let networks = entry.allowed_sources.iter().map(|text| {
            let host = || text.parse::<IpAddr>().map(IpNet::from);
            text.parse()
                .or_else(|_| host())
                .map_err(|_| format!("{text} is no network (CIDR)"))
        });
        rules.allowed_sources = networks.collect::<Result<_, String>>()?;
        Ok(rules)
    }
}

fn tolerance(seconds: u32) -> Duration {
    match seconds {
        0 => limits::SIGNATURE_TOLERANCE,
        seconds => Duration::from_secs(seconds.into()),
    }
}

fn read_keys(
    endpoint: &str,
    scheme: Scheme,
    references: &[String],
    secrets: &SecretStore,
    missing: &mut Vec<MissingSecret>,
) -> Vec<Key> {
    let mut keys = Vec::new();
    if scheme == Scheme::None {
        return keys;
    }
    for reference in references {
        let problem = match secrets.read(reference, Purpose::WebhookVerification) {
            Ok(secret) => match Key::new(scheme, &secret) {
                Ok(key) => {
                    keys.push(key);
                    continue;
                }
                Err(error) => ("SECRET_MALFORMED", error.to_string()),
            },
            Err(error) => (error.code(), Chain(&error).to_string()),
        };
        missing.push(MissingSecret {
            endpoint: endpoint.to_owned(),
            reference: reference.clone(),
            code: problem.0,
            detail: problem.1,
        });
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(change: impl FnOnce(&mut wire::Endpoint)) -> Endpoint {
        let verification = wire::Verification {
            scheme: wire::Scheme::None as i32,
            ..Default::default()
        };
        let mut entry = wire::Endpoint {
            verification: Some(verification),
            ..wire::Endpoint::default()
        };
        change(&mut entry);
        let secrets = SecretStore::in_folder("/nonexistent".into());
        Endpoint::new(&entry, &secrets, Arc::default(), &mut Vec::new())
    }

    #[test]
    fn an_endpoint_without_a_known_scheme_is_faulty_and_not_open() {
        assert!(endpoint(|_| {}).fault.is_none());
        assert!(endpoint(|e| e.verification = None).fault.is_some());
        assert!(
            endpoint(|e| e.verification.as_mut().unwrap().scheme = 99)
                .fault
                .is_some()
        );
    }

    #[test]
    fn sources_are_admitted_by_network() {
        let open = endpoint(|_| {});
        assert!(open.admits("192.0.2.7".parse().unwrap()));
        let closed = endpoint(|e| {
            e.allowed_sources = vec!["192.0.2.0/24".to_owned(), "2001:db8::1".to_owned()];
        });
        assert!(closed.admits("192.0.2.7".parse().unwrap()));
        assert!(closed.admits("::ffff:192.0.2.7".parse().unwrap()));
        assert!(closed.admits("2001:db8::1".parse().unwrap()));
        assert!(!closed.admits("198.51.100.1".parse().unwrap()));
        assert!(
            endpoint(|e| e.allowed_sources = vec!["any".to_owned()])
                .fault
                .is_some()
        );
    }

    #[test]
    fn a_body_is_bounded_by_default_and_by_the_hard_cap() {
        assert_eq!(endpoint(|_| {}).max_body, limits::BODY_DEFAULT);
        assert_eq!(endpoint(|e| e.max_body_bytes = 7).max_body, 7);
        assert_eq!(
            endpoint(|e| e.max_body_bytes = u64::MAX).max_body,
            limits::BODY_HARD_CAP
        );
    }

    #[test]
    fn an_unreadable_secret_is_reported_by_name() {
        let verification = wire::Verification {
            scheme: wire::Scheme::Github as i32,
            secrets: vec!["file:absent".to_owned()],
            ..Default::default()
        };
        let entry = wire::Endpoint {
            verification: Some(verification),
            ..wire::Endpoint::default()
        };
        let mut missing = Vec::new();
        let secrets = SecretStore::in_folder("/nonexistent".into());
        let made = Endpoint::new(&entry, &secrets, Arc::default(), &mut missing);
        assert!(made.lacks_secret);
        assert_eq!(missing[0].reference, "file:absent");
        assert_eq!(missing[0].code, "SECRET_UNREADABLE");
    }
}
