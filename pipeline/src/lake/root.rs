//! The root of a lake: a folder, or later the URL of a bucket, with durability added where the store itself has none.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use url::Url;

use crate::PipelineError;
use crate::schema::Table;

/// The size of a part of a large object; stores take at most ten thousand parts of at least five megabytes.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// Where the lake and the state of the pipeline live.
#[derive(Debug, Clone)]
pub struct Root {
    store: Arc<dyn ObjectStore>,
    url: Url,
    folder: Option<PathBuf>,
}

impl Root {
    /// The root in a local folder, which is created.
    ///
    /// # Errors
    /// [`PipelineError::BadRoot`] when the folder cannot be created or is none.
    pub fn folder(folder: &FilePath) -> Result<Self, PipelineError> {
        let bad = |source: Box<dyn std::error::Error + Send + Sync>| PipelineError::BadRoot {
            root: folder.to_owned(),
            source: object_store::Error::Generic {
                store: "LocalFileSystem",
                source,
            },
        };
        std::fs::create_dir_all(folder).map_err(|error| bad(Box::new(error)))?;
        let folder = folder.canonicalize().map_err(|error| bad(Box::new(error)))?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(&folder).map_err(|source| {
            PipelineError::BadRoot {
                root: folder.clone(),
                source,
            }
        })?;
        let url = Url::from_directory_path(&folder).map_err(|()| bad("the path is not absolute".into()))?;
        Ok(Self {
            store: Arc::new(store),
            url,
            folder: Some(folder),
        })
    }

    /// A table under the root, not yet loaded.
    pub(crate) fn table(&self, table: Table) -> Result<DeltaTable, PipelineError> {
        let error = |source| PipelineError::Table {
            action: "open",
            table: table.name(),
            source: Box::new(source),
        };
        let url = self
            .url
            .join(&format!("lake/{}/", table.name()))
            .expect("a table's name is a valid path");
        if let Some(folder) = &self.folder {
            let folder = folder.join("lake").join(table.name());
            std::fs::create_dir_all(&folder)
                .map_err(|source| error(deltalake_core::DeltaTableError::Io { source }))?;
        }
        DeltaTableBuilder::from_url(url)
            .and_then(DeltaTableBuilder::build)
            .map_err(error)
    }

    /// Writes an object whole; it is durable when this returns.
    ///
    /// # Errors
    /// When the store refuses, or a local file cannot be synced.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), PipelineError> {
        let error = |source| PipelineError::Object {
            action: "write",
            path: path.to_owned(),
            source,
        };
        self.store
            .put(&Path::from(path), bytes.into())
            .await
            .map_err(error)?;
        self.sync(path)
    }

    /// Starts to write an object part by part; it is there only once [`Self::finish`] has returned.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn start(&self, path: &str) -> Result<WriteMultipart, PipelineError> {
        let upload = self.store.put_multipart(&Path::from(path)).await;
        let upload = upload.map_err(|source| PipelineError::Object {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
        Ok(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
    }

    /// Makes an object out of its parts; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn finish(&self, path: &str, upload: WriteMultipart) -> Result<(), PipelineError> {
        let finished = upload.finish().await;
        finished.map_err(|source| PipelineError::Object {
            action: "write",
            path: path.to_owned(),
            source,
        })?;
        self.sync(path)
    }

    /// Whether an object is there.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn exists(&self, path: &str) -> Result<bool, PipelineError> {
        match self.store.head(&Path::from(path)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(PipelineError::Object {
                action: "read",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Reads an object whole; none when it is not there.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, PipelineError> {
        let error = |source| PipelineError::Object {
            action: "read",
            path: path.to_owned(),
            source,
        };
        match self.store.get(&Path::from(path)).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(error)?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(error(source)),
        }
    }

    /// Reads a range of bytes of an object.
    ///
    /// # Errors
    /// When the object is not there or shorter.
    pub async fn get_range(&self, path: &str, range: std::ops::Range<u64>) -> Result<Bytes, PipelineError> {
        let error = |source| PipelineError::Object {
            action: "read",
            path: path.to_owned(),
            source,
        };
        self.store
            .get_range(&Path::from(path), range)
            .await
            .map_err(error)
    }

    /// The size of an object in bytes.
    ///
    /// # Errors
    /// When the object is not there.
    pub async fn size(&self, path: &str) -> Result<u64, PipelineError> {
        let error = |source| PipelineError::Object {
            action: "read",
            path: path.to_owned(),
            source,
        };
        Ok(self.store.head(&Path::from(path)).await.map_err(error)?.size)
    }

    /// Deletes an object; one that is not there is deleted already.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn delete(&self, path: &str) -> Result<(), PipelineError> {
        match self.store.delete(&Path::from(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(PipelineError::Object {
                action: "delete",
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// All objects under a prefix.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(Some(&Path::from(prefix))).boxed()
    }

    /// Makes the commit file of a table durable; object stores have done so when they answered.
    pub(crate) fn sync_log(&self, table: Table, version: u64) -> Result<(), PipelineError> {
        self.sync(&format!("lake/{}/_delta_log/{version:020}.json", table.name()))
    }

    /// A local file is durable only once it and its folder are synced: the store does neither.
    fn sync(&self, path: &str) -> Result<(), PipelineError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let file = folder.join(path);
        let sync = |path: &FilePath| std::fs::File::open(path).and_then(|file| file.sync_all());
        let result = sync(&file).and_then(|()| file.parent().map_or(Ok(()), sync));
        result.map_err(|error| PipelineError::Object {
            action: "sync",
            path: path.to_owned(),
            source: object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(error),
            },
        })
    }
}
