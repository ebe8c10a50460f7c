//! The receipts of users that were erased, or are to be: they tell that, and to whoever knows an id, whether it was that.

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::store::fresh_id;

/// What tells that a user was erased, without telling who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its id.
    pub receipt: String,
    /// When the erasure was asked for.
    pub at: Timestamp,
    /// What stands before the user's id where it is hashed, different for each receipt.
    pub salt: String,
    /// SHA-256 of the salt and the user's id, in hexadecimal digits.
    pub user_sha256: String,
}

impl Receipt {
    /// A receipt for a user.
    pub fn of(user: &str, at: Timestamp) -> Self {
        let salt = uuid::Uuid::new_v4().to_string();
        Self {
            receipt: fresh_id("erasure", at),
            at,
            user_sha256: hash(&salt, user),
            salt,
        }
    }

    /// Whether it is the receipt of a user.
    pub fn is_of(&self, user: &str) -> bool {
        hash(&self.salt, user) == self.user_sha256
    }
}

fn hash(salt: &str, user: &str) -> String {
    let digest = Sha256::new().chain_update(salt).chain_update(user).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How many rows were erased.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedRows {
    /// Of `events`.
    pub events: u64,
    /// Of `first_exposures`.
    pub first_exposures: u64,
    /// Of `dead_letters`.
    pub dead_letters: u64,
}

/// How far an erasure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureState {
    /// No data folder has done it yet.
    Waiting,
    /// The first data folder on the store has done it.
    Done,
}

impl ErasureState {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Waiting, Self::Done];

    /// The state as on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// An erasure that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Erasure {
    /// Its receipt.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// When the first data folder on the store had done it; not yet when absent.
    pub done_at: Option<Timestamp>,
    /// What was erased there, of all users that were erased together.
    pub erased: Option<ErasedRows>,
}
