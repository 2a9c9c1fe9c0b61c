//! The wire of Zen Mesh and nothing else: protobuf messages and stubs, id newtypes, stable codes,
//! and the limits both ends keep.

pub mod codes;
pub mod component;
pub mod ids;
pub mod limits;
pub mod purpose;

/// Generated messages and stubs; the text is in `proto/protos`.
#[expect(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    clippy::large_enum_variant,
    reason = "generated from the protobuf files, which carry the documentation"
)]
mod generated {
    pub mod zen {
        pub mod agent {
            pub mod v1 {
                tonic::include_proto!("zen.agent.v1");
            }
        }
        pub mod delivery {
            pub mod v1 {
                tonic::include_proto!("zen.delivery.v1");
            }
        }
        pub mod enrollment {
            pub mod v1 {
                tonic::include_proto!("zen.enrollment.v1");
            }
        }
        pub mod lock {
            pub mod v1 {
                tonic::include_proto!("zen.lock.v1");
            }
        }
        pub mod query {
            pub mod v1 {
                tonic::include_proto!("zen.query.v1");
            }
        }
        pub mod relay {
            pub mod v1 {
                tonic::include_proto!("zen.relay.v1");
            }
        }
        pub mod session {
            pub mod v1 {
                tonic::include_proto!("zen.session.v1");
            }
        }
        pub mod snapshot {
            pub mod v1 {
                tonic::include_proto!("zen.snapshot.v1");
            }
        }
    }
}

pub use generated::zen::{agent, delivery, enrollment, lock, query, relay, session, snapshot};
