//! The listener for the API server and for pods: TLS 1.3 by zen-lock's own authority, webhooks and
//! gRPC behind it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use zen_chassis::CancellationToken;
use zen_identity::{AcceptOptions, accept};
use zen_proto::limits;
use zen_proto::lock::v1::pod_service_server::PodServiceServer;

use super::admission::{Webhooks, mutate_pods, validate_zenlocks};
use super::certificates::Shown;
use super::pods::Pods;

/// Largest question of the API server: an object is 1.5 MiB at the most, an update has two.
const REVIEW: usize = 4 * 1024 * 1024;
/// Largest question of a pod or the agent.
const MESSAGE: usize = limits::BUNDLE + 16 * 1024;
const CONNECTIONS: usize = 1024;
const CALLS: u32 = 256;
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Time for one call, the API server's own ten seconds.
const CALL: Duration = Duration::from_secs(10);

/// Serves until shutdown, then answers what was asked.
pub(super) async fn serve(
    listener: TcpListener,
    shown: Shown,
    webhooks: Webhooks,
    pods: Pods,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = webhooks.core.metrics.clone();
    let service = PodServiceServer::new(pods).max_decoding_message_size(MESSAGE);
    let webhooks = Arc::new(webhooks);
    let reviews = Router::new()
        .route("/mutate-pods", post(mutate_pods))
        .route("/validate-zenlocks", post(validate_zenlocks))
        .layer(DefaultBodyLimit::max(REVIEW))
        .with_state(webhooks);
    let router = Routes::new(service).into_axum_router().merge(reviews);
    let options = AcceptOptions {
        max_connections: CONNECTIONS,
        on_refused: Some(Arc::new(move |code| metrics.handshake_refused(code))),
        ..AcceptOptions::default()
    };
    let connections = accept(listener, shown.server_config()?, options);
    Server::builder()
        .accept_http1(true)
        .timeout(CALL)
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PONG))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(connections, shutdown.cancelled_owned())
        .await?;
    Ok(())
}
