//! The enrolment calls: server-authenticated TLS, judged by the roots at hand.

use std::time::Duration;

use tonic::transport::Channel;
use zen_chassis::Clock;
use zen_chassis::chain::Chain;
use zen_identity::{DialOptions, Expect, Trust, channel, server_auth_only_client_config};
use zen_proto::codes::RefusalCode;
use zen_proto::enrollment::v1::enrollment_service_client::EnrollmentServiceClient;
use zen_proto::enrollment::v1::{RecoverRequest, RedeemRequest, RedeemResponse};

use crate::refusal::Refusal;

/// Time for a call, its connection included.
const CALL: Duration = Duration::from_secs(15);

/// Whom to call, and by which roots it is judged.
pub(super) struct Server<'a> {
    pub(super) address: &'a str,
    pub(super) trust_domain: &'a str,
    pub(super) roots_pem: &'a str,
    pub(super) clock: &'a Clock,
    pub(super) dial: &'a DialOptions,
}

impl Server<'_> {
    pub(super) async fn redeem(&self, request: RedeemRequest) -> Result<RedeemResponse, Refusal> {
        let mut client = self.client()?;
        self.answered(client.redeem(request)).await
    }

    pub(super) async fn recover(&self, request: RecoverRequest) -> Result<RedeemResponse, Refusal> {
        let mut client = self.client()?;
        self.answered(client.recover(request)).await
    }

    fn client(&self) -> Result<EnrollmentServiceClient<Channel>, Refusal> {
        let unusable = |error: &dyn std::error::Error| {
            Refusal::new(
                RefusalCode::BundleUnreadable,
                format!("the bundle's trust bundle cannot be used: {error}"),
            )
        };
        let domain = self
            .trust_domain
            .parse()
            .map_err(|e: zen_identity::SpiffeError| unusable(&e))?;
        let trust = Trust::new(domain, self.roots_pem, []).map_err(|e| unusable(&e))?;
        let config = server_auth_only_client_config(
            trust,
            Expect::control_plane(),
            self.clock.time_provider(),
        );
        Ok(EnrollmentServiceClient::new(channel(
            self.address,
            config,
            self.dial.clone(),
        )))
    }

    async fn answered(
        &self,
        call: impl Future<Output = Result<tonic::Response<RedeemResponse>, tonic::Status>>,
    ) -> Result<RedeemResponse, Refusal> {
        match tokio::time::timeout(CALL, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => {
                tracing::debug!(error = %Chain(&status), "enrolment call failed");
                Err(Refusal::of_call(
                    &status,
                    RefusalCode::ControlPlaneUntrusted,
                ))
            }
            Err(_) => Err(Refusal::new(
                RefusalCode::ControlPlaneUnreachable,
                format!(
                    "no answer from {} within {} s",
                    self.address,
                    CALL.as_secs()
                ),
            )),
        }
    }
}
