//! Connections that are never waited for without end: a database may freeze, or vanish without a word.
//!
//! A statement that has no answer in time fails, and its connection is given up instead of lent again, so that the pool
//! heals as soon as the database does. The same holds when the caller stops waiting.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use sqlx::any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, Describe, Either, Execute, Executor, SqlStr};

/// How long an answer to one statement is waited for: longer than a lock is, shorter than a request may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a statement gives: rows, and how many rows it changed.
type Item = Either<AnyQueryResult, AnyRow>;

/// The connections that read.
#[derive(Debug)]
pub(crate) struct Readers(pub(super) AnyPool);

/// A write transaction. Dropped before it is committed, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Write {
    lent: Lent,
}

/// A connection out of a pool.
#[derive(Debug)]
pub(crate) struct Lent {
    /// Absent once it was handed on.
    connection: Option<PoolConnection<Any>>,
    /// Whether a statement has no answer yet, or never got one.
    waiting: bool,
    in_transaction: bool,
    /// Whether a statement of the transaction failed.
    failed: bool,
}

impl Write {
    /// Begins with the statement `begin`, which also takes the lock that writers share.
    pub(super) async fn begin(pool: &AnyPool, begin: &'static str) -> Result<Self, sqlx::Error> {
        let mut lent = Lent::from_pool(pool).await?;
        lent.in_transaction = true;
        lent.collect(sqlx::raw_sql(begin)).await?;
        Ok(Self { lent })
    }

    /// Makes the write true.
    ///
    /// One of whose statements one failed is not made true by halves: PostgreSQL would take nothing, SQLite the rest.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        if self.lent.failed {
            let problem = "a statement of the write failed";
            return Err(sqlx::Error::Protocol(problem.to_owned()));
        }
        self.lent.end("COMMIT").await
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let mut lent = self.lent.take();
        if !lent.in_transaction || lent.waiting {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // What it gives up when it fails, the other side takes back by itself.
            runtime.spawn(async move { lent.end("ROLLBACK").await });
        }
    }
}

impl Deref for Write {
    type Target = Lent;

    fn deref(&self) -> &Lent {
        &self.lent
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut Lent {
        &mut self.lent
    }
}

impl Lent {
    async fn from_pool(pool: &AnyPool) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
            waiting: false,
            in_transaction: false,
            failed: false,
        })
    }

    /// Hands the connection on, with what is known of it.
    fn take(&mut self) -> Self {
        Self {
            connection: self.connection.take(),
            ..*self
        }
    }

    /// Ends the transaction.
    async fn end(&mut self, how: &'static str) -> Result<(), sqlx::Error> {
        self.collect(sqlx::raw_sql(how)).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Runs a statement and waits for all that it gives.
    async fn collect<'q, E>(&mut self, query: E) -> Result<Vec<Item>, sqlx::Error>
    where
        E: 'q + Execute<'q, Any>,
    {
        let connection = match &mut self.connection {
            Some(connection) if !self.waiting => connection,
            _ => return Err(no_answer()),
        };
        self.waiting = true;
        let items = connection.fetch_many(query).try_collect();
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, items).await;
        let answer = answer.unwrap_or_else(|_| Err(no_answer()));
        // After any other error nobody knows what the other side still sends.
        self.waiting = !matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)));
        self.failed |= answer.is_err();
        answer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let given_up = self.waiting || self.in_transaction;
        if let Some(connection) = self.connection.take().filter(|_| given_up) {
            // Closed at once: returned to the pool, it would hold its place until the other side answers.
            drop(connection.detach());
        }
    }
}

fn no_answer() -> sqlx::Error {
    let seconds = ANSWER_TIMEOUT.as_secs();
    let what = format!("no answer within {seconds} seconds");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

fn one_by_one(items: Vec<Item>) -> impl futures::Stream<Item = Result<Item, sqlx::Error>> {
    stream::iter(items.into_iter().map(Ok))
}

fn first_row(items: Vec<Item>) -> Option<AnyRow> {
    items.into_iter().find_map(Either::right)
}

impl<'c> Executor<'c> for &'c mut Lent {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        self.collect(query)
            .map_ok(one_by_one)
            .try_flatten_stream()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(self.collect(query).map_ok(first_row))
    }

    fn prepare_with<'e>(
        self,
        _sql: SqlStr,
        _parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(never_prepared()) })
    }

    fn describe<'e>(self, _sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(never_prepared()) })
    }
}

impl<'c> Executor<'c> for &'c Readers {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Item, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let items = async move { Lent::from_pool(&self.0).await?.collect(query).await };
        items.map_ok(one_by_one).try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(async move {
            let mut lent = Lent::from_pool(&self.0).await?;
            lent.collect(query).await.map(first_row)
        })
    }

    fn prepare_with<'e>(
        self,
        _sql: SqlStr,
        _parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(never_prepared()) })
    }

    fn describe<'e>(self, _sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async { Err(never_prepared()) })
    }
}

/// Statements are prepared by the driver when they run; nobody asks for one by itself.
fn never_prepared() -> sqlx::Error {
    sqlx::Error::Protocol("statements are prepared when they run".to_owned())
}
