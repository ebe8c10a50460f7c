//! Erasures of users that were asked for. They stay for good: each data folder on the store has to do each of them once, and a
//! folder that comes back from a backup once more.

use domain::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::definitions::missing;
use super::{Entry, ObjectKind, Page, PageRequest, Store, corrupt, failed, page, page_size};
use crate::change::Change;
use crate::erasure::{ErasedRows, Erasure, ErasureState, Receipt};
use crate::error::ControlError;

impl Store {
    /// Asks for the erasure of a user; the engine hears of it. The audit record names the receipt and not the user.
    ///
    /// # Errors
    /// [`ControlError::Database`].
    pub async fn ask_for_erasure(&self, receipt: Receipt, change: &Change) -> Result<Erasure, ControlError> {
        let mut write = self.begin().await?;
        sqlx::query("INSERT INTO erasures (id, requested_at, salt, user_sha256) VALUES ($1, $2, $3, $4)")
            .bind(receipt.receipt.as_str())
            .bind(receipt.at.0)
            .bind(receipt.salt.as_str())
            .bind(receipt.user_sha256.as_str())
            .execute(&mut *write)
            .await
            .map_err(failed("write an erasure"))?;
        let entry = Entry {
            action: "create",
            kind: ObjectKind::Erasure,
            key: &receipt.receipt,
            before: None,
            after: None,
        };
        Self::record(&mut write, entry, change).await?;
        self.commit(write).await?;
        Ok(Erasure {
            receipt,
            done_at: None,
            erased: None,
        })
    }

    /// One erasure.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], [`ControlError::Corrupt`] or [`ControlError::Database`].
    pub async fn erasure(&self, id: &str) -> Result<Erasure, ControlError> {
        let row = sqlx::query(
            "SELECT id, requested_at, salt, user_sha256, done_at, erased FROM erasures WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.readers())
        .await
        .map_err(failed("read an erasure"))?;
        read(&row.ok_or_else(|| missing(ObjectKind::Erasure, id))?)
    }

    /// All erasures, the oldest first.
    ///
    /// # Errors
    /// [`ControlError::Corrupt`] or [`ControlError::Database`].
    pub async fn erasures(&self) -> Result<Vec<Erasure>, ControlError> {
        let rows = sqlx::query(
            "SELECT id, requested_at, salt, user_sha256, done_at, erased FROM erasures ORDER BY requested_at, id",
        )
        .fetch_all(self.readers())
        .await
        .map_err(failed("read the erasures"))?;
        rows.iter().map(read).collect()
    }

    /// A page of erasures in order of id, which is that of asking; those of one state when it is named.
    ///
    /// # Errors
    /// [`ControlError::InvalidLimit`], [`ControlError::Corrupt`] or [`ControlError::Database`].
    pub async fn erasure_page(
        &self,
        state: Option<ErasureState>,
        request: &PageRequest,
    ) -> Result<Page<Erasure>, ControlError> {
        let size = page_size(request.limit)?;
        let rows = sqlx::query(
            "SELECT id, requested_at, salt, user_sha256, done_at, erased FROM erasures
             WHERE id > $1 AND ($2 IS NULL OR CASE WHEN done_at IS NULL THEN 0 ELSE 1 END = $2) ORDER BY id LIMIT $3",
        )
        .bind(request.after.as_deref().unwrap_or(""))
        .bind(state.map(|state| i64::from(state == ErasureState::Done)))
        .bind(size)
        .fetch_all(self.readers())
        .await
        .map_err(failed("list erasures"))?;
        let erasures = rows.iter().map(read).collect::<Result<_, _>>()?;
        Ok(page(erasures, request.limit, |erasure: &Erasure| {
            erasure.receipt.receipt.clone()
        }))
    }

    /// Notes that an erasure is done in one data folder; `done_at` is of the first that says so.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when there is no such erasure, or [`ControlError::Database`].
    pub async fn finish_erasure(
        &self,
        id: &str,
        erased: ErasedRows,
        change: &Change,
    ) -> Result<(), ControlError> {
        let mut write = self.begin().await?;
        let text = serde_json::to_string(&erased).map_err(corrupt(ObjectKind::Erasure, id))?;
        let done =
            sqlx::query("UPDATE erasures SET done_at = coalesce(done_at, $2), erased = coalesce(erased, $3) WHERE id = $1")
                .bind(id)
                .bind(change.at.0)
                .bind(text.as_str())
                .execute(&mut *write)
                .await
                .map_err(failed("write an erasure"))?;
        if done.rows_affected() == 0 {
            return Err(missing(ObjectKind::Erasure, id));
        }
        let entry = Entry {
            action: "complete",
            kind: ObjectKind::Erasure,
            key: id,
            before: None,
            after: Some(&text),
        };
        Self::record(&mut write, entry, change).await?;
        self.commit_quietly(write).await
    }
}

fn read(row: &AnyRow) -> Result<Erasure, ControlError> {
    let read = || -> Result<_, sqlx::Error> {
        let at: i64 = row.try_get("requested_at")?;
        let receipt = Receipt {
            receipt: row.try_get("id")?,
            at: Timestamp(at),
            salt: row.try_get("salt")?,
            user_sha256: row.try_get("user_sha256")?,
        };
        let done_at: Option<i64> = row.try_get("done_at")?;
        let erased: Option<String> = row.try_get("erased")?;
        Ok((receipt, done_at, erased))
    };
    let (receipt, done_at, erased) = read().map_err(failed("read an erasure"))?;
    let rows = erased.map(|text| serde_json::from_str(&text));
    let erased = rows.transpose();
    let erased = erased.map_err(corrupt(ObjectKind::Erasure, &receipt.receipt))?;
    Ok(Erasure {
        receipt,
        done_at: done_at.map(Timestamp),
        erased,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::AuditFilter;
    use crate::test_support::{anna, on_both_stores, open};

    on_both_stores! {
        an_erasure_waits_until_it_is_done_and_never_tells_who,
        erasures_are_listed_in_pages_by_state,
    }

    async fn erasures_are_listed_in_pages_by_state() {
        let (_place, store) = open().await;
        let mut asked = Vec::new();
        for second in 1..=5 {
            let receipt = Receipt::of("u-4711", anna(second).at);
            asked.push(receipt.receipt.clone());
            store.ask_for_erasure(receipt, &anna(second)).await.unwrap();
        }
        let none = ErasedRows::default();
        for done in [&asked[1], &asked[4]] {
            store.finish_erasure(done, none, &anna(9)).await.unwrap();
        }
        let listed = async |state, limit| {
            let mut request = PageRequest { after: None, limit };
            let mut found = Vec::new();
            loop {
                let page = store.erasure_page(state, &request).await.unwrap();
                assert!(page.items.len() <= limit as usize);
                found.extend(page.items.into_iter().map(|erasure| erasure.receipt.receipt));
                match page.next {
                    Some(next) => request.after = Some(next),
                    None => return found,
                }
            }
        };
        let of =
            |places: &[usize]| -> Vec<String> { places.iter().map(|place| asked[*place].clone()).collect() };
        for limit in [1, 2, 50] {
            assert_eq!(listed(None, limit).await, asked);
            assert_eq!(listed(Some(ErasureState::Waiting), limit).await, of(&[0, 2, 3]));
            assert_eq!(listed(Some(ErasureState::Done), limit).await, of(&[1, 4]));
        }
        let endless = store
            .erasure_page(
                None,
                &PageRequest {
                    after: None,
                    limit: 201,
                },
            )
            .await;
        assert!(matches!(endless, Err(ControlError::InvalidLimit { .. })));
    }

    async fn an_erasure_waits_until_it_is_done_and_never_tells_who() {
        // What must never change: the store holds nothing by which a user can be read out of it.
        let (_place, store) = open().await;
        let receipt = Receipt::of("u-4711", Timestamp(7));
        assert!(receipt.is_of("u-4711") && !receipt.is_of("u-4712"));
        assert_ne!(
            Receipt::of("u-4711", Timestamp(7)).user_sha256,
            receipt.user_sha256
        );
        let asked = store.ask_for_erasure(receipt.clone(), &anna(1)).await.unwrap();
        assert_eq!(store.erasures().await.unwrap(), [asked]);
        let rows = ErasedRows {
            events: 3,
            ..ErasedRows::default()
        };
        store
            .finish_erasure(&receipt.receipt, rows, &anna(9))
            .await
            .unwrap();
        // Another folder says so later, and had nothing of the user.
        let none = ErasedRows::default();
        store
            .finish_erasure(&receipt.receipt, none, &anna(10))
            .await
            .unwrap();
        let done = store.erasure(&receipt.receipt).await.unwrap();
        assert_eq!((done.done_at, done.erased), (Some(anna(9).at), Some(rows)));
        assert_eq!(store.erasures().await.unwrap(), [done]);
        let unknown = store.finish_erasure("erasure_0", none, &anna(10)).await;
        assert!(
            matches!(unknown, Err(ControlError::NotFound { .. })),
            "{unknown:?}"
        );
        let trail = store.audit(&AuditFilter::default(), 10).await.unwrap().items;
        assert_eq!(trail.len(), 3);
        assert!(!format!("{trail:?}").contains("u-4711"));
    }
}
