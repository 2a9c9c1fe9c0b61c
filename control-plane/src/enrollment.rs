//! Enrolment: a bundle is redeemed once, a plane whose identity expired recovers. Each call is one
//! transaction: the case is opened, judged by [`judge`], and closed with what came of it.

mod judge;

use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tonic::{Request, Response, Status};
use zen_chassis::chain::Chain;
use zen_chassis::clock::from_unix_ms;
use zen_identity::{Peer, chain_from_pem, chain_to_pem, csr_public_key_sha256, csr_spki};
use zen_proto::codes::RefusalCode;
use zen_proto::enrollment::v1::enrollment_service_server::EnrollmentService;
use zen_proto::enrollment::v1::{
    Enrolled, RecoverRequest, RedeemRequest, RedeemResponse, Refusal, redeem_response,
};
use zen_proto::ids::{BundleId, PlaneId};

use self::judge::{Recovery, Redemption, Refused, Verdict};
use crate::control::Control;
use crate::digest::fingerprint;
use crate::limiter::{Limiter, Rate, network};
use crate::plane::Plane;
use crate::store::{EventKind, Issued, NewEvent, StoreError};

/// Largest request; an honest one takes about 700 bytes.
pub(crate) const REQUEST: usize = 64 * 1024;
/// Calls of one address; many agents may stand behind one.
const RATE: Rate = Rate {
    burst: 120.0,
    per_second: 4.0,
};
/// Longest version text that is kept.
const VERSION: usize = 64;

/// Answers agents that have no identity, or none any more.
pub(crate) struct Enrollment {
    control: Arc<Control>,
    limiter: Limiter<IpAddr>,
}

/// Who asks, as far as the connection and the request tell.
struct Asker {
    address: String,
    key_sha256: [u8; 32],
    spki: Vec<u8>,
    /// Unix milliseconds by the control plane's clock.
    at: u64,
}

impl Asker {
    fn event(&self, plane: PlaneId, kind: EventKind, detail: impl Into<String>) -> NewEvent {
        NewEvent {
            remote_address: Some(self.address.clone()),
            key_fingerprint: Some(fingerprint(&self.key_sha256)),
            ..NewEvent::plain(plane, self.at, kind, detail)
        }
    }

    /// A refusal's entry; another key's redemption is raised as an alert.
    fn refusal(&self, plane: PlaneId, refused: &Refused) -> NewEvent {
        NewEvent {
            code: Some(refused.code.code().to_owned()),
            alert: refused.code == RefusalCode::BundleAlreadyUsed,
            ..self.event(plane, EventKind::Refused, refused.detail.clone())
        }
    }

    fn issued(&self, plane: PlaneId, chain: &[CertificateDer<'_>]) -> Issued {
        Issued {
            plane,
            key_sha256: self.key_sha256,
            spki: self.spki.clone(),
            chain_pem: chain_to_pem(chain),
            at: self.at,
        }
    }
}

impl Enrollment {
    /// An enrolment service over these parts.
    pub(crate) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            limiter: Limiter::new(RATE),
        }
    }

    /// Lets the caller in and reads who it is. A request whose key is not proven is no request.
    fn asker<T>(&self, request: &Request<T>, csr: &[u8]) -> Result<Asker, Status> {
        let peer = request.extensions().get::<Peer>();
        let address = peer.ok_or_else(|| Status::internal("no peer"))?.address;
        let at = self.control.stage.clock.unix_ms();
        if self.limiter.admit(&network(address.ip()), at).is_err() {
            return Err(Status::resource_exhausted(
                "too many requests from this address",
            ));
        }
        let malformed = |error| Status::invalid_argument(format!("csr: {}", Chain(&error)));
        Ok(Asker {
            address: address.to_string(),
            key_sha256: csr_public_key_sha256(csr).map_err(malformed)?,
            spki: csr_spki(csr).map_err(malformed)?,
            at,
        })
    }

    /// The way of one redemption.
    async fn redemption(
        &self,
        asker: &Asker,
        asked: &RedeemRequest,
    ) -> Result<redeem_response::Outcome, Status> {
        let Ok(bundle_id) = asked.bundle_id.parse::<BundleId>() else {
            let refused = Refused::new(RefusalCode::BundleUnreadable, "the bundle id is no id");
            return Ok(self.refuse(asker, &refused));
        };
        let mut case = self
            .control
            .store
            .redemption(bundle_id)
            .await
            .map_err(unavailable)?;
        let verdict = judge::redemption(&Redemption {
            bundle: case.bundle.as_ref(),
            plane: case.plane.as_ref(),
            current_keys: &case.current_keys,
            asked,
            key_sha256: &asker.key_sha256,
            now: asker.at,
        });
        match verdict {
            Verdict::Unknown(refused) => Ok(self.refuse(asker, &refused)),
            Verdict::Refuse(plane, refused) => {
                let event = asker.refusal(plane, &refused);
                case.record(&[event]).await.map_err(unavailable)?;
                tracing::warn!(
                    %plane, %bundle_id, code = %refused.code, remote_address = %asker.address,
                    key = %fingerprint(&asker.key_sha256), "redemption refused"
                );
                Ok(self.refuse(asker, &refused))
            }
            Verdict::Repeat(chain_pem) => {
                self.control.metrics.redemption("REPEATED");
                let chain = chain_from_pem(&chain_pem).map_err(|e| internal(&e))?;
                Ok(self.enrolled(asker, &chain))
            }
            Verdict::Enrol => {
                let plane = case
                    .plane
                    .take()
                    .ok_or_else(|| Status::internal("no plane"))?;
                let chain = self.sign(asker, &plane, &asked.csr)?;
                let version: String = asked.agent_version.chars().take(VERSION).collect();
                let redeemed = format!("bundle {bundle_id} redeemed by agent {version}");
                let events = [
                    asker.event(plane.id, EventKind::BundleRedeemed, redeemed),
                    asker.event(plane.id, EventKind::CertificateIssued, "plane CA issued"),
                ];
                let issued = asker.issued(plane.id, &chain);
                case.enrol(bundle_id, &issued, &events)
                    .await
                    .map_err(unavailable)?;
                self.control.metrics.redemption("ENROLLED");
                tracing::info!(plane = %plane.id, %bundle_id, "plane enrolled");
                Ok(self.enrolled(asker, &chain))
            }
        }
    }

    /// The way of one recovery.
    async fn recovery(
        &self,
        asker: &Asker,
        asked: &RecoverRequest,
    ) -> Result<redeem_response::Outcome, Status> {
        let Ok(id) = asked.plane_id.parse::<PlaneId>() else {
            return Err(Status::invalid_argument("plane_id is no id"));
        };
        let mut case = self.control.store.recovery(id).await.map_err(unavailable)?;
        let known = case
            .spki(id, &asker.key_sha256)
            .await
            .map_err(unavailable)?;
        let verdict = judge::recovery(&Recovery {
            plane: case.plane.as_ref(),
            known_spki: known.as_deref(),
            asked,
            budget: self.control.recovery_budget,
            now: asker.at,
        });
        match verdict {
            // Anybody can name a plane: only who holds its key writes to its timeline.
            Err(refused) if refused.proven => {
                let event = asker.refusal(id, &refused);
                case.record(&[event]).await.map_err(unavailable)?;
                Ok(self.refuse_recovery(asker, id, &refused))
            }
            Err(refused) => Ok(self.refuse_recovery(asker, id, &refused)),
            Ok(()) => {
                let plane = case
                    .plane
                    .take()
                    .ok_or_else(|| Status::internal("no plane"))?;
                let chain = self.sign(asker, &plane, &asked.csr)?;
                let detail = format!("plane CA issued by recovery {}", plane.recoveries + 1);
                let event = asker.event(id, EventKind::CertificateIssued, detail);
                let issued = asker.issued(id, &chain);
                case.recover(&issued, &[event]).await.map_err(unavailable)?;
                self.control.metrics.recovery("RECOVERED");
                tracing::info!(plane = %id, recoveries = plane.recoveries + 1, "plane recovered");
                Ok(self.enrolled(asker, &chain))
            }
        }
    }

    fn sign(
        &self,
        asker: &Asker,
        plane: &Plane,
        csr: &[u8],
    ) -> Result<Vec<CertificateDer<'static>>, Status> {
        let now = from_unix_ms(asker.at);
        let signed = self
            .control
            .authority
            .sign_plane_ca(csr, plane.tenant, plane.id, now);
        signed.map_err(|error| internal(&error))
    }

    fn enrolled(&self, asker: &Asker, chain: &[CertificateDer<'_>]) -> redeem_response::Outcome {
        redeem_response::Outcome::Enrolled(Enrolled {
            plane_ca_chain: chain.iter().map(|der| der.to_vec().into()).collect(),
            trust_bundle_pem: self.control.authority.trust_bundle_pem().to_string(),
            trust_domain: self.control.trust_domain.to_string(),
            // The address of the bundle has just proven good.
            session_address: String::new(),
            server_time_ms: asker.at,
        })
    }

    fn refuse(&self, asker: &Asker, refused: &Refused) -> redeem_response::Outcome {
        self.control.metrics.redemption(refused.code.code());
        to_wire(asker, refused)
    }

    fn refuse_recovery(
        &self,
        asker: &Asker,
        plane: PlaneId,
        refused: &Refused,
    ) -> redeem_response::Outcome {
        self.control.metrics.recovery(refused.code.code());
        let remote_address = &asker.address;
        tracing::warn!(%plane, code = %refused.code, %remote_address, "recovery refused");
        to_wire(asker, refused)
    }
}

fn to_wire(asker: &Asker, refused: &Refused) -> redeem_response::Outcome {
    redeem_response::Outcome::Refusal(Refusal {
        code: refused.code.code().to_owned(),
        detail: refused.detail.clone(),
        server_time_ms: asker.at,
    })
}

/// The store failed: the agent tries again, and nothing has happened.
pub(crate) fn unavailable(error: StoreError) -> Status {
    tracing::error!(error = %Chain(&error), "the store failed under an agent's call");
    Status::unavailable("the control plane cannot read or write its store")
}

fn internal(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = %Chain(error), "an agent's call failed");
    Status::internal("the control plane failed")
}

#[tonic::async_trait]
impl EnrollmentService for Enrollment {
    async fn redeem(
        &self,
        request: Request<RedeemRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let asker = self.asker(&request, &request.get_ref().csr)?;
        let outcome = self.redemption(&asker, request.get_ref()).await?;
        Ok(Response::new(RedeemResponse {
            outcome: Some(outcome),
        }))
    }

    async fn recover(
        &self,
        request: Request<RecoverRequest>,
    ) -> Result<Response<RedeemResponse>, Status> {
        let asker = self.asker(&request, &request.get_ref().csr)?;
        let outcome = self.recovery(&asker, request.get_ref()).await?;
        Ok(Response::new(RedeemResponse {
            outcome: Some(outcome),
        }))
    }
}
