//! A request whose endpoint takes it by method and source; its body is read here, within the endpoint's bound.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header;
use http_body::Body;
use http_body_util::BodyExt;

use super::arrival::Arrival;
use super::refusal::Refusal;
use crate::routing::Endpoint;

/// An arrival and the endpoint it is for.
pub(crate) struct Routed<B> {
    pub(super) arrival: Arrival<B>,
    pub(super) endpoint: Arc<Endpoint>,
}

impl<B> Routed<B> {
    pub(super) fn new(arrival: Arrival<B>, endpoint: Arc<Endpoint>) -> Result<Self, Refusal> {
        let routed = Self::unjudged(arrival, endpoint)?;
        let Self { arrival, endpoint } = &routed;
        if !endpoint.methods.contains(arrival.method()) {
            return Err(Refusal::method(endpoint.allow.clone()));
        }
        if !endpoint.admits(arrival.source) {
            return Err(Refusal::source());
        }
        Ok(routed)
    }

    /// The same without a look at method and source: for what this ingester made itself.
    pub(super) fn unjudged(arrival: Arrival<B>, endpoint: Arc<Endpoint>) -> Result<Self, Refusal> {
        if endpoint.removed {
            return Err(Refusal::removed());
        }
        if endpoint.fault.is_some() {
            return Err(Refusal::misconfigured());
        }
        Ok(Self { arrival, endpoint })
    }
}

impl<B> Routed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    /// Reads the body. One that says it is too large is refused unread, one that does not is counted.
    pub(super) async fn read_body(mut self) -> Result<Routed<Bytes>, Refusal> {
        let limit = self.endpoint.max_body;
        let said = self.arrival.headers().get(header::CONTENT_LENGTH);
        let said = said.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let least = self.arrival.body.size_hint().lower().max(said.unwrap_or(0));
        if least > limit as u64 {
            return Err(Refusal::too_large(limit));
        }
        let body = gather(&mut self.arrival.body, limit).await?;
        Ok(Routed {
            arrival: self.arrival.with_body(body),
            endpoint: self.endpoint,
        })
    }
}

/// The whole body. One that came in one piece is not copied.
async fn gather<B>(body: &mut B, limit: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::broken_body())?;
        // Trailers are no part of the body.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(Refusal::too_large(limit));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if !first.is_empty() {
            rest.reserve(first.len() + data.len());
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    async fn gathered(pieces: &[&'static [u8]], limit: usize) -> Option<Bytes> {
        let frames = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece))));
        let mut body = StreamBody::new(stream::iter(frames.collect::<Vec<_>>()));
        gather(&mut body, limit).await.ok()
    }

    #[tokio::test]
    async fn pieces_are_put_together_up_to_the_limit() {
        assert_eq!(gathered(&[], 4).await.unwrap(), "");
        assert_eq!(gathered(&[b"abcd"], 4).await.unwrap(), "abcd");
        assert_eq!(
            gathered(&[b"", b"ab", b"", b"c", b"d"], 4).await.unwrap(),
            "abcd"
        );
        assert!(gathered(&[b"ab", b"c", b"de"], 4).await.is_none());
    }
}
