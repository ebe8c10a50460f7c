//! The real service, or whatever speaks its protocol, through the AWS client.
//!
//! Each call has explicit time limits, because the client has none of its own; and the client repeats no call, because
//! the pace of calls is the readers' business.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Credentials, SharedHttpClient};
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ChildShard, HashKeyRange, Record, Shard, ShardIteratorType};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use domain::Timestamp;

use super::api::{CallError, CallErrorKind, Page, ShardApi, ShardInfo, ShardRecord, StartPoint};
use super::settings::{KinesisCredentials, KinesisSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// One answer of 10 MiB at the 2 MiB a second of a shard, with some room.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Everything around the attempt too: credentials are fetched in it.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Large answers over slow links pause; the client's own guard must not take that for the end.
const STALL_GRACE: Duration = Duration::from_secs(20);
/// The service closes idle connections; a little earlier, and no call meets a closed one.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The most pages of one list of shards: a thousand shards each, beyond what an account may have.
const LIST_PAGES_MAX: usize = 1_000;

/// Error codes that mean "later, and less often".
const THROTTLE_CODES: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "RequestLimitExceeded",
];
/// Error codes of credentials that are renewed before the next call.
const RENEWED_CODES: [&str; 3] = ["ExpiredTokenException", "ExpiredToken", "RequestExpired"];

/// The shards of one stream.
pub(crate) struct AwsShards {
    client: Client,
    stream: String,
}

impl AwsShards {
    /// Makes the client; nothing is called but what the chain of credentials needs.
    pub(crate) async fn connect(settings: &KinesisSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(OPERATION_TIMEOUT)
            .build();
        let stalls = StalledStreamProtectionConfig::enabled()
            .grace_period(STALL_GRACE)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .http_client(http_client(settings.endpoint_url.as_deref()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(stalls);
        if let KinesisCredentials::Fixed {
            access_key_id,
            secret_access_key,
        } = &settings.credentials
        {
            let credentials = Credentials::new(access_key_id, secret_access_key, None, None, "settings");
            loader = loader.credentials_provider(credentials);
        }
        let shared = loader.load().await;
        let mut config = aws_sdk_kinesis::config::Builder::from(&shared);
        config.set_endpoint_url(settings.endpoint_url.clone());
        Self {
            client: Client::from_conf(config.build()),
            stream: settings.stream.clone(),
        }
    }
}

fn http_client(endpoint_url: Option<&str>) -> SharedHttpClient {
    let builder = Builder::new().pool_idle_timeout(POOL_IDLE_TIMEOUT);
    if endpoint_url.is_some_and(|url| url.starts_with("http://")) {
        builder.build_http()
    } else {
        builder
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https()
    }
}

#[async_trait]
impl ShardApi for AwsShards {
    async fn list_shards(&self) -> Result<Vec<ShardInfo>, CallError> {
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..LIST_PAGES_MAX {
            let call = self.client.list_shards();
            // A token stands for the stream and is refused beside its name.
            let call = match token.take() {
                Some(token) => call.next_token(token),
                None => call.stream_name(&self.stream),
            };
            let answer = call
                .send()
                .await
                .map_err(|error| call_error("list_shards", &error))?;
            shards.extend(answer.shards.unwrap_or_default().into_iter().map(shard_info));
            token = answer.next_token;
            if token.is_none() {
                break;
            }
        }
        Ok(shards)
    }

    async fn iterator(&self, shard_id: &str, from: &StartPoint) -> Result<String, CallError> {
        let call = self
            .client
            .get_shard_iterator()
            .stream_name(&self.stream)
            .shard_id(shard_id);
        let call = match from {
            StartPoint::Beginning => call.shard_iterator_type(ShardIteratorType::TrimHorizon),
            StartPoint::Latest => call.shard_iterator_type(ShardIteratorType::Latest),
            StartPoint::At(sequence) => call
                .shard_iterator_type(ShardIteratorType::AtSequenceNumber)
                .starting_sequence_number(sequence),
            StartPoint::After(sequence) => call
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence),
            StartPoint::Since(arrival) => call
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(arrival.0.div_euclid(1_000))),
        };
        let answer = call
            .send()
            .await
            .map_err(|error| call_error("get_shard_iterator", &error))?;
        answer.shard_iterator.ok_or_else(|| CallError {
            kind: CallErrorKind::Transient,
            operation: "get_shard_iterator",
            source: "the answer holds no iterator".into(),
        })
    }

    async fn records(&self, iterator: &str) -> Result<Page, CallError> {
        let answer = self.client.get_records().shard_iterator(iterator).send().await;
        let answer = answer.map_err(|error| {
            let mut error = call_error("get_records", &error);
            // The iterator is the only argument: a new one is all that can help, and it does when it was damaged.
            if error.kind == CallErrorKind::Permanent && is_invalid_argument(&*error.source) {
                error.kind = CallErrorKind::StaleIterator;
            }
            error
        })?;
        Ok(Page {
            records: answer.records.into_iter().map(shard_record).collect(),
            next_iterator: answer.next_shard_iterator,
            behind_ms: answer.millis_behind_latest,
            children: answer
                .child_shards
                .unwrap_or_default()
                .into_iter()
                .map(child_info)
                .collect(),
        })
    }
}

/// What the client says of a failed call, with everything below it in its text.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct ClientError {
    code: Option<String>,
    text: String,
}

fn is_invalid_argument(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let code = error
        .downcast_ref::<ClientError>()
        .and_then(|error| error.code.as_deref());
    code == Some("InvalidArgumentException")
}

fn call_error<E, R>(operation: &'static str, error: &SdkError<E, R>) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    // Of an answer that is not an error of the service, the status may be all there is.
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        .map(str::to_owned);
    let kind = match (error, code.as_deref()) {
        (SdkError::ServiceError(_), Some(code)) => kind_of(code),
        _ => CallErrorKind::Transient,
    };
    CallError {
        kind,
        operation,
        source: Box::new(ClientError {
            code,
            text: DisplayErrorContext(error).to_string(),
        }),
    }
}

fn kind_of(code: &str) -> CallErrorKind {
    match code {
        "ExpiredIteratorException" => CallErrorKind::StaleIterator,
        "ResourceNotFoundException" => CallErrorKind::NotFound,
        // The stream is being changed, or the service has a fault of its own.
        "ResourceInUseException" | "ExpiredNextTokenException" => CallErrorKind::Transient,
        code if THROTTLE_CODES.contains(&code) => CallErrorKind::Throttled,
        code if RENEWED_CODES.contains(&code) => CallErrorKind::Transient,
        code if code.starts_with("Internal") || code.contains("Unavailable") => CallErrorKind::Transient,
        _ => CallErrorKind::Permanent,
    }
}

fn shard_info(shard: Shard) -> ShardInfo {
    let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
    let end = shard
        .sequence_number_range
        .and_then(|range| range.ending_sequence_number);
    ShardInfo {
        id: shard.shard_id,
        parents: parents.into_iter().flatten().collect(),
        hash_keys: shard.hash_key_range.as_ref().and_then(hash_keys),
        open: end.is_none(),
    }
}

fn child_info(child: ChildShard) -> ShardInfo {
    ShardInfo {
        id: child.shard_id,
        parents: child.parent_shards,
        hash_keys: child.hash_key_range.as_ref().and_then(hash_keys),
        open: true,
    }
}

fn hash_keys(range: &HashKeyRange) -> Option<RangeInclusive<u128>> {
    Some(range.starting_hash_key.parse().ok()?..=range.ending_hash_key.parse().ok()?)
}

fn shard_record(record: Record) -> ShardRecord {
    let arrival = record.approximate_arrival_timestamp.and_then(|time| {
        let micros = i64::try_from(time.as_nanos().div_euclid(1_000)).ok()?;
        Some(Timestamp(micros))
    });
    ShardRecord {
        sequence: record.sequence_number,
        arrival,
        data: record.data.into_inner(),
    }
}
