//! What many users get from many flags: NDJSON, one line a user, written while it is made.
//!
//! All lines come from one ruleset. Memory holds the request and one piece of the answer, however long that is, and a
//! piece takes well under half a millisecond, so that other requests are not kept waiting.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use domain::rules::Ruleset;
use domain::{FlagKey, UnitId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::evaluate::{EvaluateRequest, Evaluation, exposure_of, log_exposures, serving};
use crate::extract::{RawBody, is_json, not_json, parse_json};
use crate::metrics::EvaluationCounts;
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;
use crate::wire;

/// The most users of a request.
pub const USERS_MAX: usize = 10_000;
/// The most flags that a request names.
pub const FLAGS_MAX: usize = 10_000;
/// The most evaluations of a request, about a quarter of a second of one core; more are more requests.
pub const EVALUATIONS_MAX: usize = 1_000_000;
/// How many evaluations are made before their part of the answer is sent: about 60 KB of it.
const PIECE_EVALUATIONS: usize = 256;
/// Bodies up to this size are parsed where they are; larger ones on a thread that may be kept busy.
const PARSE_INLINE_MAX_BYTES: usize = 64 * 1024;

/// Whom evaluations are for, and of which flags.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"users": [{"user_id": "u1", "context": {"plan": "pro"}}, {"user_id": "u2"}], "flags": ["new-checkout"]}))]
pub struct EvaluateManyRequest {
    /// The users: at most 10 000.
    #[schema(min_items = 1, max_items = 10_000)]
    users: Vec<ManyUser>,
    /// The flags, at most 10 000; all when absent.
    #[schema(value_type = Option<Vec<wire::Key>>, required = false, max_items = 10_000)]
    flags: Option<Vec<FlagKey>>,
    /// Whether the server logs the exposures, once a day and user; a line is sent when its own are durable.
    #[serde(default)]
    #[schema(required = false, default = false)]
    track: bool,
}

/// One user of many.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManyUser {
    /// The unit that rollouts are drawn by.
    #[schema(value_type = wire::Key)]
    user_id: UnitId,
    /// The attributes that rules look at.
    #[serde(default)]
    #[schema(value_type = Object, required = false)]
    context: Map<String, Value>,
}

/// One line of the answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct EvaluatedUser<'r> {
    /// The user, in the order of the request.
    user_id: String,
    /// What the user gets, in the order of `flags`; a flag that does not exist or compile has the reason `ERROR`.
    evaluations: Vec<Evaluation<'r>>,
}

/// Evaluate many flags for many users
///
/// The answer is NDJSON: one line a user, in the order of the request, sent while the next are made. All come from the
/// same ruleset. A flag that does not exist, or does not compile, has the reason `ERROR` in every line and does not touch
/// the others. At most 10 000 users and a million evaluations at once.
#[utoipa::path(post, path = "/api/v1/feature-flags/evaluate", tag = "feature-flags", operation_id = "evaluate_many",
    request_body = EvaluateManyRequest,
    responses((status = 200, content_type = "application/x-ndjson", body = EvaluatedUser<'_>, description = "One line a user.")))]
pub async fn evaluate_many(
    State(state): State<Arc<ApiState>>,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> ApiResult<Response> {
    if !is_json(&headers) {
        return Err(not_json());
    }
    let request = parse(body).await?;
    let (ruleset, is_stale) = serving(&state)?;
    let EvaluateManyRequest { users, flags, track } = request;
    let flags = match flags {
        Some(flags) => flags.iter().map(|flag| flag.as_str().into()).collect(),
        None => all_flags(&ruleset),
    };
    check_size(users.len(), flags.len())?;
    let run = Run {
        state,
        ruleset,
        is_stale,
        users: users
            .into_iter()
            .map(|user| EvaluateRequest {
                user_id: user.user_id,
                context: user.context,
                assignments: std::collections::BTreeMap::new(),
                track,
            })
            .collect(),
        flags,
        user: 0,
        flag: 0,
    };
    let pieces = futures::stream::unfold(run, |mut run| async move {
        let piece = run.next_piece().await?;
        Some((Ok::<_, Infallible>(piece), run))
    });
    let media = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((media, Body::from_stream(pieces)).into_response())
}

async fn parse(body: Bytes) -> ApiResult<EvaluateManyRequest> {
    if body.len() <= PARSE_INLINE_MAX_BYTES {
        return parse_json(&body);
    }
    let parsed = tokio::task::spawn_blocking(move || parse_json(&body)).await;
    parsed.unwrap_or_else(|defect| Err(Problem::internal(defect)))
}

/// Every flag that is defined, those in error after the others.
fn all_flags(ruleset: &Ruleset) -> Vec<Box<str>> {
    let served = ruleset.flag_keys().map(FlagKey::as_str);
    let broken = ruleset.broken_flag_keys();
    served.chain(broken).map(Box::from).collect()
}

fn check_size(users: usize, flags: usize) -> ApiResult<()> {
    let evaluations = users.saturating_mul(flags);
    let (what, found, limit, pointer) = if users == 0 {
        ("users, and at least one", users, USERS_MAX, "/users")
    } else if users > USERS_MAX {
        ("users", users, USERS_MAX, "/users")
    } else if flags > FLAGS_MAX {
        ("flags", flags, FLAGS_MAX, "/flags")
    } else if evaluations > EVALUATIONS_MAX {
        (
            "evaluations (users times flags)",
            evaluations,
            EVALUATIONS_MAX,
            "",
        )
    } else {
        return Ok(());
    };
    let message = format!("a request has at most {limit} {what}; this one has {found}");
    Err(Problem::new(Code::InvalidBody, message.clone()).at(pointer, message))
}

/// A request that is being answered: where it stands between two pieces.
struct Run {
    state: Arc<ApiState>,
    ruleset: Arc<Ruleset>,
    is_stale: bool,
    users: Vec<EvaluateRequest>,
    flags: Vec<Box<str>>,
    user: usize,
    flag: usize,
}

impl Run {
    /// The next piece of the answer; nothing at its end.
    async fn next_piece(&mut self) -> Option<Bytes> {
        self.users.get(self.user)?;
        let ruleset = Arc::clone(&self.ruleset);
        let mut decided = Vec::with_capacity(PIECE_EVALUATIONS);
        let mut exposures = Vec::new();
        let counts = EvaluationCounts::default();
        let (mut user, mut flag) = (self.user, self.flag);
        // At least one round a user, so that users without flags get their lines and the loop comes to an end.
        for _ in 0..PIECE_EVALUATIONS {
            let Some(request) = self.users.get(user) else {
                break;
            };
            let context = request.context(&self.state);
            if let Some(key) = self.flags.get(flag) {
                let decision = ruleset.evaluate(key, &context);
                counts.add(decision.reason);
                let exposure = exposure_of(&request.user_id, &decision).filter(|_| request.track);
                exposures.extend(exposure);
                decided.push((user, flag, Some((decision, exposure.is_some()))));
                flag += 1;
            } else {
                decided.push((user, flag, None));
            }
            if flag >= self.flags.len() {
                (user, flag) = (user + 1, 0);
            }
        }
        drop(counts);
        let durable = exposures.is_empty() || log_exposures(&self.state, &exposures).await;
        let mut piece = Vec::with_capacity(PIECE_EVALUATIONS * 256);
        for (user, flag, decided) in decided {
            if flag == 0 {
                self.begin_line(&mut piece, user);
            }
            if let Some((decision, is_tracked)) = decided {
                let tracked = is_tracked.then_some(durable);
                let evaluation = Evaluation::new(&self.flags[flag], decision, self.is_stale, tracked);
                piece.extend_from_slice(if flag == 0 { b"" } else { b"," });
                write_json(&mut piece, &evaluation);
            }
            if flag + 1 >= self.flags.len() {
                piece.extend_from_slice(b"]}\n");
            }
        }
        (self.user, self.flag) = (user, flag);
        Some(piece.into())
    }

    fn begin_line(&self, piece: &mut Vec<u8>, user: usize) {
        piece.extend_from_slice(b"{\"user_id\":");
        write_json(piece, self.users[user].user_id.as_str());
        piece.extend_from_slice(b",\"evaluations\":[");
    }
}

/// Writes JSON to memory, which cannot fail for the texts, numbers and values that are written here.
fn write_json<T: Serialize + ?Sized>(into: &mut Vec<u8>, value: &T) {
    let written = serde_json::to_writer(into, value);
    debug_assert!(written.is_ok(), "JSON can be written to memory");
}
