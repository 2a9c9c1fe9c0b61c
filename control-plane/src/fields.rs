//! Checks of what people write, field by field: all faults of a body are told at once.

use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;
use zen_chassis::secret::SecretRef;

/// Longest name of anything, in characters.
const NAME: usize = 100;
/// Entries of one list.
const ENTRIES: usize = 64;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// The field, dotted; empty if it is the whole body.
    pub(crate) field: String,
    /// What is wrong, one sentence.
    pub(crate) detail: String,
}

/// Gathers the faults of one body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault.
    pub(crate) fn add(&mut self, field: &str, detail: impl Into<String>) {
        self.0.push(Fault {
            field: field.to_owned(),
            detail: detail.into(),
        });
    }

    /// Adds a fault unless the condition holds.
    pub(crate) fn require(&mut self, holds: bool, field: &str, detail: &str) {
        if !holds {
            self.add(field, detail);
        }
    }

    /// Checks a name: 1 to 100 characters, none of control, no space around it.
    pub(crate) fn name(&mut self, field: &str, name: &str) {
        let plain = !name.chars().any(char::is_control) && name.trim() == name;
        let fits = (1..=NAME).contains(&name.chars().count());
        self.require(
            plain && fits,
            field,
            "a name has 1 to 100 characters and no space around it",
        );
    }

    /// Reads an id.
    pub(crate) fn id<I: FromStr<Err: ToString>>(&mut self, field: &str, text: &str) -> Option<I> {
        match text.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.add(field, I::Err::to_string(&error));
                None
            }
        }
    }

    /// Checks a list of references to secrets. What is given instead is not repeated: it may be
    /// the secret itself.
    pub(crate) fn secrets(&mut self, field: &str, references: &[String]) {
        self.entries(field, references.len());
        for (place, reference) in references.iter().enumerate() {
            self.secret(&format!("{field}.{place}"), reference);
        }
    }

    /// Checks one reference to a secret.
    pub(crate) fn secret(&mut self, field: &str, reference: &str) {
        if let Err(error) = reference.parse::<SecretRef>() {
            self.add(field, error.to_string());
        }
    }

    /// Checks a list of networks in CIDR notation.
    pub(crate) fn networks(&mut self, field: &str, networks: &[String]) {
        self.entries(field, networks.len());
        for (place, network) in networks.iter().enumerate() {
            if network.parse::<IpNet>().is_err() {
                self.add(
                    &format!("{field}.{place}"),
                    "not a network such as 10.0.0.0/8",
                );
            }
        }
    }

    /// Checks the length of a list.
    pub(crate) fn entries(&mut self, field: &str, entries: usize) {
        self.require(entries <= ENTRIES, field, "at most 64 entries");
    }

    /// The faults.
    ///
    /// # Errors
    /// Itself, if there are any.
    pub(crate) fn result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The faults, in the order they were found.
    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.0
    }
}
