//! A copy of the whole database while everything goes on.

use crate::db::{Db, Failure, Slot};
use crate::{Store, StoreError};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use std::fs::File;
use std::path::Path;

impl Store {
    /// Writes a consistent copy of the whole database to a new file, durably, while reading and writing go on.
    ///
    /// # Errors
    /// [`StoreError::Backup`] where the file exists already or cannot be written, and where the rows are on a server, which
    /// has tools of its own for this.
    pub async fn backup_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_owned();
        let Db::File(file) = &*self.db else {
            let reason =
                "the rows are on a PostgreSQL server; copy them with its tools, as with pg_dump".to_owned();
            return Err(StoreError::Backup { path, reason });
        };
        let work = move |Slot { connection: reader, .. }: &mut Slot| {
            let fault = |reason: String| Failure::Refused(StoreError::Backup { path: path.clone(), reason });
            let name = path.to_str().ok_or_else(|| fault("its name is not UTF-8".to_owned()))?;
            if path.exists() {
                return Err(fault("it exists already".to_owned()));
            }
            // VACUUM writes to the copy only, but a connection that may only query refuses it.
            reader.batch_execute("PRAGMA query_only = OFF")?;
            let copied = diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(name).execute(reader);
            reader.batch_execute("PRAGMA query_only = ON")?;
            copied.map_err(|error| fault(error.to_string()))?;
            make_durable(&path).map_err(|error| fault(error.to_string()))
        };
        file.reader("copy itself", work).await
    }
}

fn make_durable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file = File::open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    file.sync_all()?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
