//! The id lists of segments: uploaded as a file, kept as fingerprints.
//!
//! A list is read as it arrives and each id is forgotten once its fingerprint is taken, so that millions of ids need
//! eight bytes each and no id stays in the store. A list too long for one request is sent in parts with `POST`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use control::{Change, IdListChange, IdListSummary};
use domain::rules::IdSet;
use domain::{SegmentKey, UnitId};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::definitions::{self, Writer};
use crate::extract::{ApiQuery, PathKey, media_type};
use crate::gate::Arrival;
use crate::problem::{ApiResult, Code, Problem};
use crate::state::ApiState;

/// The most bytes of one line: an id in JSON with every character escaped.
const LINE_MAX_BYTES: usize = 4_096;

/// Ids, one on each line, for the documentation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = String, pattern = "^([^\\x00-\\x1f\\x7f-\\x9f]|\\r?\\n)*$")]
pub struct IdLines(String);

/// How long a list is.
#[derive(Debug, Serialize, ToSchema)]
pub struct IdList {
    /// How many ids it holds.
    #[schema(example = 12_000)]
    ids: u64,
    /// One more with each change; 0 before the first.
    #[schema(example = 1)]
    generation: i64,
    /// When it was last changed; null before the first.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// Whether the id that was asked for stands in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<bool>,
}

impl From<IdListSummary> for IdList {
    fn from(summary: IdListSummary) -> Self {
        Self {
            ids: summary.ids,
            generation: summary.generation,
            updated_at: summary.updated_at.map(|at| at.to_string()),
            contains: None,
        }
    }
}

/// What is asked of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct IdListQuery {
    /// An id that is looked for.
    #[param(example = "u1")]
    contains: Option<String>,
}

/// Read how long the id list of a segment is
///
/// The ids themselves cannot be read: only their fingerprints are kept.
#[utoipa::path(get, path = "/api/v1/segments/{key}/ids", tag = "segments", operation_id = "get_segment_ids", params(IdListQuery),
    responses((status = 200, body = IdList, description = "Its length, and whether it holds the id asked for.")))]
pub async fn get(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<SegmentKey>,
    ApiQuery(query): ApiQuery<IdListQuery>,
) -> ApiResult<Json<IdList>> {
    let mut list = IdList::from(state.store.segment_ids(&key).await?);
    if let Some(id) = &query.contains {
        list.contains = Some(state.store.segment_lists_id(&key, id).await?);
    }
    Ok(Json(list))
}

/// Replace the id list of a segment
///
/// One id per line as `text/plain`, or one JSON string or object with `user_id` per line as `application/x-ndjson`.
#[utoipa::path(put, path = "/api/v1/segments/{key}/ids", tag = "segments", operation_id = "replace_segment_ids",
    request_body(content = IdLines, content_type = "text/plain", example = "u1\nu2\n"),
    responses((status = 200, body = IdList, description = "The list since.")))]
pub async fn replace(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<SegmentKey>,
    Writer(change): Writer,
    request: Request,
) -> ApiResult<Json<IdList>> {
    take(&state, &key, IdListChange::Replace, request, &change).await
}

/// Add ids to the list of a segment
#[utoipa::path(post, path = "/api/v1/segments/{key}/ids", tag = "segments", operation_id = "add_segment_ids",
    request_body(content = IdLines, content_type = "text/plain", example = "u1\nu2\n"),
    responses((status = 200, body = IdList, description = "The list since.")))]
pub async fn add(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<SegmentKey>,
    Writer(change): Writer,
    request: Request,
) -> ApiResult<Json<IdList>> {
    take(&state, &key, IdListChange::Add, request, &change).await
}

/// Take ids out of the list of a segment
#[utoipa::path(post, path = "/api/v1/segments/{key}/ids/remove", tag = "segments", operation_id = "remove_segment_ids",
    request_body(content = IdLines, content_type = "text/plain", example = "u1\nu2\n"),
    responses((status = 200, body = IdList, description = "The list since.")))]
pub async fn remove(
    State(state): State<Arc<ApiState>>,
    PathKey(key): PathKey<SegmentKey>,
    Writer(change): Writer,
    request: Request,
) -> ApiResult<Json<IdList>> {
    take(&state, &key, IdListChange::Remove, request, &change).await
}

async fn take(
    state: &ApiState,
    key: &SegmentKey,
    how: IdListChange,
    request: Request,
    change: &Change,
) -> ApiResult<Json<IdList>> {
    let fingerprints = read(request).await?;
    let summary = state
        .store
        .change_segment_ids(key, how, fingerprints, change)
        .await?;
    definitions::changed(state).await;
    Ok(Json(summary.into()))
}

/// How a line holds an id.
#[derive(Debug, Clone, Copy)]
enum LineForm {
    Plain,
    Json,
}

/// A line of NDJSON.
#[derive(Deserialize)]
#[serde(untagged)]
enum JsonLine {
    Id(String),
    Object { user_id: String },
}

/// Reads the fingerprints of a body as it arrives.
async fn read(request: Request) -> ApiResult<Vec<u64>> {
    let form = form(request.headers())?;
    let limit = Arrival::body_max_bytes(request.extensions());
    let mut reader = Reader {
        form,
        line: Vec::new(),
        line_number: 1,
        fingerprints: Vec::new(),
    };
    let mut size_bytes = 0;
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(Code::InvalidBody, "the body did not arrive whole").caused_by(error)
        })?;
        size_bytes += chunk.len();
        if size_bytes > limit {
            let detail = format!("the list is larger than {limit} bytes; send the rest with POST");
            return Err(Problem::new(Code::BodyTooLarge, detail));
        }
        reader.push(&chunk)?;
    }
    reader.end_line()?;
    Ok(reader.fingerprints)
}

fn form(headers: &HeaderMap) -> ApiResult<LineForm> {
    match media_type(headers).as_deref() {
        Some("text/plain") => Ok(LineForm::Plain),
        Some("application/x-ndjson") => Ok(LineForm::Json),
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            "the list must be text/plain with one id per line, or application/x-ndjson",
        )),
    }
}

/// Cuts chunks into lines and takes the fingerprint of each.
struct Reader {
    form: LineForm,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    line_number: u64,
    fingerprints: Vec<u64>,
}

impl Reader {
    fn push(&mut self, chunk: &[u8]) -> ApiResult<()> {
        let mut rest = chunk;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            self.end_line()?;
            self.line_number += 1;
            rest = &rest[end + 1..];
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > LINE_MAX_BYTES {
            return Err(self.refused("is longer than an id can be"));
        }
        Ok(())
    }

    fn end_line(&mut self) -> ApiResult<()> {
        let line = std::mem::take(&mut self.line);
        let text = std::str::from_utf8(&line).map_err(|_| self.refused("is not UTF-8"))?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        let id = match self.form {
            LineForm::Plain => text.to_owned(),
            LineForm::Json => match serde_json::from_str(text) {
                Ok(JsonLine::Id(id) | JsonLine::Object { user_id: id }) => id,
                Err(_) => return Err(self.refused("is neither a JSON string nor an object with user_id")),
            },
        };
        UnitId::new(&id).map_err(|error| self.refused(&format!("is no id: {error}")))?;
        self.fingerprints.push(IdSet::fingerprint(&id));
        Ok(())
    }

    fn refused(&self, why: &str) -> Problem {
        Problem::new(
            Code::InvalidBody,
            format!("line {} {why}; nothing was changed", self.line_number),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_chunks(form: LineForm, chunks: &[&str]) -> ApiResult<Vec<u64>> {
        let mut reader = Reader {
            form,
            line: Vec::new(),
            line_number: 1,
            fingerprints: Vec::new(),
        };
        for chunk in chunks {
            reader.push(chunk.as_bytes())?;
        }
        reader.end_line()?;
        Ok(reader.fingerprints)
    }

    #[test]
    fn an_id_is_the_same_however_the_list_is_cut_and_written() {
        let expected: Vec<u64> = ["u1", "ü2"].map(IdSet::fingerprint).to_vec();
        for chunks in [
            &["u1\nü2"][..],
            &["u", "1\r\n\n", "ü2\n"],
            &["", "u1", "\n", "ü2", "\n\n"],
        ] {
            assert_eq!(
                read_chunks(LineForm::Plain, chunks).unwrap(),
                expected,
                "{chunks:?}"
            );
        }
        let json = ["\"u1\"\n{\"user_id\": \"\\u00fc2\"}\n"];
        assert_eq!(read_chunks(LineForm::Json, &json).unwrap(), expected);
    }

    #[test]
    fn what_is_no_id_is_told_with_its_line() {
        let long = "x".repeat(LINE_MAX_BYTES + 1);
        let cases = [
            (LineForm::Json, "\"u1\"\n7\n", "Line 2"),
            (LineForm::Plain, "a\tb", "Line 1"),
            (LineForm::Plain, &long, "Line 1"),
        ];
        for (form, text, place) in cases {
            let problem = read_chunks(form, &[text]).unwrap_err();
            assert!(problem.body("1").detail.starts_with(place), "{text}");
        }
    }
}
