//! What is held of single users, as the documentation shows it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A row that names a user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UserDataLine, example = json!({"table": "events", "row": {"event_id": "1", "user_id": "u-4711"}}))]
pub struct UserDataLine {
    /// `events`, `first_exposures` or `dead_letters`.
    pub table: String,
    /// The row, its columns as members.
    #[schema(value_type = Object)]
    pub row: Value,
}

/// The receipt of an erasure.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
pub struct ErasureDocument {
    /// Its id.
    #[schema(example = "erasure_019c13ec9e007293af8996976d629857")]
    pub receipt: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub at: String,
    /// What stands before the user's id where it is hashed.
    pub salt: String,
    /// SHA-256 of the salt and the user's id, in hexadecimal digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub user_sha256: String,
    /// When the first server on the store had done it; null before. Each erases from its own tables.
    #[schema(format = DateTime)]
    pub done_at: Option<String>,
    /// What was erased there, of all users that were erased together; null before.
    pub erased: Option<ErasedRowsDocument>,
}

/// How many rows were erased.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ErasedRows)]
pub struct ErasedRowsDocument {
    /// Of `events`.
    pub events: u64,
    /// Of `first_exposures`.
    pub first_exposures: u64,
    /// Of `dead_letters`.
    pub dead_letters: u64,
}
