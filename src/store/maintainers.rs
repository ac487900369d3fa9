//! Maintainers: who holds keys, tokens and tools.

use crate::codec::{micros, parse, time};
use crate::connection::AnyConnection;
use crate::db::Failure;
use crate::schema::maintainers;
use crate::{Store, StoreError};
use diesel::prelude::*;
use hythe_model::MaintainerName;
use jiff::Timestamp;

/// A person or machine account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maintainer {
    /// The name.
    pub name: MaintainerName,
    /// Whether every action on every tool is allowed.
    pub admin: bool,
    /// When the account was made.
    pub created_at: Timestamp,
}

type Row = (String, bool, i64);

fn read((name, admin, created_at): Row) -> Result<Maintainer, StoreError> {
    Ok(Maintainer {
        name: parse("maintainers.name", &name)?,
        admin,
        created_at: time("maintainers.created_at", created_at)?,
    })
}

impl Store {
    /// Makes an account.
    pub async fn create_maintainer(
        &self,
        name: &MaintainerName,
        admin: bool,
    ) -> Result<Maintainer, StoreError> {
        let row: Row = (name.to_string(), admin, micros(Timestamp::now()));
        let work = move |writer: &mut AnyConnection| {
            let values = (
                maintainers::name.eq(&row.0),
                maintainers::admin.eq(row.1),
                maintainers::created_at.eq(row.2),
            );
            let done = diesel::insert_into(maintainers::table).values(values).execute(writer);
            done.map_err(|error| Failure::exists(error, || format!("maintainer {}", row.0)))?;
            Ok(read(row.clone())?)
        };
        self.db.write("make a maintainer", work).await
    }

    /// One account.
    pub async fn maintainer(&self, name: &MaintainerName) -> Result<Option<Maintainer>, StoreError> {
        let name = name.to_string();
        let work = move |reader: &mut AnyConnection| {
            let row = maintainers::table.find(&name).first::<Row>(reader).optional()?;
            Ok(row.map(read).transpose()?)
        };
        self.db.read("read a maintainer", work).await
    }

    /// All accounts, by name.
    pub async fn maintainers(&self) -> Result<Vec<Maintainer>, StoreError> {
        let work = |reader: &mut AnyConnection| {
            let rows = maintainers::table.order(maintainers::name).load::<Row>(reader)?;
            Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
        };
        self.db.read("list maintainers", work).await
    }

    /// Removes an account with its keys, tokens and memberships. What it did stays in the releases' history.
    pub async fn remove_maintainer(&self, name: &MaintainerName) -> Result<(), StoreError> {
        let name = name.to_string();
        let work = move |writer: &mut AnyConnection| {
            let removed = diesel::delete(maintainers::table.find(&name)).execute(writer)?;
            if removed == 0 {
                return Err(StoreError::Absent { what: format!("maintainer {name}") }.into());
            }
            Ok(())
        };
        self.db.write("remove a maintainer", work).await
    }
}
