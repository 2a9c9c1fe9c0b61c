//! Every way to break the rule, each refused under its own code.

use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyUsagePurpose, SanType};
use zen_proto::component::Component;
use zen_proto::ids::Id as _;
use zen_proto::limits::{LEAF_VALIDITY, PLANE_CA_VALIDITY};

use super::*;
use crate::testing::{World, YEAR, domain, start, unix};
use crate::{CLOCK_SLACK, PlaneCa, PrivateKey, RootCa};

type Chain = Vec<CertificateDer<'static>>;

fn code(chain: &Chain, usage: Usage, trust: &Trust, expect: &Expect, at: SystemTime) -> String {
    match verify(chain, usage, trust, expect, unix(at)) {
        Ok(id) => id.to_string(),
        Err(error) => error.code().to_owned(),
    }
}

fn judged(world: &World, chain: &Chain) -> String {
    code(chain, Usage::Client, &world.trust(), &anybody(), start())
}

fn anybody() -> Expect {
    Expect::when(|_id| true)
}

/// A leaf as the plane's authority could forge it.
fn forged(world: &World, change: impl FnOnce(&mut CertificateParams)) -> Chain {
    let key = world.plane_ca.key();
    forged_by(
        &world.plane_ca.chain()[0],
        key,
        world.plane_ca.chain(),
        change,
    )
}

fn forged_by(
    issuer: &CertificateDer<'_>,
    issuer_key: &PrivateKey,
    rest: &[CertificateDer<'static>],
    change: impl FnOnce(&mut CertificateParams),
) -> Chain {
    let mut params = CertificateParams::default();
    params.not_before = start().into();
    params.not_after = (start() + LEAF_VALIDITY).into();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        rcgen::ExtendedKeyUsagePurpose::ServerAuth,
    ];
    change(&mut params);
    let key = PrivateKey::generate().unwrap();
    let issuer = Issuer::from_ca_cert_der(issuer, issuer_key.pair()).unwrap();
    let leaf = params.signed_by(key.pair(), &issuer).unwrap().der().clone();
    std::iter::once(leaf).chain(rest.iter().cloned()).collect()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn id(world: &World, plane: PlaneId, component: Component) -> SpiffeId {
    SpiffeId::Component {
        trust_domain: domain(),
        tenant: world.tenant,
        plane,
        component,
    }
}

#[test]
fn an_honest_component_is_believed_in_every_usage() {
    let world = World::new();
    let (chain, _key) = world.leaf(Component::Egress);
    let expected = id(&world, world.plane, Component::Egress);
    for usage in [Usage::Client, Usage::Server, Usage::Signer] {
        let expect = world.expect(Component::Egress);
        let found = verify(&chain, usage, &world.trust(), &expect, unix(start()));
        assert_eq!(found, Ok(expected.clone()));
    }
}

#[test]
fn the_honest_control_plane_is_believed() {
    let world = World::new();
    let (chain, _key) = world.control_plane();
    let found = verify(
        &chain,
        Usage::Server,
        &world.trust(),
        &Expect::control_plane(),
        unix(start()),
    );
    assert_eq!(
        found,
        Ok(SpiffeId::ControlPlane {
            trust_domain: domain()
        })
    );
}

#[test]
fn a_leaf_outside_its_issuers_plane_is_refused() {
    let world = World::new();
    let other = PlaneId::generate(1, [9; 10]);
    let chain = forged(&world, |params| {
        params.subject_alt_names = vec![uri(&id(&world, other, Component::Agent).to_string())];
    });
    assert_eq!(judged(&world, &chain), "ID_OUTSIDE_PLANE");
    let stranger = SpiffeId::Component {
        trust_domain: domain(),
        tenant: TenantId::generate(1, [9; 10]),
        plane: world.plane,
        component: Component::Agent,
    };
    let chain = forged(&world, |params| {
        params.subject_alt_names = vec![uri(&stranger.to_string())]
    });
    assert_eq!(judged(&world, &chain), "ID_OUTSIDE_PLANE");
}

#[test]
fn a_component_issued_by_the_root_itself_is_refused() {
    let world = World::new();
    let name = id(&world, world.plane, Component::Agent).to_string();
    let chain = forged_by(world.root.cert_der(), world.root.key(), &[], |params| {
        params.subject_alt_names = vec![uri(&name)];
    });
    assert_eq!(judged(&world, &chain), "ID_OUTSIDE_PLANE");
}

#[test]
fn the_control_planes_id_from_a_planes_authority_is_refused() {
    let world = World::new();
    let chain = forged(&world, |params| {
        params.subject_alt_names = vec![uri("spiffe://zen.example/control-plane")];
    });
    assert_eq!(judged(&world, &chain), "CONTROL_PLANE_ISSUER");
}

#[test]
fn an_honest_peer_that_is_not_the_expected_one_is_refused() {
    let world = World::new();
    let (agent, _key) = world.leaf(Component::Agent);
    let (control, _key) = world.control_plane();
    let other_plane = PlaneId::generate(1, [9; 10]);
    for (chain, expect) in [
        (&agent, world.expect(Component::Egress)),
        (
            &agent,
            Expect::component(world.tenant, other_plane, Component::Agent),
        ),
        (&agent, Expect::any_of_plane(world.tenant, other_plane)),
        (
            &agent,
            Expect::any_component(&[Component::Egress, Component::Ingester]),
        ),
        (&agent, Expect::control_plane()),
        (
            &agent,
            Expect::exactly(id(&world, world.plane, Component::Lock)),
        ),
        (&agent, Expect::when(|_id| false)),
        (&control, Expect::any_of_plane(world.tenant, world.plane)),
        (&control, Expect::any_component(&[Component::Agent])),
    ] {
        let found = code(chain, Usage::Client, &world.trust(), &expect, start());
        assert_eq!(found, "UNEXPECTED_PEER", "{expect:?}");
    }
    for expect in [
        world.expect(Component::Agent),
        Expect::any_of_plane(world.tenant, world.plane),
        Expect::any_component(&[Component::Agent]),
        Expect::exactly(id(&world, world.plane, Component::Agent)),
    ] {
        assert!(
            verify(
                &agent,
                Usage::Client,
                &world.trust(),
                &expect,
                unix(start())
            )
            .is_ok()
        );
    }
}

#[test]
fn time_is_kept_on_both_ends_and_the_date_is_told() {
    let world = World::new();
    let (chain, _key) = world.leaf(Component::Agent);
    let at = |time| {
        verify(
            &chain,
            Usage::Client,
            &world.trust(),
            &anybody(),
            unix(time),
        )
    };
    let end = start() + LEAF_VALIDITY;
    assert!(at(end).is_ok());
    let late = at(end + Duration::from_secs(1)).unwrap_err();
    assert_eq!(late, VerifyError::Expired { not_after: end });
    assert!(late.to_string().contains("2026-09-22T"), "{late}");
    let begin = start() - CLOCK_SLACK;
    assert!(at(begin).is_ok());
    let early = at(begin - Duration::from_secs(1)).unwrap_err();
    assert_eq!(early, VerifyError::NotYetValid { not_before: begin });
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let world = World::new();
    let key = PrivateKey::generate().unwrap();
    let csr = key.csr("x").unwrap();
    let late = world.plane_ca.not_after() - Duration::from_secs(60);
    let chain = world
        .plane_ca
        .sign_leaf(&csr, Component::Agent, late, LEAF_VALIDITY)
        .unwrap();
    assert_eq!(crate::not_after(&chain[0]), Ok(world.plane_ca.not_after()));
    let over = world.plane_ca.not_after();
    let refused = world
        .plane_ca
        .sign_leaf(&csr, Component::Agent, over, LEAF_VALIDITY);
    assert!(matches!(refused, Err(crate::IssueError::Expired)));
}

#[test]
fn an_expired_authority_takes_its_leaves_along() {
    let world = World::new();
    let name = id(&world, world.plane, Component::Agent).to_string();
    let chain = forged(&world, |params| {
        params.subject_alt_names = vec![uri(&name)];
        params.not_after = (start() + YEAR).into();
    });
    let at = start() + PLANE_CA_VALIDITY + Duration::from_secs(1);
    let found = code(&chain, Usage::Client, &world.trust(), &anybody(), at);
    assert_eq!(found, "CERTIFICATE_EXPIRED");
}

#[test]
fn a_planes_authority_cannot_make_another_authority() {
    let world = World::new();
    let other = PlaneId::generate(1, [9; 10]);
    let sub_key = PrivateKey::generate().unwrap();
    let mut params = CertificateParams::default();
    params.not_before = start().into();
    params.not_after = (start() + LEAF_VALIDITY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, world.tenant.to_string());
    params
        .distinguished_name
        .push(DnType::CommonName, other.to_string());
    let own = &world.plane_ca.chain()[0];
    let issuer = Issuer::from_ca_cert_der(own, world.plane_ca.key().pair()).unwrap();
    let sub_ca = params
        .signed_by(sub_key.pair(), &issuer)
        .unwrap()
        .der()
        .clone();
    let name = id(&world, other, Component::Agent).to_string();
    let chain = forged_by(
        &sub_ca,
        &sub_key,
        &[sub_ca.clone(), own.clone()],
        |params| {
            params.subject_alt_names = vec![uri(&name)];
        },
    );
    assert_eq!(judged(&world, &chain), "PATH_LENGTH");
}

#[test]
fn a_leaf_cannot_issue_another_leaf() {
    let world = World::new();
    let (chain, key) = world.leaf(Component::Agent);
    let name = id(&world, world.plane, Component::Lock).to_string();
    let chain = forged_by(&chain[0], &key, &chain, |params| {
        params.subject_alt_names = vec![uri(&name)];
    });
    assert_eq!(judged(&world, &chain), "ISSUER_NOT_CA");
}

#[test]
fn a_chain_of_another_root_is_refused_even_if_all_names_agree() {
    let (world, other) = (World::new(), World::new());
    let (chain, _key) = other.leaf(Component::Agent);
    assert_eq!(judged(&world, &chain), "UNKNOWN_ISSUER");
    // With the true authority put beside the false leaf, the signature gives it away.
    let mixed = vec![chain[0].clone(), world.plane_ca.chain()[0].clone()];
    assert_eq!(judged(&world, &mixed), "BAD_SIGNATURE");
    let (control, _key) = other.control_plane();
    assert_eq!(judged(&world, &control), "UNKNOWN_ISSUER");
}

#[test]
fn a_leaf_without_its_authority_is_refused() {
    let world = World::new();
    let (mut chain, _key) = world.leaf(Component::Agent);
    chain.truncate(1);
    assert_eq!(judged(&world, &chain), "UNKNOWN_ISSUER");
}

#[test]
fn a_revoked_plane_is_refused_and_only_that() {
    let world = World::new();
    let (chain, _key) = world.leaf(Component::Agent);
    let other = PlaneId::generate(1, [9; 10]);
    let without = |plane| Trust::new(domain(), &world.root.cert_pem(), [plane]).unwrap();
    let found = |trust| code(&chain, Usage::Client, &trust, &anybody(), start());
    assert_eq!(found(without(world.plane)), "PLANE_REVOKED");
    assert!(found(without(other)).starts_with("spiffe://"));
}

#[test]
fn exactly_one_uri_is_wanted() {
    let world = World::new();
    let name = id(&world, world.plane, Component::Agent).to_string();
    let with = |names: Vec<SanType>| forged(&world, |params| params.subject_alt_names = names);
    assert_eq!(judged(&world, &with(vec![])), "ID_MISSING");
    let dns_only = with(vec![SanType::DnsName("agent".try_into().unwrap())]);
    assert_eq!(judged(&world, &dns_only), "ID_MISSING");
    assert_eq!(
        judged(&world, &with(vec![uri(&name), uri(&name)])),
        "ID_AMBIGUOUS"
    );
    let two = with(vec![uri(&name), uri("https://zen.example")]);
    assert_eq!(judged(&world, &two), "ID_AMBIGUOUS");
    assert_eq!(
        judged(&world, &with(vec![uri("https://zen.example")])),
        "ID_UNKNOWN"
    );
    assert_eq!(judged(&world, &with(vec![uri(&name)])), name);
}

#[test]
fn another_trust_domain_is_refused() {
    let world = World::new();
    let name = id(&world, world.plane, Component::Agent).to_string();
    let elsewhere = name.replace("zen.example", "zen.elsewhere");
    let chain = forged(&world, |params| {
        params.subject_alt_names = vec![uri(&elsewhere)]
    });
    assert_eq!(judged(&world, &chain), "TRUST_DOMAIN_MISMATCH");
}

#[test]
fn an_authority_is_no_leaf() {
    let world = World::new();
    assert_eq!(
        judged(&world, &world.plane_ca.chain().to_vec()),
        "LEAF_IS_CA"
    );
    assert_eq!(
        judged(&world, &vec![world.root.cert_der().clone()]),
        "LEAF_IS_CA"
    );
}

#[test]
fn a_leaf_serves_only_for_what_it_says() {
    let world = World::new();
    let name = id(&world, world.plane, Component::Agent).to_string();
    let with = |usages: &[KeyUsagePurpose], extended: &[rcgen::ExtendedKeyUsagePurpose]| {
        forged(&world, |params| {
            params.subject_alt_names = vec![uri(&name)];
            params.key_usages = usages.to_vec();
            params.extended_key_usages = extended.to_vec();
        })
    };
    let client = [rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let signing = [KeyUsagePurpose::DigitalSignature];
    let only_client = with(&signing, &client);
    let as_server = code(
        &only_client,
        Usage::Server,
        &world.trust(),
        &anybody(),
        start(),
    );
    assert_eq!(as_server, "WRONG_PURPOSE");
    assert_eq!(judged(&world, &only_client), name);
    assert_eq!(judged(&world, &with(&signing, &[])), "WRONG_PURPOSE");
    assert_eq!(judged(&world, &with(&[], &client)), "WRONG_PURPOSE");
    let issuing = [
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
    ];
    assert_eq!(judged(&world, &with(&issuing, &client)), "WRONG_PURPOSE");
}

#[test]
fn what_is_no_chain_is_malformed() {
    let world = World::new();
    let (chain, _key) = world.leaf(Component::Agent);
    assert_eq!(judged(&world, &vec![]), "MALFORMED");
    assert_eq!(
        judged(&world, &vec![CertificateDer::from(b"hello".to_vec())]),
        "MALFORMED"
    );
    assert_eq!(
        judged(
            &world,
            &[chain.clone(), chain.clone(), chain.clone(), chain].concat()
        ),
        "MALFORMED"
    );
}

#[test]
fn no_flipped_bit_of_a_leaf_goes_unnoticed() {
    let world = World::new();
    let (chain, _key) = world.leaf(Component::Agent);
    for place in (0..chain[0].len()).step_by(3) {
        let mut leaf = chain[0].to_vec();
        leaf[place] ^= 1 << (place % 8);
        let changed = vec![leaf.into(), chain[1].clone()];
        let found = verify(
            &changed,
            Usage::Client,
            &world.trust(),
            &anybody(),
            unix(start()),
        );
        assert!(found.is_err(), "byte {place}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_rule_panic(leaf: Vec<u8>, place in 0_usize..400, byte: u8) {
        let world = World::new();
        let mut near = world.plane_ca.chain()[0].to_vec();
        near[place] = byte;
        for chain in [vec![leaf.clone().into()], vec![near.into(), leaf.into()]] {
            let found = verify(&chain, Usage::Server, &world.trust(), &anybody(), unix(start()));
            prop_assert!(found.is_err());
        }
    }
}

#[test]
fn a_successor_root_is_trusted_beside_the_old_one_and_alone() {
    let world = World::new();
    let next = RootCa::generate(domain(), start(), YEAR).unwrap();
    let renewed = World::authority(&next, world.tenant, world.plane);
    let key = PrivateKey::generate().unwrap();
    let csr = key.csr("x").unwrap();
    let new = renewed
        .sign_leaf(&csr, Component::Agent, start(), LEAF_VALIDITY)
        .unwrap();
    let (old, _key) = world.leaf(Component::Agent);
    let both = world.root.cert_pem() + &next.cert_pem();
    let overlap = Trust::new(domain(), &both, []).unwrap();
    let after = Trust::new(domain(), &next.cert_pem(), []).unwrap();
    let at = |chain: &Chain, trust| code(chain, Usage::Client, trust, &anybody(), start());
    assert!(at(&old, &overlap).starts_with("spiffe"));
    assert!(at(&new, &overlap).starts_with("spiffe"));
    assert!(at(&new, &after).starts_with("spiffe"));
    assert_eq!(at(&old, &after), "UNKNOWN_ISSUER");
}

#[test]
fn authorities_read_back_from_what_was_stored() {
    let world = World::new();
    let key = PrivateKey::from_pkcs8_pem(&world.root.key().to_pkcs8_pem()).unwrap();
    let root = RootCa::from_pem(&world.root.cert_pem(), key, domain()).unwrap();
    let again = World::authority(&root, world.tenant, world.plane);
    assert_eq!((again.tenant(), again.plane()), (world.tenant, world.plane));
    let other = PrivateKey::generate().unwrap();
    let refused = PlaneCa::new(other.clone(), again.chain().to_vec(), domain());
    assert!(matches!(refused, Err(crate::IssueError::KeyMismatch)));
    let refused = RootCa::from_pem(&world.root.cert_pem(), other, domain());
    assert!(matches!(refused, Err(crate::IssueError::KeyMismatch)));
    let (leaf, key) = world.leaf(Component::Agent);
    let refused = PlaneCa::new(key, leaf, domain());
    assert!(matches!(refused, Err(crate::IssueError::NotCa)));
}

#[test]
fn a_bad_signing_request_gets_nothing() {
    let world = World::new();
    let mut csr = PrivateKey::generate().unwrap().csr("x").unwrap();
    let last = csr.len() - 1;
    csr[last] ^= 1;
    let leaf = world
        .plane_ca
        .sign_leaf(&csr, Component::Agent, start(), LEAF_VALIDITY);
    assert!(matches!(leaf, Err(crate::IssueError::Csr(_))));
    let ca = world
        .root
        .sign_plane_ca(&csr, world.tenant, world.plane, start(), PLANE_CA_VALIDITY);
    assert!(matches!(ca, Err(crate::IssueError::Csr(_))));
}
