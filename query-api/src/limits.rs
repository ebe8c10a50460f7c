//! How large bodies may be.

/// The largest body of one evaluation.
pub const EVALUATE_BODY_MAX_BYTES: usize = 64 * 1024;
/// The largest body of evaluations for many users: ten thousand with a context of 800 bytes each.
pub const EVALUATE_MANY_BODY_MAX_BYTES: usize = 8 * 1024 * 1024;
/// The largest body with a name and a password.
pub const CREDENTIALS_BODY_MAX_BYTES: usize = 4 * 1024;
/// The largest definition.
pub const MANAGEMENT_BODY_MAX_BYTES: usize = 1024 * 1024;
/// The largest batch of events on the wire; what it may open to is the collector's to limit.
pub const EVENTS_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;
/// The largest file of ids in one request: ten million ids of fifty bytes.
pub const ID_LIST_BODY_MAX_BYTES: usize = 512 * 1024 * 1024;
/// The largest batch of statistical calls: a thousand with a few hundred numbers each.
pub const STATISTICS_BODY_MAX_BYTES: usize = 4 * 1024 * 1024;
/// The deepest nesting of any JSON body: definitions with nested conditions stay below 20.
pub const JSON_DEPTH_MAX: usize = 32;
