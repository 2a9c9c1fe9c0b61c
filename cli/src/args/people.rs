//! What `zen audit`, `zen user` and `zen api-key` can be told.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// List entries, newest first.
    List {
        /// Only from this time on (RFC 3339).
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only before this time (RFC 3339).
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Only what this user (e-mail address or id) or key (name or id) did.
        #[arg(long)]
        actor: Option<String>,
        /// Only this action, such as `plane.create`.
        #[arg(long)]
        action: Option<String>,
        /// Only what was done to this (id).
        #[arg(long)]
        subject: Option<String>,
        /// How many at the most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Check the whole chain: exit code 1 if an entry was changed, removed or put elsewhere.
    Verify {
        /// A head that an earlier check printed, which the log must still contain.
        #[arg(long, value_name = "SEQ:HASH", value_parser = head)]
        kept: Option<String>,
    },
}

/// A head of the audit log: a number and 64 hexadecimal digits.
fn head(text: &str) -> Result<String, String> {
    let whole = text.split_once(':').is_some_and(|(seq, hash)| {
        seq.parse::<u64>().is_ok()
            && hash.len() == 64
            && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    if whole {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("not SEQ:HASH as `zen audit verify` prints it".to_owned())
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Everything, people included.
    Owner,
    /// Everything but owners.
    Admin,
    /// Planes, endpoints, targets, flows, replays.
    Editor,
    /// Looking only.
    Viewer,
}

impl Role {
    /// As the API says it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::Viewer => "viewer",
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum User {
    /// List users.
    List,
    /// Invite somebody: prints a sign-in link for one use.
    Invite {
        /// E-mail address.
        email: String,
        /// Role.
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// Name; the part of the address before the @ if not given. The person may change it.
        #[arg(long)]
        name: Option<String>,
    },
    /// Give a user another role; their sessions end.
    Role {
        /// E-mail address or id.
        user: String,
        /// The new role.
        #[arg(value_enum)]
        role: Role,
    },
    /// Let a user in no longer; their sessions end.
    Disable {
        /// E-mail address or id.
        user: String,
    },
    /// Let a disabled user in again.
    Enable {
        /// E-mail address or id.
        user: String,
    },
    /// Print a new sign-in link for one use, for a password that was forgotten.
    SignInLink {
        /// E-mail address or id.
        user: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum ApiKey {
    /// List keys; the keys themselves are not kept.
    List,
    /// Make a key; it is printed once.
    Create {
        /// Its name.
        name: String,
        /// Role.
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
        /// Only this operation of the role's, such as `plane.read`; may be repeated.
        #[arg(long = "scope", value_name = "OPERATION")]
        scopes: Vec<String>,
        /// When it ends (RFC 3339); never, if not given.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
        /// Write the key to this file (0600) instead of printing it.
        #[arg(long, value_name = "FILE")]
        write_to: Option<PathBuf>,
    },
    /// Revoke a key at once.
    Revoke {
        /// Name or id.
        key: String,
    },
}
